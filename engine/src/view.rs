//! What people and programs are shown: the bodies of the API, of `-o json`, and what the pages are drawn from.
//!
//! Plain data with stable field names. `store/read` fills them; nothing here decides anything. Instants are RFC 3339 in UTC.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::gate::JudgedRule;

/// One page of a list; `next` is the cursor of the page after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The entries, newest first unless the list says otherwise.
    pub items: Vec<T>,
    /// Cursor of the next page; `null` on the last one.
    pub next: Option<String>,
}

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

/// A run with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// What lists show.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// Resolved params.
    pub params: Value,
    /// Its task runs, in the order of the flow file.
    pub tasks: Vec<TaskRun>,
}

/// A task run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRun {
    /// Position in the flow.
    pub idx: u32,
    /// Task.
    pub name: String,
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
    /// When its next attempt is due, in `backoff`.
    pub due_at: Option<Timestamp>,
    /// What its newest attempt that did not succeed said.
    pub message: Option<String>,
    /// `{done, total}` of the attempt that runs now.
    pub progress: Option<Value>,
    /// Name of the worker that holds it now.
    pub worker: Option<String>,
    /// What it handed on.
    pub outputs: Option<Value>,
    /// Files and tables its accepted attempt made.
    pub artifacts: Vec<Artifact>,
    /// It stands behind a gate.
    pub gated: bool,
    /// What became of its gate, once it was reached.
    pub gate: Option<GateResult>,
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
    /// Its state, as in [`Approval::state`].
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

/// A registered model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Name.
    pub name: String,
    /// Where its aliases point, by alias.
    pub aliases: Vec<Alias>,
    /// Its newest version.
    pub newest: Option<i64>,
    /// How many versions there are.
    pub versions: i64,
}

/// Where an alias points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    /// `staging`, `production`, …
    pub alias: String,
    /// Version.
    pub version: i64,
    /// Since when.
    pub moved_at: Option<Timestamp>,
}

/// A version of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Number, from 1.
    pub version: i64,
    /// Where its files are.
    pub source: String,
    /// SHA-256 of its weights.
    pub sha256: Option<String>,
    /// MLflow's run id.
    pub external_run: Option<String>,
    /// Metrics and tags it was registered with.
    pub facts: Value,
    /// The run that made it.
    pub run: Option<Uuid>,
    /// When.
    pub created_at: Timestamp,
    /// Aliases that point to it now.
    pub aliases: Vec<String>,
}

/// A move of an alias: what was in production when, by whom, on what evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AliasMove {
    /// Alias.
    pub alias: String,
    /// Number of the move of this alias, from 1.
    pub number: i64,
    /// Version it pointed to before.
    pub before: Option<i64>,
    /// Version it points to since.
    pub version: i64,
    /// When.
    pub at: Timestamp,
    /// Who: the deciders, or the task run's requester where nobody was asked.
    pub actor: String,
    /// The run.
    pub run: Option<Uuid>,
    /// The approval it rests on.
    pub approval: Option<Uuid>,
    /// SHA-256 of that approval's evidence.
    pub evidence: Option<String>,
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

/// A worker process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Identity of this start.
    pub id: Uuid,
    /// Host and process.
    pub name: String,
    /// Version of its program.
    pub version: String,
    /// Queues it serves.
    pub queues: Vec<String>,
    /// Attempts it runs at once.
    pub slots: i32,
    /// Attempts it runs now.
    pub busy: i64,
    /// When it started.
    pub started_at: Timestamp,
    /// When it was last heard of.
    pub heartbeat_at: Timestamp,
    /// When it stopped as it should.
    pub stopped_at: Option<Timestamp>,
    /// It was heard of within a lease.
    pub alive: bool,
}

/// A person who can sign in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Person {
    /// Name.
    pub name: String,
    /// `viewer`, `operator`, `approver`, `admin`.
    pub roles: Vec<String>,
    /// Account of the operating system that acts as this person.
    pub os_user: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it may not sign in.
    pub disabled_at: Option<Timestamp>,
}
