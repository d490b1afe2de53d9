//! Freeze windows before a guarded task: see `store/freezes.rs` for who passes.

use serde_json::json;

use super::attempt::Attempting;
use crate::clock;
use crate::plugin::{Parking, TaskError, WaitsFor};

/// `Err(Parked)`: a window holds the task back.
pub(super) async fn pass(attempting: &Attempting<'_>) -> Result<(), TaskError> {
    let (claim, store) = (attempting.claim, &attempting.shared.store);
    let plugin = attempting.shared.registry.get(&claim.task().uses);
    if !plugin.is_some_and(|plugin| plugin.descriptor().guarded) {
        return Ok(());
    }
    let trouble = |error: crate::store::StoreError| TaskError::retry_chain(&error);
    let found = store.freeze_over(claim.flow.name.as_str(), false).await;
    let Some(freeze) = found.map_err(trouble)? else {
        return Ok(());
    };
    let opened = attempting.around.opened_by;
    let asks = claim
        .task()
        .gate
        .as_ref()
        .is_some_and(|gate| gate.approval.is_some());
    // People are asked while it lasts: a yes with a reason lets it pass.
    if asks && opened.is_none() {
        return Ok(());
    }
    let passed = store
        .pass_freeze((claim.run, claim.idx, opened), &freeze, clock::now())
        .await;
    if passed.map_err(trouble)?.is_some() {
        return Ok(());
    }
    Err(TaskError::Parked(Box::new(Parking {
        waits_for: WaitsFor::Timer,
        until: Some(freeze.until_at),
        note: freeze.sentence(),
        memory: json!({ "freeze": freeze.id }),
    })))
}
