//! A run, its task runs, and what they left.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::Notice;
use crate::gate::JudgedRule;

/// A run as lists show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Identity.
    pub id: Uuid,
    /// Its flow.
    pub flow: String,
    /// Hash of its flow version.
    pub version: String,
    /// Number of that version within the flow, from 1.
    pub version_number: i64,
    /// `queued`, `running`, …
    pub state: String,
    /// Why, where the state has a reason.
    pub reason: Option<String>,
    /// `schedule`, `manual`, `api`, `retry`, …
    pub trigger: String,
    /// Who asked for it; `system` for schedules.
    pub requester: String,
    /// The run this one retries.
    pub retry_of: Option<Uuid>,
    /// The task run that made this run and waits for it.
    #[serde(default)]
    pub parent: Option<Parent>,
    /// Due instant of a scheduled run.
    pub scheduled_for: Option<Timestamp>,
    /// When its row was made.
    pub created_at: Timestamp,
    /// When it was admitted.
    pub started_at: Option<Timestamp>,
    /// When its last task run ended.
    pub finished_at: Option<Timestamp>,
    /// Seconds it has spent waiting for people, an open wait included.
    pub waited_seconds: f64,
    /// It has taken, waiting apart, longer than its flow expects.
    pub overdue: bool,
    /// Task runs, and how many of them ended.
    pub tasks_total: i64,
    /// Task runs that ended.
    pub tasks_done: i64,
}

/// The task run that made a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its run.
    pub run: Uuid,
    /// Its flow.
    pub flow: String,
    /// Its task; with the map index, of an item.
    pub task: String,
}

/// A run that a task run made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubRun {
    /// Identity.
    pub run: Uuid,
    /// Its flow.
    pub flow: String,
    /// Number of the flow's version that it runs.
    pub version_number: i64,
    /// Its state.
    pub state: String,
    /// The task run's try that made it, from 1.
    pub attempt: i32,
}

impl RunSummary {
    /// How long it has worked: from its start to its end, or to now, without what it waited for people. `None` before it starts.
    pub fn took(&self, now: Timestamp) -> Option<SignedDuration> {
        let whole = self.finished_at.unwrap_or(now).duration_since(self.started_at?);
        let waited = SignedDuration::try_from_secs_f64(self.waited_seconds).unwrap_or_default();
        Some((whole - waited).max(SignedDuration::ZERO))
    }
}

/// A run with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// What lists show.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// Resolved params.
    pub params: Value,
    /// Its task runs, in the order of the flow file. Behind a map come its items, 100 at most, first those that are under way or went
    /// wrong.
    pub tasks: Vec<TaskRun>,
    /// What somebody should have been told of it and was not, at least not yet.
    #[serde(default)]
    pub notices: Vec<Notice>,
}

/// A task run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRun {
    /// Position in the flow; beyond that, of an item.
    pub idx: u32,
    /// Task; with the map index, of an item: `train[3]`.
    pub name: String,
    /// Which item of a map it is; `null` for a task.
    pub map_index: Option<u32>,
    /// What it runs for, of an item.
    pub item: Option<Value>,
    /// How many items are in which state, of a map that has expanded.
    pub items: Option<BTreeMap<String, i64>>,
    /// Plugin.
    pub uses: String,
    /// One line for people.
    pub description: Option<String>,
    /// Tasks that must end before it.
    pub needs: Vec<String>,
    /// `blocked`, `ready`, …
    pub state: String,
    /// Why, where the state has a reason.
    pub reason: Option<String>,
    /// Number of its newest attempt; 0 before the first.
    pub attempt: u32,
    /// Attempts it may take.
    pub attempts: u32,
    /// Fencing token of its newest attempt.
    pub epoch: i64,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When it goes on, in `backoff` and parked in `waiting`.
    pub due_at: Option<Timestamp>,
    /// What its newest attempt that did not succeed said; of a parked one, what it waits for.
    pub message: Option<String>,
    /// `{done, total}` of the attempt that runs now.
    pub progress: Option<Value>,
    /// Name of the worker that holds it now.
    pub worker: Option<String>,
    /// The run whose attempt made what it took, where the reason is `cached`.
    pub cached_from: Option<Uuid>,
    /// The runs that it made, the last one last.
    #[serde(default)]
    pub sub_runs: Vec<SubRun>,
    /// What it handed on.
    pub outputs: Option<Value>,
    /// Files and tables its accepted attempt made.
    pub artifacts: Vec<Artifact>,
    /// It stands behind a gate.
    pub gated: bool,
    /// What became of its gate, once it was reached.
    pub gate: Option<GateResult>,
    /// When it waited for people, oldest first.
    pub waits: Vec<Wait>,
}

/// A time in which a task run held nothing and waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Since when.
    pub from: Timestamp,
    /// Until when; null while it waits.
    pub until: Option<Timestamp>,
}

impl Wait {
    /// Its end, or now.
    pub fn end(&self, now: Timestamp) -> Timestamp {
        self.until.unwrap_or(now)
    }
}

impl TaskRun {
    /// `7 of 10 items ended, 1 failed`, of a map that has expanded.
    pub fn items_in_words(&self) -> Option<String> {
        let items = self.items.as_ref()?;
        let of = |states: &[&str]| -> i64 { states.iter().filter_map(|state| items.get(*state)).sum() };
        let ended = of(&["succeeded", "failed", "rejected", "skipped", "cancelled"]);
        let all: i64 = items.values().sum();
        let wrong = ["failed", "rejected", "cancelled"].map(|state| (of(&[state]), state));
        let wrong = wrong.iter().filter(|(count, _)| *count > 0);
        let wrong: String = wrong.map(|(count, state)| format!(", {count} {state}")).collect();
        Some(format!("{ended} of {all} items ended{wrong}"))
    }

    /// What it said without what the rules of its gate say, for where those stand beside it.
    pub fn beyond_rules(&self) -> Option<String> {
        let rules = self.gate.iter().flat_map(|gate| &gate.rules);
        let rest = rules.fold(self.message.clone()?, |rest, rule| {
            rest.replacen(&rule.judgement.why, "", 1)
        });
        let parts = rest.split("; ").filter(|part| !part.trim().is_empty());
        let rest = parts.collect::<Vec<_>>().join("; ");
        (!rest.is_empty()).then_some(rest)
    }

    /// How long it has worked: from its first attempt to its end, or to now, without what it waited. `None` before it begins.
    pub fn took(&self, now: Timestamp) -> Option<SignedDuration> {
        let whole = self.finished_at.unwrap_or(now).duration_since(self.started_at?);
        Some((whole - self.waited(now)).max(SignedDuration::ZERO))
    }

    /// How long it has waited.
    pub fn waited(&self, now: Timestamp) -> SignedDuration {
        let spans = self
            .waits
            .iter()
            .map(|wait| wait.end(now).duration_since(wait.from));
        spans.fold(SignedDuration::ZERO, |sum, span| sum + span)
    }
}

/// A stored file or table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// Name within the attempt.
    pub name: String,
    /// `file://…` or `s3://…`.
    pub uri: String,
    /// Bytes.
    pub size: i64,
    /// 64 hex digits.
    pub sha256: String,
}

/// What a gate came to, the last time it was reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// `opens`, `rejected` or `asks`.
    pub opening: String,
    /// Each rule with what it came to.
    pub rules: Vec<JudgedRule>,
    /// The approval that was asked for.
    pub approval: Option<Uuid>,
    /// Its state, as in [`super::Approval::state`].
    pub approval_state: Option<String>,
}

/// An event of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Number within the run, without gaps.
    pub seq: i64,
    /// `run_started`, `claimed`, …
    pub kind: String,
    /// The tasks that took it; empty for the run's own.
    pub tasks: Vec<String>,
    /// When.
    pub at: Timestamp,
    /// Reason, and details by task position.
    pub data: Option<Value>,
}

/// A line of a task's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Task.
    pub task: String,
    /// Epoch of the attempt that said it.
    pub epoch: i64,
    /// Number within the attempt, from 1, without gaps.
    pub seq: i64,
    /// When the worker took it in.
    pub at: Timestamp,
    /// `debug`, `info`, `warn`, `error`; `mark` for what the engine adds (`… bytes left out`, `the worker was lost`).
    pub level: String,
    /// Without its line end.
    pub text: String,
}

/// A series of numbers over steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricSeries {
    /// Task.
    pub task: String,
    /// Name.
    pub name: String,
    /// `(step, value)` by step, of the newest epoch.
    pub points: Vec<(i64, f64)>,
}
