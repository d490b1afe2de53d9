//! The surroundings of one attempt, as a plugin sees them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::host::{
    AliasMove, Artifact, Emission, Host, HostCall, HostError, Level, ModelVersion, NewVersion, SubAnswer,
    SubFlow,
};
use super::{MoveTicket, TaskError};
use crate::id::{Epoch, FlowName, RunId, TaskName, VersionHash};
use crate::mask::Mask;

/// Which attempt this is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The run.
    pub run: RunId,
    /// Its flow.
    pub flow: FlowName,
    /// Its flow version.
    pub version: VersionHash,
    /// The task.
    pub task: TaskName,
    /// Which item of a map it runs for.
    #[serde(default)]
    pub map_index: Option<u32>,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Fencing token.
    pub epoch: Epoch,
    /// `scheduled_for`, or the creation time of the run.
    pub run_time: Timestamp,
    /// When the attempt will be stopped.
    pub deadline: Option<Timestamp>,
    /// What it left when it was parked; null before.
    pub memory: Value,
}

impl Attempt {
    /// The same for every attempt of this task run: names an external effect that must happen once.
    pub fn idempotency_key(&self) -> String {
        format!("{}/{}", self.run, self.place())
    }

    /// Name of the task run where brackets would not do: `train`, `train.3`.
    pub fn place(&self) -> String {
        let task = &self.task;
        self.map_index
            .map_or_else(|| task.to_string(), |item| format!("{task}.{item}"))
    }
}

/// The folders of an attempt. All exist when the plugin starts, but for inline plugins that say they need none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Folders {
    /// Scratch of this attempt, removed afterwards; holds the `files` of the task.
    pub work: PathBuf,
    /// Where artifacts of this attempt go; named by the attempt, never shared with another.
    pub artifacts: PathBuf,
    /// Survives the retries of the task run, removed when it ends.
    pub checkpoints: PathBuf,
}

/// What whoever runs Tidegate allows its plugins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Places that are not public and may be asked by plugins that take addresses from flow files: `10.0.0.0/8`, `name:5000`.
    pub http_allow: Vec<String>,
}

/// What a plugin gets: identity, folders, cancellation, and the [`Host`].
#[derive(Clone)]
pub struct Ctx {
    /// Which attempt this is.
    pub attempt: Attempt,
    /// Its folders.
    pub folders: Folders,
    /// The run's params.
    pub params: BTreeMap<String, Value>,
    /// Environment for the plugin and what it starts: `MLFLOW_*`, `AWS_*`, … and the task's `env`. Plugins never read the process's own.
    pub env: Arc<BTreeMap<String, String>>,
    /// What the deployment allows.
    pub deployment: Deployment,
    /// Hides the secrets that the attempt was given; the worker hides them in all that it is told.
    pub mask: Mask,
    cancel: CancellationToken,
    host: Arc<dyn Host>,
}

impl Ctx {
    /// A context whose effects go to `host`.
    pub fn new(attempt: Attempt, folders: Folders, cancel: CancellationToken, host: Arc<dyn Host>) -> Self {
        Self {
            attempt,
            folders,
            params: BTreeMap::new(),
            env: Arc::default(),
            deployment: Deployment::default(),
            mask: Mask::default(),
            cancel,
            host,
        }
    }

    /// Where its effects go.
    pub fn host(&self) -> &dyn Host {
        self.host.as_ref()
    }

    /// Ends when the attempt should stop: cancel, timeout, lost lease.
    pub fn cancelled(&self) -> impl Future<Output = ()> + '_ {
        self.cancel.cancelled()
    }

    /// Whether the attempt should stop; for loops that compute.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// `Err(Cancelled)` once the attempt should stop.
    pub fn checkpoint(&self) -> Result<(), TaskError> {
        if self.is_cancelled() {
            Err(TaskError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// A variable of the attempt's environment; empty counts as unset.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// Writes an info line to the task's log.
    pub fn info(&self, text: impl Into<String>) {
        self.log(Level::Info, text);
    }

    /// Writes a line to the task's log.
    pub fn log(&self, level: Level, text: impl Into<String>) {
        self.host.emit(Emission::Log {
            level,
            text: text.into(),
        });
    }

    /// Says that `done` of `total` units are done.
    pub fn progress(&self, done: u64, total: u64) {
        self.host.emit(Emission::Progress { done, total });
    }

    /// Records a number over steps. Non-finite values are dropped with a warning in the log.
    pub fn metric(&self, name: &str, value: f64, step: u64) {
        if value.is_finite() {
            self.host.emit(Emission::Metric {
                name: name.to_owned(),
                value,
                step,
            });
        } else {
            self.log(
                Level::Warn,
                format!("metric `{name}` is {value} at step {step}; not recorded"),
            );
        }
    }

    /// Records a file under `folders.artifacts` as an artifact: measures and hashes it, answers its reference.
    pub async fn artifact(&self, name: &str, path: &Path) -> Result<Artifact, TaskError> {
        let (size, sha256) = digest_file(path.to_owned())
            .await
            .map_err(|e| TaskError::fail(format_args!("artifact `{name}`: {}: {e}", path.display())))?;
        let uri = format!("file://{}", path.display());
        let artifact = Artifact {
            name: name.to_owned(),
            uri,
            size,
            sha256,
        };
        self.call::<()>(HostCall::Artifact {
            artifact: artifact.clone(),
        })
        .await?;
        Ok(artifact)
    }

    /// What an alias points to in our registry.
    pub async fn model_alias(&self, model: &str, alias: &str) -> Result<Option<ModelVersion>, HostError> {
        self.call(HostCall::Alias {
            model: model.to_owned(),
            alias: alias.to_owned(),
        })
        .await
    }

    /// A version of a model.
    pub async fn model_version(&self, model: &str, version: i64) -> Result<Option<ModelVersion>, HostError> {
        self.call(HostCall::Version {
            model: model.to_owned(),
            version,
        })
        .await
    }

    /// Registers a version; the same task run gets the same version again.
    pub async fn register_model(&self, version: NewVersion) -> Result<ModelVersion, HostError> {
        self.call(HostCall::Register { version }).await
    }

    /// Takes the alias's lock for an [`AliasMove`]; see [`HostCall::BeginMove`].
    pub async fn begin_move(&self, wanted: &AliasMove) -> Result<MoveTicket, HostError> {
        self.call(HostCall::BeginMove {
            wanted: wanted.clone(),
        })
        .await
    }

    /// Commits the move; see [`HostCall::FinishMove`].
    pub async fn finish_move(&self, wanted: &AliasMove) -> Result<ModelVersion, HostError> {
        self.call(HostCall::FinishMove {
            wanted: wanted.clone(),
        })
        .await
    }

    /// Gives the lock back without a move.
    pub async fn abandon_move(&self, wanted: &AliasMove) -> Result<(), HostError> {
        self.call(HostCall::AbandonMove {
            wanted: wanted.clone(),
        })
        .await
    }

    /// Leaves something to tell a channel; a courier delivers it, at least once. Answers the notice's id.
    pub async fn notify(&self, channel: &str, body: Value) -> Result<String, HostError> {
        self.call(HostCall::Notify {
            channel: channel.to_owned(),
            body,
        })
        .await
    }

    /// The run of another flow that this task run made, or makes now; see [`HostCall::SubRun`].
    pub async fn sub_run(&self, wanted: &SubFlow) -> Result<SubAnswer, HostError> {
        self.call(HostCall::SubRun {
            wanted: wanted.clone(),
        })
        .await
    }

    /// Appends to the ledger in the name of this task run.
    pub async fn ledger(&self, kind: &str, data: Value) -> Result<(), HostError> {
        self.call(HostCall::Ledger {
            kind: kind.to_owned(),
            data,
        })
        .await
    }

    async fn call<T: DeserializeOwned>(&self, call: HostCall) -> Result<T, HostError> {
        let answer = self.host.call(call).await?;
        serde_json::from_value(answer).map_err(|e| HostError::Unavailable {
            message: format!("the worker's answer has an unexpected shape: {e}"),
        })
    }
}

/// Size in bytes and SHA-256 (hex) of a file, read in pieces on a blocking thread.
pub async fn digest_file(path: PathBuf) -> io::Result<(u64, String)> {
    let work = move || {
        let mut file = File::open(path)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut size = 0;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok((size, hex::encode(hasher.finalize())));
            }
            size += read as u64;
            hasher.update(&buffer[..read]);
        }
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
