//! What a task plugin is: typed input and output, one `run`, and what it may ask of its surroundings.
//!
//! A plugin never sees the database. Everything goes through [`Ctx`], whose [`Host`] is either the worker itself (inline
//! plugins) or a pipe to it (plugins in a child process); both fence every effect with the attempt's epoch.

mod ctx;
mod host;
mod objection;
mod registry;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::graph::EndState;
use crate::state::Reason;

pub use ctx::{Attempt, Ctx, Deployment, Folders, digest_file};
pub use host::{
    AliasMove, Artifact, Emission, Host, HostCall, HostError, Level, ModelVersion, MoveTicket, NewVersion,
    SubAnswer, SubFlow, SubRun,
};
pub use objection::{Fault, Objection, is_given, literal, no_durations, unread};
pub use registry::{Descriptor, ErasedPlugin, Registry};

/// Where a plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// In a child process of the worker: can be killed, dies alone.
    #[default]
    Process,
    /// In the worker: light, must yield at awaits. Takes no slot.
    Inline,
    /// In the worker, around a program that it starts and ends by itself. Takes a slot.
    Program,
}

/// How an attempt that did not succeed ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TaskError {
    /// Passing trouble: the retry policy decides.
    #[error("{message}")]
    Retry { message: String },
    /// Passing trouble that has named its time: no try before that.
    #[error("{message}")]
    Later { message: String, after: Duration },
    /// Trying again would not help.
    #[error("{message}")]
    Fail { message: String },
    /// The world is no longer what the gate was opened on: the gate is asked anew.
    #[error("{message}")]
    WorldMoved { message: String },
    /// There is nothing to do until later. Not a failure: the task run waits without a slot or a lease, then runs again.
    #[error("{}", .0.note)]
    Parked(Box<Parking>),
    /// The run that it made ended, and did not succeed: the task run ends like it.
    #[error("{message}")]
    SubRun { end: EndState, message: String },
    /// The attempt was told to stop and did.
    #[error("stopped on request")]
    Cancelled,
}

/// What a task run is parked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// An instant.
    Timer,
    /// Something to look at again.
    Poll,
    /// A run that it made; it is woken when that run ended.
    SubRun,
}

impl WaitsFor {
    /// The reason of its state.
    pub fn reason(self) -> Reason {
        match self {
            Self::Timer => Reason::Timer,
            Self::Poll => Reason::Poll,
            Self::SubRun => Reason::SubRun,
        }
    }
}

/// How a task run waits without holding anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parking {
    /// What for.
    pub waits_for: WaitsFor,
    /// When it runs again; ignored where it is woken.
    pub until: Option<Timestamp>,
    /// What it waits for, one sentence for people.
    pub note: String,
    /// What the next attempt finds in [`Attempt::memory`].
    pub memory: Value,
}

impl TaskError {
    /// Passing trouble, from anything that can be shown.
    pub fn retry(message: impl fmt::Display) -> Self {
        Self::Retry {
            message: message.to_string(),
        }
    }

    /// Lasting trouble, from anything that can be shown.
    pub fn fail(message: impl fmt::Display) -> Self {
        Self::Fail {
            message: message.to_string(),
        }
    }

    /// Lasting trouble from an error, with its whole chain of causes.
    pub fn fail_chain(error: &dyn std::error::Error) -> Self {
        Self::Fail {
            message: chain(error),
        }
    }

    /// Passing trouble from an error, with its whole chain of causes.
    pub fn retry_chain(error: &dyn std::error::Error) -> Self {
        Self::Retry {
            message: chain(error),
        }
    }
}

/// An error and its causes as one line, `outer: inner: innermost`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// What a click on *approve* would do, as frozen into the evidence.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Preview {
    /// One sentence for the approver: "moves ranking_model@production from v6 to v7".
    pub sentence: Option<String>,
    /// Facts of the world that the decision rests on. When they differ at the time of acting, the gate is asked anew.
    pub world: Value,
}

/// A task plugin. One file, one struct, one line in the registry.
#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    /// Typed `with`; derive `Deserialize` with `deny_unknown_fields`.
    type Input: DeserializeOwned + JsonSchema + Send;
    /// Typed outputs; at most 1 MiB as JSON.
    type Output: Serialize + JsonSchema + Send;

    /// Name, as in `uses = "…"`.
    const NAME: &'static str;
    /// Version; changes when the same input would give another output.
    const VERSION: &'static str;
    /// One line: what it does.
    const PURPOSE: &'static str;
    /// Where it runs.
    const ISOLATION: Isolation = Isolation::Process;
    /// Whether an inline plugin works in its folders; those of one that does not are not made.
    const FOLDERS: bool = true;
    /// It changes what production rests on: freeze windows hold it back.
    const GUARDED: bool = false;
    /// Its point is what it does, not what it hands on: taken from a cache, it would not be done.
    const ACTS: bool = false;

    /// One attempt. Must be safe to repeat: tasks run at least once.
    async fn run(&self, ctx: &Ctx, input: Self::Input) -> Result<Self::Output, TaskError>;

    /// What `run` would do, for the evidence of a gate. Reads only.
    async fn preview(&self, _ctx: &Ctx, _input: Self::Input) -> Result<Preview, TaskError> {
        Ok(Preview::default())
    }

    /// Output fields that `check` can know only from the input: `(name, JSON Schema)` added to the output schema.
    /// For `command`, whose outputs the flow file declares. `with` is as written, `{{ … }}` unrendered.
    fn declared_outputs(_with: &Value) -> Vec<(String, Value)> {
        Vec::new()
    }

    /// What `check` shall refuse although each key by itself fits the schema: keys that have no effect together, values that can
    /// never work. `with` is as written, `{{ … }}` unrendered.
    fn objections(_with: &Value) -> Vec<Objection> {
        Vec::new()
    }

    /// Keys of the task, beside `with`, that have no effect on this plugin; `check` refuses those that are written.
    fn idle_keys(_with: &Value) -> Vec<Objection> {
        Vec::new()
    }
}
