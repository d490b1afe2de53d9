//! One attempt: render the input, run the plugin where it belongs, say what became of it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Shared, Stop, StopSwitch, child};
use crate::clock;
use crate::graph::Flow;
use crate::plan::Outcome;
use crate::plugin::{Attempt, Ctx, Folders, Host, Isolation, TaskError, chain};
use crate::state::Reason;
use crate::store::advance::Report;
use crate::store::claim::{Claim, Surroundings};
use crate::store::leases::GRACE;
use crate::template;

/// Bytes of outputs as JSON, at most.
const OUTPUT_CAP: usize = 1 << 20;

/// Runs one attempt. `None`: its lease is gone, there is nobody to tell.
pub(super) async fn run(shared: &Arc<Shared>, claim: Claim, stop: &StopSwitch) -> Option<Report> {
    let result = match prepare(shared, &claim, stop).await {
        Ok(prepared) => execute(shared, &claim, (prepared, stop)).await,
        Err(error) => Err(error),
    };
    let _ = tokio::fs::remove_dir_all(folders(shared, &claim).work).await;
    let (outcome, outputs, message) = judge(result, stop.why())?;
    Some(Report {
        run: claim.run,
        idx: claim.idx,
        epoch: claim.epoch,
        outcome,
        outputs,
        message,
    })
}

/// The outcome of a result, seen with why the attempt was told to stop. `None`: fenced.
fn judge(
    result: Result<Value, TaskError>,
    stop: Option<Stop>,
) -> Option<(Outcome, Option<Value>, Option<String>)> {
    if stop == Some(Stop::Fenced) {
        return None;
    }
    let error = match result {
        Ok(outputs) => return Some((Outcome::Succeeded, Some(outputs), None)),
        Err(error) => error,
    };
    let message = Some(error.to_string());
    let outcome = match (stop, error) {
        (Some(Stop::Timeout), _) => {
            let message = "it took longer than its timeout".to_owned();
            let outcome = Outcome::Failed {
                reason: Reason::Timeout,
                again: true,
            };
            return Some((outcome, None, Some(message)));
        }
        (Some(Stop::Requested), _) => Outcome::Stopped,
        (Some(Stop::Drained), _) => Outcome::Released,
        (_, TaskError::Retry { .. }) => Outcome::Failed {
            reason: Reason::Error,
            again: true,
        },
        (_, TaskError::Cancelled) => Outcome::Stopped,
        (_, TaskError::Fail { .. } | TaskError::WorldMoved { .. }) => Outcome::Failed {
            reason: Reason::Error,
            again: false,
        },
    };
    Some((outcome, None, message))
}

/// What a plugin is started with.
pub(super) struct Prepared {
    /// Rendered `with`.
    pub input: Value,
    /// The plugin's surroundings.
    pub ctx: Ctx,
}

async fn prepare(shared: &Arc<Shared>, claim: &Claim, stop: &StopSwitch) -> Result<Prepared, TaskError> {
    let around = shared
        .store
        .surroundings(claim)
        .await
        .map_err(|e| TaskError::retry_chain(&e))?;
    let task = claim.task();
    if task.gate.is_some() {
        return Err(TaskError::fail(
            "this version cannot judge gates; the task stays closed",
        ));
    }
    let scope = scope(claim, &around);
    let input = template::render_value(&task.with, &scope).map_err(|e| TaskError::fail_chain(&e))?;
    let folders = folders(shared, claim);
    lay_out(&folders, &claim.flow, &task.files)
        .await
        .map_err(TaskError::retry)?;
    let attempt = identity(claim, &around);
    let host: Arc<dyn Host> = Arc::new(super::host::StoreHost::new(shared.store.clone(), claim));
    let mut ctx = Ctx::new(attempt, folders, stop.token.clone(), host);
    ctx.params = around.params;
    ctx.env = environment(shared, &task.env, &scope)?;
    Ok(Prepared { input, ctx })
}

fn environment(
    shared: &Shared,
    own: &BTreeMap<String, String>,
    scope: &Value,
) -> Result<BTreeMap<String, String>, TaskError> {
    let mut env = shared.config.env.clone();
    for (name, text) in own {
        let value = template::render_text(text, scope).map_err(|e| TaskError::fail_chain(&e))?;
        env.insert(name.clone(), value);
    }
    Ok(env)
}

/// What `{{ … }}` may name.
fn scope(claim: &Claim, around: &Surroundings) -> Value {
    let vars: Map<String, Value> = claim
        .flow
        .vars
        .iter()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    json!({
        "params": around.params,
        "vars": vars,
        "tasks": around.outputs,
        "run": {
            "id": claim.run,
            "flow": claim.flow.name,
            "trigger": around.trigger,
            "scheduled_for": around.scheduled_for,
            "time": run_time(around),
        },
    })
}

fn run_time(around: &Surroundings) -> Timestamp {
    around.scheduled_for.unwrap_or(around.created_at)
}

fn identity(claim: &Claim, around: &Surroundings) -> Attempt {
    let timeout = claim.task().timeout;
    Attempt {
        run: claim.run,
        flow: claim.flow.name.clone(),
        version: around.version.clone(),
        task: claim.task().name.clone(),
        attempt: claim.attempt,
        epoch: claim.epoch,
        run_time: run_time(around),
        deadline: timeout.and_then(|t| clock::now().checked_add(t).ok()),
    }
}

/// The folders of an attempt: work and artifacts are its own, checkpoints belong to the task run.
fn folders(shared: &Shared, claim: &Claim) -> Folders {
    let task = format!("{}/{}", claim.run, claim.task().name);
    let home = &shared.config.home;
    Folders {
        work: home.join("work").join(&task).join(claim.epoch.to_string()),
        artifacts: home.join("artifacts").join(&task).join(claim.epoch.to_string()),
        checkpoints: home.join("checkpoints").join(&task),
    }
}

async fn lay_out(folders: &Folders, flow: &Flow, files: &[String]) -> io::Result<()> {
    for folder in [&folders.work, &folders.artifacts, &folders.checkpoints] {
        tokio::fs::create_dir_all(folder).await?;
    }
    for name in files {
        let Some(text) = flow.files.get(name) else {
            continue;
        };
        let path = folders.work.join(name);
        tokio::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).await?;
        tokio::fs::write(path, text).await?;
    }
    Ok(())
}

async fn execute(
    shared: &Arc<Shared>,
    claim: &Claim,
    (prepared, stop): (Prepared, &StopSwitch),
) -> Result<Value, TaskError> {
    let alarm = alarm(claim.task().timeout, stop.clone());
    let result = match claim.task().isolation {
        Isolation::Process => child::run(shared, claim, prepared, stop).await,
        Isolation::Inline => inline(shared, claim, prepared, stop).await,
    };
    if let Some(alarm) = alarm {
        alarm.abort();
    }
    let outputs = result?;
    let size = outputs.to_string().len();
    if size > OUTPUT_CAP {
        return Err(TaskError::fail(format_args!(
            "the outputs are {size} bytes of JSON, more than {OUTPUT_CAP}; hand large data on as an artifact"
        )));
    }
    Ok(outputs)
}

/// Pulls the switch when the attempt has taken its time.
fn alarm(timeout: Option<Duration>, stop: StopSwitch) -> Option<tokio::task::JoinHandle<()>> {
    let timeout = timeout?;
    Some(tokio::spawn(async move {
        clock::sleep(timeout).await;
        stop.pull(Stop::Timeout);
    }))
}

/// Runs a plugin in this process. One that does not end within the grace is dropped at its next await.
async fn inline(
    shared: &Arc<Shared>,
    claim: &Claim,
    prepared: Prepared,
    stop: &StopSwitch,
) -> Result<Value, TaskError> {
    let name = &claim.task().uses;
    let plugin = shared
        .registry
        .get(name)
        .cloned()
        .ok_or_else(|| TaskError::fail(format_args!("this worker has no plugin `{name}`")))?;
    let mut task = tokio::spawn(async move { plugin.run(&prepared.ctx, prepared.input).await });
    let done = tokio::select! {
        done = &mut task => done,
        () = late(stop) => {
            task.abort();
            return Err(TaskError::Cancelled);
        }
    };
    done.unwrap_or_else(|error| {
        Err(TaskError::fail(format_args!(
            "the plugin panicked: {}",
            chain(&error)
        )))
    })
}

/// Ends when a stop was asked for and its grace is over.
pub(super) async fn late(stop: &StopSwitch) {
    stop.token.cancelled().await;
    clock::sleep(GRACE).await;
}
