//! A host for the tests of plugins: records what an attempt says, keeps artifacts and a model registry in memory.
//!
//! ```ignore
//! let bench = Bench::new();                       // folders of its own, an attempt of its own
//! let output = bench.run("approval", json!({})).await;
//! assert!(bench.host.lines().contains("…"));
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_engine::id::{FlowName, RunId, TaskName, VersionHash};
use tidegate_engine::plugin::{
    AliasMove, Artifact, Attempt, Ctx, Emission, Folders, Host, HostCall, HostError, Level, ModelVersion,
    MoveTicket, NewVersion, Preview, Registry, SubAnswer, SubFlow, TaskError,
};
use tokio_util::sync::CancellationToken;

/// What a [`TestHost`] has seen and keeps.
#[derive(Debug, Default)]
pub struct Seen {
    /// Everything said, in order.
    pub emissions: Vec<Emission>,
    /// Recorded artifacts, in order.
    pub artifacts: Vec<Artifact>,
    /// Ledger entries, in order.
    pub ledger: Vec<(String, Value)>,
    /// Channels and what they are to be told.
    pub notices: Vec<(String, Value)>,
    /// Registered versions by model.
    pub models: BTreeMap<String, Vec<ModelVersion>>,
    /// Alias → version, by `(model, alias)`.
    pub aliases: BTreeMap<(String, String), i64>,
    /// Moves that were begun and neither finished nor abandoned.
    pub locked: Vec<AliasMove>,
    /// Moves that were finished.
    pub moves: Vec<AliasMove>,
    /// Runs that were wished for.
    pub sub_flows: Vec<SubFlow>,
    /// What such a wish is answered.
    pub sub_answer: Option<SubAnswer>,
    /// What the next calls answer instead of doing their work, first in first out.
    pub failures: Vec<HostError>,
    registered: Option<ModelVersion>,
}

/// A host in memory.
#[derive(Debug, Default)]
pub struct TestHost {
    seen: Mutex<Seen>,
}

impl TestHost {
    /// What was seen so far; also to prepare models and aliases, or to let calls fail.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// All log lines so far, one a line, without their levels.
    pub fn lines(&self) -> String {
        self.logged()
            .into_iter()
            .map(|(_, text)| text)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// All log lines so far, with their levels.
    pub fn logged(&self) -> Vec<(Level, String)> {
        let log = |e: &Emission| match e {
            Emission::Log { level, text } => Some((*level, text.clone())),
            _ => None,
        };
        self.seen().emissions.iter().filter_map(log).collect()
    }

    /// Values of a metric so far: `(step, value)`.
    pub fn metric(&self, wanted: &str) -> Vec<(u64, f64)> {
        let point = |e: &Emission| match e {
            Emission::Metric { name, value, step } if name == wanted => Some((*step, *value)),
            _ => None,
        };
        self.seen().emissions.iter().filter_map(point).collect()
    }

    /// A registered version for a test to start from; its number is the next one.
    pub fn add_version(&self, model: &str, source: &str, facts: Value) -> ModelVersion {
        let new = NewVersion {
            model: model.to_owned(),
            version: None,
            source: source.to_owned(),
            sha256: None,
            external_run: None,
            facts,
        };
        self.seen().register(new)
    }

    /// Points an alias somewhere, as if by somebody else.
    pub fn set_alias(&self, model: &str, alias: &str, version: i64) {
        self.seen()
            .aliases
            .insert((model.to_owned(), alias.to_owned()), version);
    }
}

impl Seen {
    fn register(&mut self, new: NewVersion) -> ModelVersion {
        let versions = self.models.entry(new.model.clone()).or_default();
        let next = versions.iter().map(|v| v.version).max().unwrap_or(0) + 1;
        let version = ModelVersion {
            model: new.model,
            version: new.version.unwrap_or(next),
            source: new.source,
            sha256: new.sha256,
            external_run: new.external_run,
            facts: new.facts,
            created_at: Timestamp::UNIX_EPOCH,
        };
        versions.push(version.clone());
        version
    }

    fn find(&self, model: &str, version: i64) -> Option<ModelVersion> {
        self.models
            .get(model)?
            .iter()
            .find(|v| v.version == version)
            .cloned()
    }

    fn points_to(&self, model: &str, alias: &str) -> Option<i64> {
        self.aliases.get(&(model.to_owned(), alias.to_owned())).copied()
    }

    fn begin(&mut self, wanted: AliasMove) -> Result<MoveTicket, HostError> {
        let now = self.points_to(&wanted.model, &wanted.alias);
        if self.moves.contains(&wanted) && now == Some(wanted.to) {
            return Ok(MoveTicket {
                wanted,
                done_before: true,
            });
        }
        if self
            .locked
            .iter()
            .any(|m| m.model == wanted.model && m.alias == wanted.alias && *m != wanted)
        {
            return Err(HostError::Busy {
                model: wanted.model,
                alias: wanted.alias,
            });
        }
        if now != wanted.from {
            let AliasMove {
                model, alias, from, ..
            } = wanted;
            return Err(HostError::WorldMoved {
                model,
                alias,
                expected: from,
                now,
            });
        }
        self.locked.push(wanted.clone());
        Ok(MoveTicket {
            wanted,
            done_before: false,
        })
    }

    fn finish(&mut self, wanted: AliasMove) -> Result<ModelVersion, HostError> {
        let refused = |message: &str| HostError::Refused {
            message: message.to_owned(),
        };
        let version = self
            .find(&wanted.model, wanted.to)
            .ok_or_else(|| refused("no such version"))?;
        if self.moves.contains(&wanted) {
            return Ok(version);
        }
        let held = self
            .locked
            .iter()
            .position(|m| *m == wanted)
            .ok_or_else(|| refused("no lock is held"))?;
        self.locked.remove(held);
        let key = (wanted.model.clone(), wanted.alias.clone());
        if let Some(old) = self.aliases.insert(key, wanted.to) {
            self.aliases
                .insert((wanted.model.clone(), "previous".to_owned()), old);
        }
        self.ledger.push(("promotion".to_owned(), json!(wanted)));
        self.moves.push(wanted);
        Ok(version)
    }

    fn answer(&mut self, call: HostCall) -> Result<Value, HostError> {
        Ok(match call {
            HostCall::Alias { model, alias } => {
                json!(self.points_to(&model, &alias).and_then(|v| self.find(&model, v)))
            }
            HostCall::Version { model, version } => json!(self.find(&model, version)),
            HostCall::Register { version } => {
                let registered = self.registered.take().unwrap_or_else(|| self.register(version));
                self.registered = Some(registered.clone());
                json!(registered)
            }
            HostCall::BeginMove { wanted } => json!(self.begin(wanted)?),
            HostCall::FinishMove { wanted } => json!(self.finish(wanted)?),
            HostCall::AbandonMove { wanted } => {
                self.locked.retain(|m| *m != wanted);
                Value::Null
            }
            HostCall::Artifact { artifact } => {
                self.artifacts.push(artifact);
                Value::Null
            }
            HostCall::Notify { channel, body } => {
                self.notices.push((channel, body));
                json!("00000000-0000-0000-0000-000000000001")
            }
            HostCall::SubRun { wanted } => {
                self.sub_flows.push(wanted);
                json!(self.sub_answer)
            }
            HostCall::Ledger { kind, data } => {
                self.ledger.push((kind, data));
                Value::Null
            }
        })
    }
}

#[async_trait]
impl Host for TestHost {
    fn emit(&self, emission: Emission) {
        self.seen().emissions.push(emission);
    }

    async fn call(&self, call: HostCall) -> Result<Value, HostError> {
        let mut seen = self.seen();
        if !seen.failures.is_empty() {
            return Err(seen.failures.remove(0));
        }
        seen.answer(call)
    }
}

/// One attempt of a task `under_test`, with folders that go when it goes.
pub struct Bench {
    /// Its context; `params` may be filled.
    pub ctx: Ctx,
    /// The other end of `ctx`.
    pub host: Arc<TestHost>,
    /// Stops the attempt.
    pub cancel: CancellationToken,
    /// The folder above the attempt's.
    pub root: TempDir,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// An attempt in a new temporary folder.
    pub fn new() -> Self {
        Self::with_host(Arc::default())
    }

    /// An attempt on a host that others use too: a second task, a retry.
    pub fn with_host(host: Arc<TestHost>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = root.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let folders = Folders {
            work: folder("work"),
            artifacts: folder("artifacts"),
            checkpoints: folder("checkpoints"),
        };
        let cancel = CancellationToken::new();
        let ctx = Ctx::new(attempt(), folders, cancel.clone(), host.clone());
        Self {
            ctx,
            host,
            cancel,
            root,
        }
    }

    /// Its environment, to be filled.
    pub fn env(&mut self) -> &mut BTreeMap<String, String> {
        Arc::make_mut(&mut self.ctx.env)
    }

    /// Runs a plugin of the crate's registry, as the worker does: by name, with JSON.
    pub async fn run(&self, plugin: &str, with: Value) -> Result<Value, TaskError> {
        self.run_from(&crate::registry(), plugin, with).await
    }

    /// Runs a plugin of any registry.
    pub async fn run_from(&self, registry: &Registry, plugin: &str, with: Value) -> Result<Value, TaskError> {
        registry
            .get(plugin)
            .expect("a registered plugin")
            .run(&self.ctx, with)
            .await
    }

    /// Previews a plugin of the crate's registry.
    pub async fn preview(&self, plugin: &str, with: Value) -> Result<Preview, TaskError> {
        crate::registry()
            .get(plugin)
            .expect("a registered plugin")
            .preview(&self.ctx, with)
            .await
    }
}

fn attempt() -> Attempt {
    Attempt {
        map_index: None,
        run: "01931d2c-0000-7000-8000-000000000001".parse::<RunId>().unwrap(),
        flow: FlowName::new("tested-flow").unwrap(),
        version: version_hash(),
        task: TaskName::new("under_test").unwrap(),
        attempt: 1,
        epoch: epoch(),
        run_time: "2026-11-24T02:00:00Z".parse().unwrap(),
        deadline: None,
        memory: Value::Null,
    }
}

/// Different in each attempt of each test process: it marks the attempt's processes, which are killed by it.
fn epoch() -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(1);
    i64::from(std::process::id()) * 1_000 + NEXT.fetch_add(1, Ordering::Relaxed)
}

fn version_hash() -> VersionHash {
    serde_json::from_value(json!("a".repeat(64))).unwrap()
}
