//! Flows and their schedules.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::RunSummary;

/// A flow as lists show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowSummary {
    /// Name.
    pub name: String,
    /// Hash of the current version.
    pub version: String,
    /// Its number, from 1.
    pub number: i64,
    /// One line for people.
    pub description: Option<String>,
    /// Team or person.
    pub owner: Option<String>,
    /// Labels.
    pub tags: Vec<String>,
    /// Its schedules.
    pub schedules: Vec<Schedule>,
    /// Its newest runs, newest first, at most 20.
    pub recent: Vec<RunSummary>,
}

/// A schedule and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Flow.
    pub flow: String,
    /// Name within the flow.
    pub name: String,
    /// The expression as written.
    pub cron: String,
    /// IANA zone.
    pub timezone: String,
    /// The expression as a sentence.
    pub sentence: String,
    /// Its next fires, at most five; none while it is paused.
    pub next: Vec<Timestamp>,
    /// Since when it is paused.
    pub paused_at: Option<Timestamp>,
    /// Why it does not fire, where it is broken.
    pub error: Option<String>,
    /// Its newest ticks, newest first, at most five.
    pub ticks: Vec<Tick>,
}

/// What became of a tick, or of a range of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// Due instant, the first of the range.
    pub scheduled_for: Timestamp,
    /// The last of the range.
    pub last: Timestamp,
    /// How many.
    pub count: i64,
    /// `run` or `skipped`.
    pub outcome: String,
    /// Why it was skipped: `overlap`, `paused`, `window`.
    pub reason: Option<String>,
    /// The run it made.
    pub run: Option<Uuid>,
}
