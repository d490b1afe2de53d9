//! Reporting what became of attempts: fenced by epoch, many in one transaction, with the next task handed over. A worker that was short
//! of room takes what waits longest in the same transaction.

mod at_once;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::approvals::{self, Reached};
use super::cache::{self, Cached};
use super::claim::{self, Claim, Claimer, Picked, claim_of, take, take_picked};
use super::lately::Left;
use super::locked::{self, Details, LockedRun, Slices};
use super::{Result, Store, clean, effects, maps, sub_runs};
use crate::id::{Epoch, RunId, TaskIdx};
use crate::plan::{Outcome, TaskView};
use crate::state::Reason;
use crate::state::task_run::TaskState;

/// What became of an attempt.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its run.
    pub run: RunId,
    /// Its position.
    pub idx: TaskIdx,
    /// Its fencing token: a report of an older epoch is refused.
    pub epoch: Epoch,
    /// How it ended.
    pub outcome: Outcome,
    /// Outputs, of a success; what it remembers, of an attempt that is parked.
    pub outputs: Option<Value>,
    /// Message for people, of anything else.
    pub message: Option<String>,
    /// What a map runs for, where it expands.
    pub items: Option<Vec<Value>>,
    /// What its gate came to, where that is how it ended.
    pub gate: Option<Box<Reached>>,
    /// What it made or took, where its task is cached.
    pub cached: Option<Cached>,
}

/// What a batch of reports did.
#[derive(Debug, Default)]
pub struct Advanced {
    /// For each report, in order: whether it counted.
    pub accepted: Vec<bool>,
    /// Task runs that became ready, or waited, and were handed to the reporting worker in the same commit.
    pub handed: Vec<Claim>,
    /// Others may be claimed now.
    pub readied: bool,
    /// Runs that ended.
    pub ended: Vec<RunId>,
    /// A gate was reached: older runs may be overtaken.
    pub gated: bool,
    /// When the first of what waits for an instant here is due.
    pub due: Option<Timestamp>,
}

impl Store {
    /// Commits a batch of reports. A stale one (lease lost, run over) is refused by itself, the others count.
    pub async fn advance(
        &self,
        reports: impl Into<Arc<[Report]>>,
        claimer: Option<Claimer>,
        now: Timestamp,
    ) -> Result<Advanced> {
        let (store, reports) = (self.clone(), reports.into());
        if let Some(claimer) = &claimer
            && let Some(done) = at_once::advance(self, (&reports, claimer), now).await
        {
            return Ok(done);
        }
        let moved = self.transact(move |conn| {
            let (store, reports, claimer) = (store.clone(), Arc::clone(&reports), claimer.clone());
            Box::pin(async move { advance(&store, conn, (&reports, claimer), now).await })
        });
        let (done, left) = moved.await?;
        left.into_iter()
            .for_each(|(run, left)| self.lately.leave(run, left));
        Ok(done)
    }
}

async fn advance(
    store: &Store,
    conn: &mut PgConnection,
    (reports, mut claimer): (&[Report], Option<Claimer>),
    now: Timestamp,
) -> Result<(Advanced, Vec<(RunId, Option<Left>)>)> {
    let mut done = Advanced {
        accepted: vec![false; reports.len()],
        ..Advanced::default()
    };
    let mut by_run: BTreeMap<RunId, Vec<usize>> = BTreeMap::new();
    for (position, report) in reports.iter().enumerate() {
        by_run.entry(report.run).or_default().push(position);
    }
    let picked = pick_too(conn, claimer.as_mut(), now).await?;
    let mut runs = lock_all(store, conn, (reports, &picked)).await?;
    let mut waiting = Vec::new();
    for run in &mut runs {
        let mut fresh = by_run.remove(&run.id).unwrap_or_default();
        fresh.retain(|&p| holds(run, &reports[p]));
        let accepted: Vec<&Report> = fresh.iter().map(|&p| &reports[p]).collect();
        report_all(run, conn, &accepted, now).await?;
        for report in accepted.iter().filter(|report| report.outcome.hands_on()) {
            if let Some(outputs) = &report.outputs {
                run.hand_on(report.idx, (report.epoch, outputs.clone()));
            }
        }
        if accepted.iter().any(|report| waits_for_run(report)) {
            waiting.push(run.id.0);
        }
        done.gated |= accepted.iter().any(|report| report.gate.is_some());
        for position in fresh {
            done.accepted[position] = true;
        }
        if let Some(claimer) = &claimer {
            done.handed
                .extend(take_picked((run, &picked), conn, claimer.worker, now).await?);
        }
        hand_over(run, conn, (claimer.as_mut(), &mut done), now).await?;
    }
    locked::write_all(conn, &runs, now).await?;
    // The run that is waited for may have ended a moment ago.
    sub_runs::wake_all(conn, waiting, now).await?;
    done.due = runs.iter().filter_map(|run| run.due_after(now)).min();
    let left = runs.iter().map(|run| (run.id, Left::of(run)));
    Ok((done, left.collect()))
}

/// What waits for a worker that was short of room; its room is that much smaller.
async fn pick_too(conn: &mut PgConnection, claimer: Option<&mut Claimer>, now: Timestamp) -> Result<Picked> {
    let Some(claimer) = claimer.filter(|claimer| claimer.crowded.cut_short) else {
        return Ok(Picked::new());
    };
    let picked = claim::pick(conn, claimer, now).await?;
    for place in picked.values().flat_map(BTreeMap::values) {
        let room = claimer.room(place.light);
        *room = room.saturating_sub(1);
    }
    Ok(picked)
}

/// Locks the runs of which something is reported or picked, with what that changes.
async fn lock_all(
    store: &Store,
    conn: &mut PgConnection,
    (reports, picked): (&[Report], &Picked),
) -> Result<Vec<LockedRun>> {
    let mut touched = Slices::new();
    for report in reports {
        touched.entry(report.run).or_default().insert(report.idx);
    }
    let picked = picked
        .iter()
        .map(|(run, places)| (*run, places.keys().copied().collect()));
    locked::lock_frontiers(store, conn, (touched, picked.collect())).await
}

fn waits_for_run(report: &Report) -> bool {
    let reason = match report.outcome {
        Outcome::Parked { reason, .. } => Some(reason),
        _ => None,
    };
    reason == Some(Reason::SubRun)
}

/// The fence: the task run is still running under the reporter's epoch.
fn holds(run: &LockedRun, report: &Report) -> bool {
    run.tasks
        .get(&report.idx)
        .is_some_and(|task| task.state == TaskState::Running && task.epoch == report.epoch)
}

async fn report_all(
    run: &mut LockedRun,
    conn: &mut PgConnection,
    reports: &[&Report],
    now: Timestamp,
) -> Result<()> {
    if reports.is_empty() {
        return Ok(());
    }
    let outcomes: Vec<(TaskIdx, Outcome)> = reports.iter().map(|r| (r.idx, r.outcome)).collect();
    let details: Details = reports
        .iter()
        .filter_map(|r| Some((r.idx, json!({ "epoch": r.epoch, "message": r.message.as_ref()? }))))
        .collect();
    let expanding: Vec<(TaskIdx, &Vec<Value>)> = reports
        .iter()
        .filter_map(|r| Some((r.idx, r.items.as_ref()?)))
        .collect();
    for (head, items) in &expanding {
        let carried = maps::carried(conn, (run, *head), items).await?;
        run.carry(carried);
    }
    run.advance(conn, &outcomes, (&details, now)).await?;
    for (head, items) in expanding {
        // A run that is being stopped expands no map.
        if run.tasks.contains_key(&run.flow.graph.item_at(head, 0)) {
            maps::keep(conn, (run, head), items).await?;
        }
    }
    let lost = reports.iter().filter(|r| r.outcome == Outcome::Lost);
    let lost: Vec<(TaskIdx, Epoch)> = lost.map(|r| (r.idx, r.epoch)).collect();
    if !lost.is_empty() {
        effects::mark_lost(conn, run.id, &lost, now).await?;
    }
    for report in reports {
        if let Some(cached) = &report.cached {
            cache::note(conn, (run, report.idx, report.epoch), cached, now).await?;
        }
        if let Some(reached) = &report.gate {
            approvals::record(conn, (run, report, reached), now).await?;
        }
    }
    remember(run, conn, reports).await
}

/// Keeps what parked attempts want to know when they come back.
async fn remember(run: &LockedRun, conn: &mut PgConnection, reports: &[&Report]) -> Result<()> {
    let parked = |report: &&&Report| matches!(report.outcome, Outcome::Parked { .. });
    for report in reports.iter().filter(parked) {
        let spent = run.tasks.get(&report.idx).map_or(0, TaskView::spent);
        sqlx::query(
            "insert into parking (run, idx, spent, memory) values ($1, $2, $3, $4)
             on conflict (run, idx) do update set spent = excluded.spent, memory = excluded.memory",
        )
        .bind(run.id.0)
        .bind(report.idx as i32)
        .bind(spent as i32)
        .bind(report.outputs.clone().map(clean).unwrap_or_default())
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Gives the run's next tasks to the worker that has just freed slots: a chain costs one commit a task.
async fn hand_over(
    run: &mut LockedRun,
    conn: &mut PgConnection,
    (claimer, done): (Option<&mut Claimer>, &mut Advanced),
    now: Timestamp,
) -> Result<()> {
    let fresh = run.fresh(now);
    let mut next = Vec::new();
    if let Some(claimer) = claimer {
        for light in [false, true] {
            next.extend(next_of((run, &fresh, light), conn, claimer, now).await?);
        }
        take(run, conn, (&next, claimer.worker), now).await?;
        done.handed.extend(next.iter().map(|&idx| claim_of(run, idx)));
    }
    done.readied |= next.len() < fresh.len();
    if run.has_ended() {
        done.ended.push(run.id);
    }
    Ok(())
}

/// Whether it is for the claimer to take: light work, or a process.
fn takes((run, light): (&LockedRun, bool), claimer: &Claimer, idx: TaskIdx) -> bool {
    let task = run.flow.graph.task(idx);
    let place = &task.placement;
    // What wants a slot of a pool queues for it.
    task.is_light() == light && place.pool.is_none() && claimer.serves(&place.queue)
}

/// The run's next light tasks, or its next processes, as many as the claimer has room for.
async fn next_of(
    (run, fresh, light): (&LockedRun, &[TaskIdx], bool),
    conn: &mut PgConnection,
    claimer: &mut Claimer,
    now: Timestamp,
) -> Result<Vec<TaskIdx>> {
    let such = |idx: &TaskIdx| takes((run, light), claimer, *idx);
    let mut next: Vec<TaskIdx> = fresh.iter().copied().filter(such).collect();
    next.truncate(*claimer.room(light));
    if next.is_empty() {
        return Ok(next);
    }
    // Who has just looked has left nobody behind.
    if claimer.is_crowded(light) && !claimer.crowded.cut_short {
        // Ahead by more than half a point, that is. Below, a chain goes on where it is: to give way to each equal would cost it a
        // claim for every task.
        let points = next
            .iter()
            .map(|&idx| run.flow.graph.task(idx).placement.priority);
        let points = f64::from(points.max().unwrap_or_default()) + 0.5;
        if claim::is_outranked(conn, (claimer, light), (points, now)).await? {
            next.clear();
        }
    }
    *claimer.room(light) -= next.len();
    Ok(next)
}
