//! One attempt: pass its gate, render the input, run the plugin where it belongs, say what became of it.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use serde_json::Value;

use super::folders::{folders, lay_out, needs_folders};
use super::scope::{run_time, scope};
use super::tree::{self, Mark};
use super::vault::{self, Vault};
use super::{Shared, Stop, StopSwitch, child, freeze, gate, inside, leftovers};
use crate::clock;
use crate::plan::Outcome;
use crate::plugin::{Attempt, Ctx, Emission, Host, Isolation, Level, Preview, TaskError};
use crate::state::Reason;
use crate::store::advance::Report;
use crate::store::approvals::Reached;
use crate::store::cache::{Cached, Hit};
use crate::store::claim::Claim;
use crate::store::leases::GRACE;
use crate::store::surroundings::Surroundings;
use crate::template;

/// Bytes of outputs as JSON, at most.
const OUTPUT_CAP: usize = 1 << 20;

/// How an attempt that went its way ended.
pub(super) enum End {
    /// With the plugin's outputs, and the key under which they are kept where the task is cached.
    Outputs(Value, Option<String>),
    /// With the outputs of an earlier attempt on the same inputs.
    Cached(Box<Hit>),
    /// Before it began: its `when` is false.
    Unneeded,
    /// As the items that it runs for.
    Items(Vec<Value>),
    /// At its gate, with a sentence for each rule that made it so.
    Gate(Box<Reached>, Vec<String>),
}

/// An attempt under way.
pub(super) struct Attempting<'a> {
    pub shared: &'a Arc<Shared>,
    pub claim: &'a Claim,
    pub stop: &'a StopSwitch,
    pub around: Surroundings,
    /// What `{{ … }}` may name.
    pub scope: Value,
    pub vault: Vault,
}

/// Runs one attempt. `None`: its lease is gone, there is nobody to tell.
pub(super) async fn run(
    shared: &Arc<Shared>,
    (claim, around): (Claim, Option<Surroundings>),
    stop: &StopSwitch,
) -> Option<Report> {
    let holder = claim.holder();
    shared.scribe.open(holder);
    let alarm = alarm(claim.task().timeout, stop.clone());
    let result = go(shared, (&claim, around), stop).await;
    if let Some(alarm) = alarm {
        alarm.abort();
    }
    if needs_folders(shared, &claim) {
        let _ = tokio::fs::remove_dir_all(folders(shared, &claim).work).await;
    }
    let Some(report) = report(&claim, result, stop.why()) else {
        shared.scribe.forget(holder);
        return None;
    };
    if let (Some(text), Outcome::Failed { .. } | Outcome::FailedUntil { .. }) =
        (report.message.clone(), report.outcome)
    {
        let level = Level::Error;
        let said = Emission::Log { level, text };
        shared.scribe.take_in(holder, said, clock::now());
    }
    // The report ends the lease, and with it what may be written.
    shared.scribe.close(holder, clock::now()).await;
    Some(report)
}

async fn go(
    shared: &Arc<Shared>,
    (claim, around): (&Claim, Option<Surroundings>),
    stop: &StopSwitch,
) -> Result<End, TaskError> {
    leftovers::clear_the_way(claim).await;
    let around = match around {
        Some(around) => around,
        None => {
            let around = shared.store.surroundings(claim).await;
            around.map_err(|e| TaskError::retry_chain(&e))?
        }
    };
    let mut attempting = Attempting {
        shared,
        claim,
        stop,
        scope: scope(claim, &around),
        around,
        vault: Vault::default(),
    };
    if let Some(end) = attempting.before()? {
        return Ok(end);
    }
    freeze::pass(&attempting).await?;
    attempting.vault = vault::open(shared, claim.task()).await?;
    let ended = match &claim.task().gate {
        // The seldom ways are apart: an attempt is moved about before it begins, with room for the largest of them.
        Some(gate) => Box::pin(gate::pass(&attempting, gate)).await,
        None => attempting.plainly().await,
    };
    ended.map_err(|error| vault::hide_error(&attempting.vault.mask, error))
}

/// What to report of a result, seen with why the attempt was told to stop. `None`: fenced.
fn report(claim: &Claim, result: Result<End, TaskError>, stop: Option<Stop>) -> Option<Report> {
    if stop == Some(Stop::Fenced) {
        return None;
    }
    let mut report = Report {
        run: claim.run,
        idx: claim.idx,
        epoch: claim.epoch,
        outcome: Outcome::Succeeded,
        outputs: None,
        message: None,
        items: None,
        gate: None,
        cached: None,
    };
    match result {
        Ok(End::Outputs(outputs, key)) => {
            report.outputs = Some(outputs);
            report.cached = key.map(|key| Cached::Made { key });
        }
        Ok(End::Cached(hit)) => {
            report.outcome = Outcome::Cached;
            report.outputs = Some(hit.outputs.clone());
            report.cached = Some(Cached::Taken(hit));
        }
        Ok(End::Unneeded) => report.outcome = Outcome::Unneeded,
        Ok(End::Items(items)) => {
            let count = items.len() as u32;
            (report.outcome, report.items) = (Outcome::Expanded { count }, Some(items));
        }
        Ok(End::Gate(reached, why)) => {
            let closed = Outcome::Rejected {
                reason: Reason::RuleFailed,
            };
            report.outcome = reached.ask.as_ref().map_or(closed, |_| Outcome::Asked);
            report.message = (!why.is_empty()).then(|| why.join("; "));
            report.gate = Some(reached);
        }
        Err(TaskError::Parked(parking)) if stop.is_none() => {
            let (reason, until) = (parking.waits_for.reason(), parking.until);
            report.outcome = Outcome::Parked { reason, until };
            report.message = Some(parking.note);
            report.outputs = Some(parking.memory);
        }
        Err(error) => {
            let (outcome, message) = failure(error, stop);
            (report.outcome, report.message) = (outcome, Some(message));
        }
    }
    Some(report)
}

fn failure(error: TaskError, stop: Option<Stop>) -> (Outcome, String) {
    let message = error.to_string();
    let failed = |reason, again| Outcome::Failed { reason, again };
    match (stop, error) {
        (Some(Stop::Timeout), _) => (
            failed(Reason::Timeout, true),
            "it took longer than its timeout".to_owned(),
        ),
        (Some(Stop::Requested), _) => (Outcome::Stopped, message),
        (Some(Stop::Drained), _) => (Outcome::Released, message),
        (_, TaskError::Later { after, .. }) => {
            let until = clock::now().checked_add(after).unwrap_or(Timestamp::MAX);
            let reason = Reason::Error;
            (Outcome::FailedUntil { reason, until }, message)
        }
        // Where nobody is asked, another try starts from what the world is by then.
        (_, TaskError::Retry { .. } | TaskError::WorldMoved { .. }) => (failed(Reason::Error, true), message),
        (_, TaskError::Cancelled | TaskError::Parked(_)) => (Outcome::Stopped, message),
        (_, TaskError::Fail { .. }) => (failed(Reason::Error, false), message),
        (_, TaskError::SubRun { end, .. }) => (Outcome::of_sub_run(end), message),
    }
}

/// What a plugin is started with.
#[derive(Clone)]
pub(super) struct Prepared {
    /// Rendered `with`.
    pub input: Value,
    /// The plugin's surroundings.
    pub ctx: Ctx,
    /// Say what it would do instead of doing it.
    pub preview: bool,
}

impl Attempting<'_> {
    /// Runs the plugin, no gate being there.
    async fn plainly(&self) -> Result<End, TaskError> {
        let prepared = self.prepare().await?;
        self.run(prepared).await
    }

    /// Renders the input and lays out the folders.
    pub async fn prepare(&self) -> Result<Prepared, TaskError> {
        let Self {
            shared, claim, stop, ..
        } = self;
        let task = claim.task();
        let scope = self.vault.unlock(&self.scope);
        let input = template::render_value(&task.with, &scope).map_err(|e| TaskError::fail_chain(&e))?;
        let folders = folders(shared, claim);
        if needs_folders(shared, claim) {
            let made = lay_out(&folders, &claim.flow, &task.files).await;
            made.map_err(TaskError::retry)?;
        }
        let attempt = identity(claim, &self.around);
        let host: Arc<dyn Host> = Arc::new(super::host::StoreHost::new(
            shared,
            claim,
            self.vault.mask.clone(),
        ));
        let mut ctx = Ctx::new(attempt, folders, stop.token.clone(), host);
        ctx.params = self.around.facts.params.clone();
        ctx.env = environment(shared, &task.env, &scope)?;
        ctx.mask = self.vault.mask.clone();
        ctx.deployment = shared.config.deployment.clone();
        Ok(Prepared {
            input,
            ctx,
            preview: false,
        })
    }

    /// Runs the plugin, or takes what it made of the same inputs before.
    pub async fn run(&self, prepared: Prepared) -> Result<End, TaskError> {
        let key = self.cache_key(&prepared).await;
        if let Some(key) = &key
            && let Some(hit) = self.cached(key).await
        {
            return Ok(End::Cached(Box::new(hit)));
        }
        let outputs = self.call(prepared).await?;
        let size = outputs.to_string().len();
        if size > OUTPUT_CAP {
            return Err(TaskError::fail(format_args!(
                "the outputs are {size} bytes of JSON, more than {OUTPUT_CAP}; hand large data on as an artifact"
            )));
        }
        Ok(End::Outputs(outputs, key))
    }

    /// Asks the plugin what it would do.
    pub async fn preview(&self, prepared: &Prepared) -> Result<Preview, TaskError> {
        let prepared = Prepared {
            preview: true,
            ..prepared.clone()
        };
        serde_json::from_value(self.call(prepared).await?).map_err(TaskError::fail)
    }

    /// What the plugin answers, without what must not be seen.
    async fn call(&self, prepared: Prepared) -> Result<Value, TaskError> {
        let (shared, claim, stop) = (self.shared, self.claim, self.stop);
        let isolation = claim.task().isolation;
        let apart = isolation != Isolation::Inline;
        let _watched = apart.then(|| shared.guard.watch(Mark::of(claim)));
        let answered = match isolation {
            Isolation::Process => Box::pin(child::run(shared, claim, prepared, stop)).await,
            Isolation::Inline | Isolation::Program => inline(shared, claim, prepared, stop).await,
        };
        // A plugin that was dropped may have had no time to end all that its program started.
        if isolation == Isolation::Program && stop.token.is_cancelled() {
            tree::kill_marked(&Mark::of(claim)).await;
        }
        answered.map(|answer| self.vault.mask.hide_value(answer))
    }
}

fn environment(
    shared: &Shared,
    own: &BTreeMap<String, String>,
    scope: &Value,
) -> Result<Arc<BTreeMap<String, String>>, TaskError> {
    let mut env = Arc::clone(&shared.config.env);
    if own.is_empty() {
        return Ok(env);
    }
    let all = Arc::make_mut(&mut env);
    for (name, text) in own {
        let value = template::render_text(text, scope).map_err(|e| TaskError::fail_chain(&e))?;
        all.insert(name.clone(), value);
    }
    Ok(env)
}

fn identity(claim: &Claim, around: &Surroundings) -> Attempt {
    let timeout = claim.task().timeout;
    Attempt {
        run: claim.run,
        flow: claim.flow.name.clone(),
        version: around.facts.version.clone(),
        task: claim.task().name.clone(),
        map_index: claim.item(),
        attempt: claim.attempt,
        epoch: claim.epoch,
        run_time: run_time(around),
        deadline: timeout.and_then(|t| clock::now().checked_add(t).ok()),
        memory: around.memory.clone(),
    }
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
    let Prepared { input, ctx, preview } = prepared;
    let work = inside::act(plugin.as_ref(), (&ctx, input), preview);
    tokio::select! {
        done = AssertUnwindSafe(work).catch_unwind() => done.unwrap_or_else(|panic| {
            Err(TaskError::fail(format_args!("the plugin panicked: {}", last_words(panic.as_ref()))))
        }),
        () = late(stop) => Err(TaskError::Cancelled),
    }
}

/// What a panic said.
fn last_words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}

/// Ends when a stop was asked for and its grace is over. An attempt that lost its lease has none: somebody else may start soon.
pub(super) async fn late(stop: &StopSwitch) {
    stop.token.cancelled().await;
    tokio::select! {
        () = stop.fenced.cancelled() => {}
        () = clock::sleep(GRACE) => {}
    }
}
