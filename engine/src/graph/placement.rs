//! Where a task run waits for a worker, and before whom.

use serde::{Deserialize, Serialize};

/// Queue of tasks that name none, and of workers that are told none.
pub const DEFAULT_QUEUE: &str = "default";
/// In place of a worker's queues: all there are.
pub const EVERY_QUEUE: &str = "*";
/// The highest priority; the lowest is its opposite.
pub const MOST_URGENT: i32 = 100;

/// Head start of an emergency in minutes: half a century, more than anything has waited.
const EMERGENCY: f64 = 26_000_000.0;

/// What a task says about who runs it, and when.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    /// Only workers that serve this queue claim it.
    pub queue: String,
    /// Its own or its flow's, −100 to 100. A point is worth a minute of waiting.
    pub priority: i32,
    /// Pool of which it holds a slot while it runs.
    pub pool: Option<String>,
}

impl Placement {
    /// By how many minutes it is ahead of others that are due at the same instant.
    pub fn head_start(&self, urgent: bool) -> f64 {
        let points = f64::from(self.priority);
        if urgent { points + EMERGENCY } else { points }
    }
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            queue: DEFAULT_QUEUE.to_owned(),
            priority: 0,
            pool: None,
        }
    }
}
