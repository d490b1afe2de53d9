//! Approvals, votes, and the ledger.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// A decision that is asked for, or was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// Identity.
    pub id: Uuid,
    /// Run.
    pub run: Uuid,
    /// Flow.
    pub flow: String,
    /// Task behind the gate.
    pub task: String,
    /// `open`, `approved`, `rejected`, `expired`, `superseded`, `void` (its run was stopped).
    pub state: String,
    /// Question to the approver.
    pub message: Option<String>,
    /// What the task will do.
    pub action: Option<String>,
    /// The frozen facts; see `gate::Evidence`.
    pub evidence: Value,
    /// SHA-256 of the evidence; a decision names it.
    pub digest: String,
    /// Who triggered the run.
    pub requester: String,
    /// `role:NAME`, `user:NAME`.
    pub by: Vec<String>,
    /// How many different people.
    pub required: i32,
    /// Whether the requester may be one of them.
    pub allow_requester: bool,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// `reject` or `fail`.
    pub on_expire: String,
    /// When it was last brought up again; see `remind`.
    pub reminded_at: Option<Timestamp>,
    /// When it was decided or closed.
    pub closed_at: Option<Timestamp>,
    /// What people said, oldest first.
    pub votes: Vec<Vote>,
}

/// What one person said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    /// Who.
    pub actor: String,
    /// `approve` or `reject`.
    pub decision: String,
    /// Why.
    pub comment: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Position, from 1, without gaps.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// `approval_decided`, `alias_moved`, …
    pub kind: String,
    /// Who.
    pub actor: String,
    /// Run, where one is meant.
    pub run: Option<Uuid>,
    /// What.
    pub body: Value,
    /// Hash of the entry before; 64 zeros for the first.
    pub prev: String,
    /// Its own hash.
    pub hash: String,
}

/// What walking the ledger came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerReport {
    /// Entries that were walked.
    pub entries: i64,
    /// Hash of the newest entry.
    pub head: String,
    /// The first entry that does not fit, and why.
    pub broken: Option<LedgerBreak>,
}

/// The first bad row of a ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerBreak {
    /// Its position.
    pub seq: i64,
    /// What is wrong with it.
    pub why: String,
}
