//! Deciding on an approval.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Actor, CommandError};
use crate::store::{Store, StoreError};
use crate::view;

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Opens the gate.
    Approve,
    /// Closes it.
    Reject,
}

/// A decision as it is sent: `{decision, comment, evidence}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Yes or no.
    pub decision: Choice,
    /// Why.
    #[serde(default)]
    pub comment: Option<String>,
    /// Digest of the evidence that was read.
    pub evidence: String,
}

/// Records a decision. The same actor repeating the same decision on the same digest gets the same answer.
///
/// Errors: `Forbidden` (not asked, no person, the requester), `Decided`, `Expired`, `EvidenceChanged`, `NotFound`.
pub async fn decide(
    store: &Store,
    actor: &Actor,
    (approval, decision): (Uuid, Decision),
    now: Timestamp,
) -> Result<view::Approval, CommandError> {
    let _ = (store, actor, approval, decision, now);
    Err(StoreError::Broken("deciding is not there yet".to_owned()).into())
}
