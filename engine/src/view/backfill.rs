//! Past ticks and the runs that stand for them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A past tick of a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackfillTick {
    /// The schedule.
    pub schedule: String,
    /// The due instant.
    pub scheduled_for: Timestamp,
    /// The run that stands for it.
    pub run: Option<Uuid>,
    /// What made that run: `schedule` or `backfill`.
    pub made_by: Option<String>,
}
