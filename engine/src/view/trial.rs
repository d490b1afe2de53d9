//! What a run's gate would have come to under another rule.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A past run at a gate, judged anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The run.
    pub run: Uuid,
    /// When it reached the gate.
    pub at: Timestamp,
    /// What the gate came to: `opens`, `rejected`, `asks`.
    pub was: String,
    /// What it would have come to.
    pub would: String,
    /// A sentence for each rule.
    pub why: Vec<String>,
}
