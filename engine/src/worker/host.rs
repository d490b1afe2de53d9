//! The worker as the plugins of its attempts see it: every effect is fenced with the attempt's epoch.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;

use super::Shared;
use super::scribe::Scribe;
use super::vault::hide_call;
use crate::clock;
use crate::mask::Mask;
use crate::plugin::{Emission, Host, HostCall, HostError, chain};
use crate::store::claim::Claim;
use crate::store::leases::Holder;
use crate::store::{Store, StoreError};

pub(super) struct StoreHost {
    store: Store,
    scribe: Arc<Scribe>,
    holder: Holder,
    mask: Mask,
    /// `flow/task`, as the ledger names it.
    task: String,
}

impl StoreHost {
    pub(super) fn new(shared: &Shared, claim: &Claim, mask: Mask) -> Self {
        Self {
            store: shared.store.clone(),
            scribe: Arc::clone(&shared.scribe),
            holder: claim.holder(),
            mask,
            task: format!("{}/{}", claim.flow.name, claim.flow.graph.label(claim.idx)),
        }
    }
}

#[async_trait]
impl Host for StoreHost {
    fn emit(&self, emission: Emission) {
        let emission = match emission {
            Emission::Log { level, text } => Emission::Log {
                level,
                text: self.mask.hide(&text),
            },
            Emission::Metric { name, value, step } => Emission::Metric {
                name: self.mask.hide(&name),
                value,
                step,
            },
            progress @ Emission::Progress { .. } => progress,
        };
        self.scribe.take_in(self.holder, emission, clock::now());
    }

    async fn call(&self, call: HostCall) -> Result<Value, HostError> {
        let (store, holder, now) = (&self.store, self.holder, clock::now());
        match hide_call(&self.mask, call)? {
            HostCall::Alias { model, alias } => told(store.model_at(&model, &alias).await),
            HostCall::Version { model, version } => told(store.model_version(&model, version).await),
            HostCall::Register { version } => told(store.register_version(holder, version, now).await),
            HostCall::BeginMove { wanted } => told(store.begin_move(holder, wanted).await),
            HostCall::FinishMove { wanted } => told(store.finish_move(holder, wanted, now).await),
            HostCall::AbandonMove { wanted } => told(store.abandon_move(holder, wanted).await),
            HostCall::Artifact { artifact } => told(store.record_artifact(holder, artifact, now).await),
            HostCall::Notify { channel, body } => told(store.post_notice(holder, (channel, body), now).await),
            HostCall::SubRun { wanted } => told(store.sub_run(holder, wanted, now).await),
            HostCall::Ledger { kind, data } => {
                let note = (self.task.clone(), kind, data);
                told(store.note_in_ledger(holder, note, now).await)
            }
        }
    }
}

fn told<T: Serialize>(answer: Result<T, StoreError>) -> Result<Value, HostError> {
    let unavailable = |message| HostError::Unavailable { message };
    match answer {
        Ok(value) => serde_json::to_value(value).map_err(|e| unavailable(e.to_string())),
        Err(StoreError::Host(error)) => Err(error),
        Err(StoreError::Stale) => Err(HostError::Stale),
        Err(error) => Err(unavailable(chain(&error))),
    }
}
