//! What the program finds when it starts: files and environment.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidegate_engine::plugin::{Ctx, TaskError};

use super::Input;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Largest `failure.json` that is looked at.
const MAX_FAILURE: u64 = 64 << 10;

/// The files between us and the program.
#[derive(Debug, Clone)]
pub struct Files {
    pub context: PathBuf,
    pub output: PathBuf,
    pub events: PathBuf,
    pub failure: PathBuf,
}

impl Files {
    /// Writes the context and makes sure that no answer of an earlier attempt lies there.
    pub fn prepare(ctx: &Ctx, input: &Input) -> Result<Self, TaskError> {
        let work = &ctx.folders.work;
        let files = Self {
            context: work.join("context.json"),
            output: work.join("output.json"),
            events: work.join("events.jsonl"),
            failure: work.join("failure.json"),
        };
        let failed = |e: io::Error| TaskError::retry(format_args!("{}: {e}", work.display()));
        for old in [&files.output, &files.events, &files.failure] {
            match std::fs::remove_file(old) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
                _ => {}
            }
        }
        std::fs::write(&files.context, document(ctx, input).to_string()).map_err(failed)?;
        Ok(files)
    }
}

fn document(ctx: &Ctx, input: &Input) -> Value {
    let attempt = &ctx.attempt;
    let inputs: Map<String, Value> = input
        .inputs
        .iter()
        .map(|(k, v)| (k.clone(), with_path(v)))
        .collect();
    json!({
        "v": 1,
        "params": ctx.params,
        "inputs": inputs,
        "run": {
            "id": attempt.run,
            "flow": attempt.flow,
            "version": attempt.version,
            "task": attempt.task,
            "map_index": attempt.map_index,
            "attempt": attempt.attempt,
            "time": attempt.run_time,
            "deadline": attempt.deadline,
            "idempotency_key": attempt.idempotency_key(),
        },
    })
}

/// A reference to a local file gets its path beside its URI.
fn with_path(value: &Value) -> Value {
    let mut value = value.clone();
    let path = value
        .get("uri")
        .and_then(Value::as_str)
        .and_then(|u| u.strip_prefix("file://"))
        .map(str::to_owned);
    if let (Some(path), Some(fields)) = (path, value.as_object_mut()) {
        fields.insert("path".to_owned(), path.into());
    }
    value
}

/// Marks every process of this attempt, in its environment.
pub fn marker(ctx: &Ctx) -> String {
    format!(
        "{}/{}:{}",
        ctx.attempt.run,
        ctx.attempt.place(),
        ctx.attempt.epoch
    )
}

/// All variables of the program; nothing else reaches it.
pub fn environment(ctx: &Ctx, files: &Files) -> BTreeMap<String, String> {
    let show = |path: &Path| path.display().to_string();
    let work = show(&ctx.folders.work);
    let mut all: BTreeMap<String, String> = [
        ("PATH", PATH.to_owned()),
        ("HOME", work.clone()),
        ("LANG", "C.UTF-8".to_owned()),
        ("TZ", "UTC".to_owned()),
        ("PYTHONUNBUFFERED", "1".to_owned()),
        ("PYTHONFAULTHANDLER", "1".to_owned()),
        ("PYTHONIOENCODING", "utf-8".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    all.extend((*ctx.env).clone());
    let attempt = &ctx.attempt;
    let ours = [
        ("ATTEMPT", marker(ctx)),
        ("ATTEMPT_NUMBER", attempt.attempt.to_string()),
        ("RUN_ID", attempt.run.to_string()),
        ("FLOW", attempt.flow.to_string()),
        ("TASK_ID", attempt.task.to_string()),
        (
            "MAP_INDEX",
            attempt.map_index.map(|i| i.to_string()).unwrap_or_default(),
        ),
        ("RUN_TIME", attempt.run_time.to_string()),
        (
            "DEADLINE",
            attempt.deadline.map(|d| d.to_string()).unwrap_or_default(),
        ),
        ("IDEMPOTENCY_KEY", attempt.idempotency_key()),
        ("CONTEXT", show(&files.context)),
        ("OUTPUT", show(&files.output)),
        ("EVENTS", show(&files.events)),
        ("FAILURE", show(&files.failure)),
        ("ARTIFACTS", show(&ctx.folders.artifacts)),
        ("CHECKPOINTS", show(&ctx.folders.checkpoints)),
    ];
    all.extend(
        ours.into_iter()
            .map(|(name, value)| (format!("TIDEGATE_{name}"), value)),
    );
    all
}

/// What a program leaves when it fails.
#[derive(Debug, Clone, Deserialize)]
pub struct Failure {
    /// One line.
    #[serde(default)]
    pub message: String,
    /// Whether trying again may help; unsaid: the exit code decides.
    #[serde(default)]
    pub retryable: Option<bool>,
}

/// Reads a failure; one that can't be read is none.
pub fn read_failure(path: &Path) -> Option<Failure> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    let readable = meta.is_file() && meta.len() <= MAX_FAILURE;
    readable
        .then(|| {
            std::fs::read(path)
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok())
        })
        .flatten()
}
