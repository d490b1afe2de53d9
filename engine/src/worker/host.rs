//! The worker as the plugins of its attempts see it.

use async_trait::async_trait;
use serde_json::Value;

use crate::plugin::{Emission, Host, HostCall, HostError};
use crate::store::Store;
use crate::store::claim::Claim;

pub(super) struct StoreHost {
    store: Store,
    claim: Claim,
}

impl StoreHost {
    pub(super) fn new(store: Store, claim: &Claim) -> Self {
        Self {
            store,
            claim: claim.clone(),
        }
    }
}

#[async_trait]
impl Host for StoreHost {
    fn emit(&self, emission: Emission) {
        tracing::info!(run = %self.claim.run, task = %self.claim.task().name, ?emission);
    }

    async fn call(&self, call: HostCall) -> Result<Value, HostError> {
        let _ = &self.store;
        Err(HostError::Unavailable {
            message: format!("{call:?}"),
        })
    }
}
