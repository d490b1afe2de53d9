//! What a run waits for, in one sentence for each of its task runs. Facts are gathered only where a task run asks for them.

mod line;
mod sentence;

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use self::line::{line_of_runs, places_in_line, silences};
use self::sentence::{
    Reason, of_approval, of_backoff, of_blocked, of_cause, of_items, of_sub_run, second, stated,
};
use super::super::{Result, Store};
use super::short_id;
use crate::clock;
use crate::graph::{EVERY_QUEUE, Flow, MOST_NESTED, Placement};
use crate::id::{RunId, TaskIdx};
use crate::view::{Approval, Emergency, Obstacle, Pool, Run, SubRun, TaskRun, Why, Worker};

impl Store {
    /// Why a run and its unfinished task runs are where they are.
    pub async fn why(&self, run: &Run) -> Result<Why> {
        self.why_within(run, MOST_NESTED).await
    }

    /// `depth`: as many runs within runs are looked into.
    async fn why_within(&self, run: &Run, depth: usize) -> Result<Why> {
        let facts = Facts::gather(self, run, depth).await?;
        let summary = &run.summary;
        let open = run.tasks.iter().filter(|task| task.finished_at.is_none());
        Ok(Why {
            run: summary.id,
            flow: summary.flow.clone(),
            state: summary.state.clone(),
            sentence: facts.of_run(run),
            emergency: facts.emergency.clone(),
            tasks: open.map(|task| facts.of_task(run, task)).collect(),
        })
    }
}

/// What a sentence may need.
#[derive(Default)]
struct Facts {
    flow: Option<Arc<Flow>>,
    /// Runs of the flow that move, and how many wait before this one; of a queued run.
    moving: Vec<Uuid>,
    before: i64,
    pools: Vec<Pool>,
    workers: Vec<Worker>,
    /// How many are before a task run in the line for its pool.
    ahead: BTreeMap<TaskIdx, i64>,
    approvals: BTreeMap<String, Approval>,
    emergency: Option<Emergency>,
    /// Who refused it, in words.
    refusal: Option<String>,
    /// What the runs wait for that task runs wait for.
    sub_runs: BTreeMap<TaskIdx, (SubRun, Why)>,
    /// Seconds since the worker of a running task run was heard of.
    silent: BTreeMap<TaskIdx, f64>,
}

/// A worker that was not heard of for so many seconds is worth a word: two heartbeats were missed.
const SILENCE: f64 = 11.0;
/// So many runs that task runs of one run wait for are looked into.
const SUB_RUNS: usize = 20;

impl Facts {
    async fn gather(store: &Store, run: &Run, depth: usize) -> Result<Self> {
        let mut conn = store.pool().acquire().await?;
        let id = RunId(run.summary.id);
        let has = |state: &str| run.tasks.iter().any(|task| task.state == state);
        let mut facts = Self {
            flow: store.flow_of(&mut conn, id).await?,
            ..Self::default()
        };
        if run.summary.finished_at.is_none() {
            facts.emergency = store.emergency(id).await?;
        }
        if run.summary.state == "queued" {
            (facts.moving, facts.before) = line_of_runs(&mut conn, run).await?;
        }
        if run.summary.reason.as_deref() == Some("declined") {
            facts.refusal = store.refusal_of_emergency(id).await?;
        }
        if has("ready") {
            facts.ahead = places_in_line(&mut conn, id).await?;
        }
        if has("running") {
            facts.silent = silences(&mut conn, id).await?;
        }
        drop(conn);
        if has("ready") {
            facts.pools = store.pools().await?;
            facts.workers = store.workers().await?;
        }
        let asking = run
            .tasks
            .iter()
            .filter(|task| task.reason.as_deref() == Some("approval"));
        for task in asking {
            if let Some(approval) = store.approval_of(id, &task.name).await? {
                facts.approvals.insert(task.name.clone(), approval);
            }
        }
        facts.look_into(store, run, depth).await?;
        Ok(facts)
    }

    /// What the runs wait for that its task runs wait for.
    async fn look_into(&mut self, store: &Store, run: &Run, depth: usize) -> Result<()> {
        let waiting = run
            .tasks
            .iter()
            .filter(|task| task.reason.as_deref() == Some("sub_run") && task.state == "waiting");
        for task in waiting.take(if depth > 0 { SUB_RUNS } else { 0 }) {
            let Some(made) = task.sub_runs.last() else {
                continue;
            };
            let Some(sub) = store.run(RunId(made.run), clock::now()).await? else {
                continue;
            };
            let why = Box::pin(store.why_within(&sub, depth - 1)).await?;
            self.sub_runs.insert(task.idx, (made.clone(), why));
        }
        Ok(())
    }

    fn of_run(&self, run: &Run) -> Option<String> {
        let summary = &run.summary;
        match summary.state.as_str() {
            "queued" => Some(self.of_emergency(run).unwrap_or_else(|| self.of_queued())),
            "cancelling" => Some("it was told to stop; it is over when its last attempt is".to_owned()),
            "succeeded" | "failed" | "rejected" | "cancelled" => Some(self.of_ended(run)),
            _ => None,
        }
    }

    fn of_ended(&self, run: &Run) -> String {
        let summary = &run.summary;
        let ended = stated(&summary.state, summary.reason.as_deref());
        match self.refusal.clone().or_else(|| of_cause(run)) {
            Some(cause) => format!("it is over: {ended}; {cause}"),
            None => format!("it is over: {ended}"),
        }
    }

    fn of_emergency(&self, run: &Run) -> Option<String> {
        let emergency = self
            .emergency
            .as_ref()
            .filter(|known| known.confirmed_by.is_none())?;
        Some(format!(
            "an emergency ({}): it waits for a second person, not {}: tidegate approve {}",
            emergency.reason,
            run.summary.requester,
            short_id(run.summary.id)
        ))
    }

    fn of_queued(&self) -> String {
        let most = self.flow.as_ref().map_or(1, |flow| flow.max_active);
        let moving: Vec<String> = self.moving.iter().take(3).map(|run| short_id(*run)).collect();
        let line = match self.before {
            0 => String::new(),
            1 => "; one run is before it".to_owned(),
            more => format!("; {more} runs are before it"),
        };
        if self.moving.len() < most as usize {
            return format!("a scheduler is about to start it{line}");
        }
        format!(
            "it waits behind {}: at most {most} of this flow may run at once (max_active){line}",
            moving.join(", ")
        )
    }

    fn of_task(&self, run: &Run, task: &TaskRun) -> Obstacle {
        let (waits_for, sentence, until) = match task.state.as_str() {
            "blocked" => of_blocked(run, task),
            "ready" => self.of_ready(task),
            "backoff" => of_backoff(task),
            "waiting" => self.of_waiting(run, task),
            _ => self.of_running(run, task),
        };
        Obstacle {
            task: task.name.clone(),
            state: task.state.clone(),
            waits_for: waits_for.to_owned(),
            sentence,
            until,
        }
    }

    fn of_ready(&self, task: &TaskRun) -> Reason {
        let fallback = Placement::default();
        let flow = self.flow.as_ref();
        let place = flow.map_or(&fallback, |flow| &flow.graph.task(task.idx).placement);
        let serves = |worker: &&Worker| {
            let mut queues = worker.queues.iter();
            worker.alive && queues.any(|queue| *queue == place.queue || queue == EVERY_QUEUE)
        };
        let serving: Vec<&Worker> = self.workers.iter().filter(serves).collect();
        let (draining, taking): (Vec<&Worker>, Vec<&Worker>) = serving
            .into_iter()
            .partition(|worker| worker.draining_at.is_some());
        if taking.is_empty() {
            return ("queue", self.no_worker(&place.queue, &draining), None);
        }
        if let Some(sentence) = place.pool.as_ref().and_then(|pool| self.of_pool(task, pool)) {
            return ("pool", sentence, None);
        }
        let slots: i64 = taking.iter().map(|worker| i64::from(worker.slots)).sum();
        let busy: i64 = taking.iter().map(|worker| worker.busy).sum();
        let sentence = if busy >= slots {
            format!(
                "all {slots} slots of the workers of queue `{}` are taken",
                place.queue
            )
        } else {
            "a worker is about to take it".to_owned()
        };
        ("worker", sentence, None)
    }

    fn no_worker(&self, queue: &str, draining: &[&Worker]) -> String {
        if let Some(worker) = draining.first() {
            return format!(
                "the worker of queue `{queue}` drains ({}) and takes nothing new",
                worker.name
            );
        }
        let alive = self.workers.iter().filter(|worker| worker.alive);
        let mut served: Vec<&str> = alive
            .flat_map(|worker| &worker.queues)
            .map(String::as_str)
            .collect();
        served.sort_unstable();
        served.dedup();
        let others = if served.is_empty() {
            "no worker is alive".to_owned()
        } else {
            format!("those that are alive serve {}", served.join(", "))
        };
        format!("no live worker serves queue `{queue}`; {others}; start one: tidegate worker --queue {queue}")
    }

    /// `None`: it has a free slot.
    fn of_pool(&self, task: &TaskRun, name: &str) -> Option<String> {
        let Some(pool) = self.pools.iter().find(|pool| pool.name == name) else {
            return Some(format!(
                "there is no pool `{name}` any more; make it: tidegate pool set {name} 1"
            ));
        };
        if pool.size == 0 {
            return Some(format!(
                "pool `{name}` has no slots; open it: tidegate pool set {name} 1"
            ));
        }
        if pool.holders.len() < pool.size as usize {
            return None;
        }
        let holders = pool.holders.iter().take(3);
        let holders: Vec<String> = holders
            .map(|held| format!("{} of {} {}", held.task, held.flow, short_id(held.run)))
            .collect();
        let more = pool.holders.len() - holders.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let line = match self.ahead.get(&task.idx) {
            None | Some(0) => "it is the next".to_owned(),
            Some(1) => "one is before it".to_owned(),
            Some(ahead) => format!("{ahead} are before it"),
        };
        let slots = if pool.size == 1 {
            "the slot".to_owned()
        } else {
            format!("all {} slots", pool.size)
        };
        let verb = if pool.holders.len() == 1 { "holds" } else { "hold" };
        Some(format!(
            "{}{more} {verb} {slots} of pool `{name}`; {line}",
            holders.join(", ")
        ))
    }

    fn of_waiting(&self, run: &Run, task: &TaskRun) -> Reason {
        if let Some(approval) = self.approvals.get(&task.name) {
            return of_approval(run, task, approval);
        }
        if let Some((made, why)) = self.sub_runs.get(&task.idx) {
            return ("sub_run", of_sub_run(made, why), None);
        }
        let reason = task.reason.clone().unwrap_or_default();
        let usual = match reason.as_str() {
            "timer" => "it waits for an instant",
            "poll" => "it looks again and again for what it waits for",
            "sub_run" => "it waits for the run that it started",
            "items" => return ("items", of_items(task), None),
            _ => "it waits",
        };
        let until = task
            .due_at
            .map_or_else(String::new, |at| format!("; it looks again at {}", second(at)));
        let note = task.message.as_deref().unwrap_or(usual);
        let kind = match reason.as_str() {
            "timer" => "timer",
            "poll" => "poll",
            "sub_run" => "sub_run",
            _ => "approval",
        };
        (kind, format!("{note}{until}"), task.due_at)
    }

    fn of_running(&self, run: &Run, task: &TaskRun) -> Reason {
        let worker = task.worker.as_deref().unwrap_or("a worker");
        if let Some(silence) = self.silent.get(&task.idx).filter(|silence| **silence > SILENCE) {
            let sentence = format!(
                "{worker} was not heard of for {silence:.0} s; after 30 s without a word the task goes to another"
            );
            return ("lease", sentence, None);
        }
        if run.summary.state == "cancelling" {
            return (
                "stop",
                format!("{worker} was told to stop it, which takes 15 s at most"),
                None,
            );
        }
        let attempt = if task.attempt > 1 {
            format!(", attempt {}", task.attempt)
        } else {
            String::new()
        };
        ("attempt", format!("it runs on {worker}{attempt}"), None)
    }
}
