//! What a plugin may ask of the worker, as data: the same calls serve an inline plugin and one behind a pipe.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::graph::EndState;
use crate::id::{RunId, VersionHash};

/// How loud a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Details for the author.
    Debug,
    /// What happens.
    Info,
    /// What may need a look.
    Warn,
    /// What went wrong.
    Error,
}

/// What an attempt says while it runs. Never waits for an answer; a lost lease drops it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Emission {
    /// A log line.
    Log { level: Level, text: String },
    /// `done` of `total` units.
    Progress { done: u64, total: u64 },
    /// A number over steps: a loss curve.
    Metric { name: String, value: f64, step: u64 },
}

/// A file or table that a task made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Name within the attempt.
    pub name: String,
    /// `file://…` or `s3://…`.
    pub uri: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes, 64 hex digits.
    pub sha256: String,
}

/// A registered version of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Registered model.
    pub model: String,
    /// Version, from 1. With MLflow: MLflow's number.
    pub version: i64,
    /// Where its files are.
    pub source: String,
    /// SHA-256 of its weights file.
    pub sha256: Option<String>,
    /// MLflow's run id, where there is one.
    pub external_run: Option<String>,
    /// Metrics and tags it was registered with.
    pub facts: Value,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// A version to register. Registering the same `(run, task)` again gives the version of the first time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewVersion {
    /// Registered model; made when new.
    pub model: String,
    /// The number another registry (MLflow) gave it; `None`: the next one here.
    pub version: Option<i64>,
    /// Where its files are.
    pub source: String,
    /// SHA-256 of its weights file.
    pub sha256: Option<String>,
    /// MLflow's run id.
    pub external_run: Option<String>,
    /// Metrics and tags to show with it.
    pub facts: Value,
}

/// A move of an alias that must start from `from`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AliasMove {
    /// Registered model.
    pub model: String,
    /// `staging`, `production`, …
    pub alias: String,
    /// Version the alias must point to now; `None`: it must not exist.
    pub from: Option<i64>,
    /// Version it shall point to.
    pub to: i64,
}

/// The right to carry out one [`AliasMove`] in an outside registry, held until finished or the attempt's lease ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MoveTicket {
    /// What may be done.
    pub wanted: AliasMove,
    /// Already carried out by this task run before (a repeat after a crash): only outside repair is left.
    pub done_before: bool,
}

/// A run to make and to wait for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubFlow {
    /// Its flow.
    pub flow: String,
    /// Its params, strictly as the flow declares them.
    pub params: Map<String, Value>,
    /// The tasks whose outputs are handed on; `None`: all.
    pub outputs: Option<Vec<String>>,
}

/// The run that a task run made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubRun {
    /// Identity.
    pub run: RunId,
    /// Version of its flow.
    pub version: VersionHash,
    /// Number of that version.
    pub number: i64,
    /// It was made by this call.
    pub made: bool,
    /// How it ended; `None`: it is not over.
    pub end: Option<EndState>,
    /// Why, where that has a reason.
    pub reason: Option<String>,
    /// Of one that succeeded: what its tasks handed on, by name; null where one handed on nothing.
    pub outputs: Map<String, Value>,
}

/// What became of the wish for a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SubAnswer {
    /// A freeze window stops the flow until then.
    Frozen {
        freeze: Uuid,
        until: Timestamp,
        why: String,
    },
    /// There it is.
    Run(SubRun),
}

/// A question that waits for its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum HostCall {
    /// → `Option<ModelVersion>`: what an alias points to in our registry.
    Alias { model: String, alias: String },
    /// → `Option<ModelVersion>`.
    Version { model: String, version: i64 },
    /// → `ModelVersion`: idempotent by task run.
    Register { version: NewVersion },
    /// → `MoveTicket`: takes the alias's lock for this attempt. `WorldMoved` when `from` is not what it points to now,
    /// `Busy` while another attempt holds it.
    BeginMove { wanted: AliasMove },
    /// → `ModelVersion`: sets the alias, `previous` on the old one, history and ledger entry in one transaction, frees the lock.
    FinishMove { wanted: AliasMove },
    /// → `null`: frees the lock, nothing moved.
    AbandonMove { wanted: AliasMove },
    /// → `null`: records a file of this attempt.
    Artifact { artifact: Artifact },
    /// → the notice's id: something to tell a channel, once per task run; a courier delivers it.
    Notify { channel: String, body: Value },
    /// → `SubAnswer`: the run that this try of the task run made, or makes now: one, however often it is asked for.
    SubRun { wanted: SubFlow },
    /// → `null`: appends to the ledger in the name of this task run.
    Ledger { kind: String, data: Value },
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HostError {
    /// The attempt no longer holds its lease: stop, nothing you do counts.
    #[error("this attempt has lost its lease")]
    Stale,
    /// The alias points elsewhere by now.
    #[error("{model}@{alias} points to {}, not to {} as expected", show(*.now), show(*.expected))]
    WorldMoved {
        model: String,
        alias: String,
        expected: Option<i64>,
        now: Option<i64>,
    },
    /// Another attempt is moving this alias.
    #[error("{model}@{alias} is being moved by another task run")]
    Busy { model: String, alias: String },
    /// The request itself is wrong.
    #[error("{message}")]
    Refused { message: String },
    /// The worker or its database cannot answer now.
    #[error("{message}")]
    Unavailable { message: String },
}

fn show(version: Option<i64>) -> String {
    version.map_or_else(|| "nothing".to_owned(), |v| format!("v{v}"))
}

impl From<HostError> for super::TaskError {
    fn from(error: HostError) -> Self {
        match &error {
            HostError::WorldMoved { .. } => Self::WorldMoved {
                message: error.to_string(),
            },
            HostError::Refused { .. } => Self::fail(&error),
            HostError::Stale => Self::Cancelled,
            HostError::Busy { .. } | HostError::Unavailable { .. } => Self::retry(&error),
        }
    }
}

/// The worker as a plugin sees it.
#[async_trait]
pub trait Host: Send + Sync {
    /// Says something; never blocks for long, never fails the task.
    fn emit(&self, emission: Emission);
    /// Asks something; the answer's shape stands with each [`HostCall`].
    async fn call(&self, call: HostCall) -> Result<Value, HostError>;
}
