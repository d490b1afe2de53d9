//! Freeze windows.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A window in which nothing is promoted or maintained, but by a person with a reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Freeze {
    /// Identity.
    pub id: Uuid,
    /// The flow it stops; `null`: guarded tasks of all flows.
    pub flow: Option<String>,
    /// Its beginning.
    pub from_at: Timestamp,
    /// Its end.
    pub until_at: Timestamp,
    /// Why.
    pub reason: String,
    /// By whom.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was ended before its time.
    pub ended_at: Option<Timestamp>,
    /// By whom.
    pub ended_by: Option<String>,
    /// It is on.
    pub active: bool,
}

impl Freeze {
    /// `frozen until 2026-12-01T00:00:00Z by ada: audit`.
    pub fn sentence(&self) -> String {
        format!(
            "frozen until {} by {}: {}",
            self.until_at, self.created_by, self.reason
        )
    }
}

/// What makes a run an emergency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Emergency {
    /// Why it goes before everything else.
    pub reason: String,
    /// The second person; `null`: it waits for one.
    pub confirmed_by: Option<String>,
    /// When that was.
    pub confirmed_at: Option<Timestamp>,
}
