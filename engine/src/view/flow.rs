//! Flows and their schedules.

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::RunSummary;
use crate::gate::Gate;
use crate::graph::{Flow, ParamSpec, ScheduleSpec, Task, Webhook};

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

/// A flow with what a run of it needs and does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowDetail {
    /// What lists show.
    #[serde(flatten)]
    pub summary: FlowSummary,
    /// What a run may be given.
    pub params: IndexMap<String, ParamSpec>,
    /// Its schedules as its file declares them.
    #[serde(default)]
    pub schedule: Vec<ScheduleSpec>,
    /// The signed messages that make runs of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// Its tasks, in the order of the file.
    pub tasks: Vec<TaskDetail>,
}

/// A task of a flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskDetail {
    /// Name.
    pub name: String,
    /// Plugin.
    pub uses: String,
    /// One line for people.
    pub description: Option<String>,
    /// Names of the tasks it needs.
    pub needs: Vec<String>,
    /// What must hold before it runs.
    pub gate: Option<Gate>,
}

impl FlowDetail {
    /// Of a flow's current version.
    pub fn new(summary: FlowSummary, flow: &Flow) -> Self {
        let name = |task: &Task| task.name.to_string();
        let detail = |task: &Task| TaskDetail {
            name: name(task),
            uses: task.uses.clone(),
            description: task.description.clone(),
            needs: task
                .needs
                .iter()
                .map(|&need| name(flow.graph.task(need)))
                .collect(),
            gate: task.gate.clone(),
        };
        Self {
            params: flow.params.clone(),
            schedule: flow.schedules.clone(),
            webhook: flow.webhook.clone(),
            tasks: flow.graph.tasks().iter().map(detail).collect(),
            summary,
        }
    }
}

/// What applying did to a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowChange {
    /// Its name.
    pub flow: String,
    /// Hash of the version that is current now; `null` when it was removed.
    pub version: Option<String>,
    /// `created`, `changed`, `unchanged`, `removed`.
    pub change: String,
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
