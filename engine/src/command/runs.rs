//! Triggering, cancelling and retrying runs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Actor, CommandError};
use crate::id::RunId;
use crate::store::{Store, StoreError};
use crate::view;

/// A run that is asked for: the body of `POST /api/v1/flows/{flow}/runs`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Params that are given; the flow's defaults fill the rest.
    #[serde(default)]
    pub params: Map<String, Value>,
}

/// What triggering did.
#[derive(Debug, Clone, PartialEq)]
pub struct Triggered {
    /// The run.
    pub run: view::Run,
    /// `false`: a repeat under the same idempotency key; the run is that of the first time.
    pub created: bool,
}

/// Creates a run of a flow's current version. `trigger` is `manual` or `api`.
pub async fn trigger(
    store: &Store,
    actor: &Actor,
    (flow, request, trigger, key): (&str, Request, &'static str, Option<&str>),
    now: Timestamp,
) -> Result<Triggered, CommandError> {
    let _ = (store, actor, flow, request, trigger, key, now);
    Err(StoreError::Broken("triggering is not there yet".to_owned()).into())
}

/// Stops a run; answers it as it is then (`cancelling` while something still runs). `Over` when it had ended.
pub async fn cancel(
    store: &Store,
    actor: &Actor,
    run: RunId,
    now: Timestamp,
) -> Result<view::Run, CommandError> {
    let _ = (store, actor, run, now);
    Err(StoreError::Broken("cancelling is not there yet".to_owned()).into())
}

/// A new run on the same version (`retry_of`, trigger `retry`): what had succeeded is carried over, the rest runs. Only of a run
/// that ended without success.
pub async fn retry(
    store: &Store,
    actor: &Actor,
    (run, key): (RunId, Option<&str>),
    now: Timestamp,
) -> Result<Triggered, CommandError> {
    let _ = (store, actor, run, key, now);
    Err(StoreError::Broken("retrying is not there yet".to_owned()).into())
}
