//! What worker and child process say to each other: JSON, one message a line, over one socket (the child's standard input).

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::plugin::{Attempt, Deployment, Emission, Folders, HostCall, HostError, TaskError};

/// From the worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "m", rename_all = "snake_case")]
pub(super) enum ToChild {
    /// The first message: what to run.
    Start(Box<Start>),
    /// The answer to a call.
    Answer {
        number: u64,
        answer: Result<Value, HostError>,
    },
    /// Stop soon.
    Stop,
}

/// What to run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub plugin: String,
    /// Say what it would do instead of doing it.
    pub preview: bool,
    pub input: Value,
    pub attempt: Attempt,
    pub folders: Folders,
    pub params: BTreeMap<String, Value>,
    pub env: BTreeMap<String, String>,
    pub deployment: Deployment,
    /// Values that must not be seen.
    pub hidden: Vec<String>,
}

/// From the child.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "m", rename_all = "snake_case")]
pub(super) enum ToWorker {
    /// It says something.
    Emit { emission: Emission },
    /// It asks something.
    Call { number: u64, call: HostCall },
    /// The last message.
    Done { result: Result<Value, TaskError> },
}

/// Writes messages.
pub(super) struct Writer(OwnedWriteHalf);

impl Writer {
    pub(super) fn new(half: OwnedWriteHalf) -> Self {
        Self(half)
    }

    /// Sends one message. An error means that the other side is gone.
    pub(super) async fn send(&mut self, message: &impl Serialize) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.0.write_all(&line).await
    }
}

/// Reads messages.
pub(super) struct Reader {
    half: BufReader<OwnedReadHalf>,
    /// What has come of the next message.
    line: Vec<u8>,
}

impl Reader {
    pub(super) fn new(half: OwnedReadHalf) -> Self {
        Self {
            half: BufReader::new(half),
            line: Vec::new(),
        }
    }

    /// The next message; `None` when the other side is gone or spoke nonsense. May be dropped half-way: the next call goes on.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        self.half.read_until(b'\n', &mut self.line).await.ok()?;
        // Nothing at all, or the beginning of a message whose end will not come, is none.
        let message = serde_json::from_slice(&self.line).ok();
        self.line.clear();
        message
    }
}
