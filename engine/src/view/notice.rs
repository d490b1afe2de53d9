//! What people are told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A notice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Identity; receivers see it too.
    pub id: Uuid,
    /// Where to.
    pub channel: String,
    /// `failed`, `rejected`, …; `message` of the plugin `notify`.
    pub event: String,
    /// Flow.
    pub flow: String,
    /// Run.
    pub run: Uuid,
    /// `pending`, `delivered` or `dead`.
    pub state: String,
    /// Tries so far.
    pub tries: i32,
    /// What the newest try that failed said.
    pub error: Option<String>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was delivered, or given up.
    pub ended_at: Option<Timestamp>,
}

impl Notice {
    /// What became of one that did not arrive, in words.
    pub fn sentence(&self) -> String {
        let fate = if self.state == "dead" {
            "was never told"
        } else {
            "is not told yet"
        };
        let tries = if self.tries == 1 { "try" } else { "tries" };
        let why = self.error.as_deref().unwrap_or("no answer yet");
        format!(
            "{} {fate} of `{}` after {} {tries}: {why}",
            self.channel, self.event, self.tries
        )
    }
}
