//! Reading runs and their task runs under the runs' row locks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::super::{Result, Store, StoreError, flows};
use super::LockedRun;
use crate::graph::Flow;
use crate::id::{RunId, TaskIdx, VersionHash};
use crate::plan::{self, RunView, TaskView};
use crate::state::Reason;
use crate::state::run::{Ends, RunState};
use crate::state::task_run::TaskState;

/// So many task runs are loaded on the off-chance.
const LITTLE: usize = 16;

/// Locks runs in the order of their ids and loads their heads; those that do not exist are left out.
pub async fn lock_all(store: &Store, conn: &mut PgConnection, ids: &[RunId]) -> Result<Vec<LockedRun>> {
    let nothing = ids.iter().map(|id| (*id, BTreeSet::new())).collect();
    lock_slices(store, conn, &nothing).await
}

/// What of which run is to be loaded.
pub type Slices = BTreeMap<RunId, BTreeSet<TaskIdx>>;

/// Locks runs in the order of their ids and loads their heads and a slice of each, in one statement; runs that do not exist are left out.
///
/// A statement sees what was committed when it began. Where it had to wait for the lock of a run, the run's row is the newest but the
/// task runs are those of before: the number of the run's next event tells, and they are loaded anew.
pub async fn lock_slices(store: &Store, conn: &mut PgConnection, slices: &Slices) -> Result<Vec<LockedRun>> {
    let (run, idx) = columns(slices.iter().map(|(run, slice)| (*run, slice)));
    let rows = sqlx::query(LOCK_SLICES)
        .bind(slices.keys().map(|id| id.0).collect::<Vec<Uuid>>())
        .bind(run)
        .bind(idx)
        .fetch_all(&mut *conn)
        .await?;
    let (mut runs, mut stale): (Vec<LockedRun>, Slices) = Default::default();
    for row in &rows {
        if row.try_get::<Option<i32>, _>("idx")?.is_some() {
            continue;
        }
        let run = locked_run(store, conn, row).await?;
        if row.try_get::<i64, _>("seen_seq")? != run.next_seq
            && let Some(slice) = slices.get(&run.id)
        {
            stale.insert(run.id, slice.clone());
        }
        runs.push(run);
    }
    take_in(&mut runs, &rows, |run| !stale.contains_key(&run))?;
    load_slices(conn, &mut runs, &stale).await?;
    Ok(runs)
}

/// Locks runs and loads of each the frontier of the task runs that something happened to, and of others just themselves: in one
/// statement, where the flows are in memory.
pub async fn lock_frontiers(
    store: &Store,
    conn: &mut PgConnection,
    (touched, alone): (Slices, Slices),
) -> Result<Vec<LockedRun>> {
    let frontier = |flow: &Flow, of: &BTreeSet<TaskIdx>| plan::frontier(&flow.graph, of.iter().copied());
    let known = touched
        .iter()
        .map(|(run, of)| Some((*run, frontier(&*store.lately.flow(*run)?, of))));
    if let Some(mut slices) = known.collect::<Option<Slices>>() {
        merge(&mut slices, alone);
        look_ahead(store, &mut slices);
        return lock_slices(store, conn, &slices).await;
    }
    let ids: BTreeSet<RunId> = touched.keys().chain(alone.keys()).copied().collect();
    let ids: Vec<RunId> = ids.into_iter().collect();
    let mut runs = lock_all(store, conn, &ids).await?;
    let slices = runs
        .iter()
        .filter_map(|run| Some((run.id, frontier(&run.flow, touched.get(&run.id)?))));
    let mut slices: Slices = slices.collect();
    merge(&mut slices, alone);
    load_slices(conn, &mut runs, &slices).await?;
    Ok(runs)
}

/// Takes in what the step after this one will ask for, where that is little: so it needs to load nothing.
fn look_ahead(store: &Store, slices: &mut Slices) {
    for (run, slice) in slices {
        if slice.len() <= LITTLE
            && let Some(flow) = store.lately.flow(*run)
        {
            let more = plan::frontier(&flow.graph, slice.iter().copied());
            if more.len() <= LITTLE {
                *slice = more;
            }
        }
    }
}

fn merge(slices: &mut Slices, others: Slices) {
    for (run, more) in others {
        slices.entry(run).or_default().extend(more);
    }
}

async fn locked_run(store: &Store, conn: &mut PgConnection, row: &PgRow) -> Result<LockedRun> {
    let id = RunId(row.try_get("run")?);
    let version = VersionHash(row.try_get("version")?);
    let flow = store.definition(conn, &version).await?;
    store.lately.meet(id, &flow);
    let mut run = LockedRun::new(id, flow, run_view(row)?, row.try_get("next_seq")?);
    run.urgent = row.try_get("urgent")?;
    Ok(run)
}

/// See [`LockedRun::lock_if_free`].
pub(super) async fn lock_if_free(conn: &mut PgConnection, id: RunId) -> Result<Option<LockedRun>> {
    let row = sqlx::query(
        "select version, state::text as state, reason, open, active, seen, next_seq, urgent
         from run where id = $1 for no key update skip locked",
    )
    .bind(id.0)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let version = VersionHash(row.try_get("version")?);
    let flow = Arc::new(flows::load_definition(conn, &version).await?);
    let mut run = LockedRun::new(id, flow, run_view(&row)?, row.try_get("next_seq")?);
    run.urgent = row.try_get("urgent")?;
    Ok(Some(run))
}

/// Loads of each run the task runs of its slice that are not loaded yet, in one statement.
pub async fn load_slices(conn: &mut PgConnection, runs: &mut [LockedRun], slices: &Slices) -> Result<()> {
    let missing = runs.iter().filter_map(|run| {
        let slice = slices.get(&run.id)?.iter();
        let missing: BTreeSet<TaskIdx> = slice
            .filter(|idx| !run.tasks.contains_key(idx))
            .copied()
            .collect();
        Some((run.id, missing))
    });
    let missing: Slices = missing.collect();
    let (run, idx) = columns(missing.iter().map(|(run, slice)| (*run, slice)));
    if idx.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query(LOAD_TASKS)
        .bind(run)
        .bind(idx)
        .fetch_all(conn)
        .await?;
    take_in(runs, &rows, |_| true)
}

fn columns<'s>(slices: impl Iterator<Item = (RunId, &'s BTreeSet<TaskIdx>)>) -> (Vec<Uuid>, Vec<i32>) {
    slices
        .flat_map(|(run, slice)| slice.iter().map(move |idx| (run.0, *idx as i32)))
        .unzip()
}

/// Takes in the rows that are task runs of such runs.
fn take_in(runs: &mut [LockedRun], rows: &[PgRow], such: impl Fn(RunId) -> bool) -> Result<()> {
    let mut by_id: BTreeMap<RunId, &mut LockedRun> = runs.iter_mut().map(|run| (run.id, run)).collect();
    for row in rows {
        let (id, idx) = (RunId(row.try_get("run")?), row.try_get::<Option<i32>, _>("idx")?);
        let (Some(idx), true) = (idx, such(id)) else {
            continue;
        };
        if let Some(run) = by_id.get_mut(&id) {
            let (idx, view) = (idx as TaskIdx, task_view(row)?);
            run.before.insert(idx, view.clone());
            run.tasks.insert(idx, view);
        }
    }
    Ok(())
}

/// A row for each run, and one for each task run of the slices.
pub(in crate::store) const LOCK_SLICES: &str = "with locked as materialized (
       select id, version, state, reason, seen, open, active, next_seq, urgent
       from run where id = any($1) order by id for no key update)
     select r.id as run, null::int as idx, r.state::text as state, r.reason, r.seen,
       r.version, r.open, r.active, r.next_seq, r.urgent,
       (select s.next_seq from run s where s.id = r.id) as seen_seq,
       null::int as unmet, null::bigint as epoch, null::int as attempt, null::int as lost
     from locked r
     union all
     select t.run, t.idx, t.state::text, t.reason, t.seen, null, null, null, null, null, null, t.unmet, t.epoch, t.attempt, t.lost
     from unnest($2::uuid[], $3::int[]) as u(run, idx) join task_run t on t.run = u.run and t.idx = u.idx";

pub(in crate::store) const LOAD_TASKS: &str =
    "select t.run, t.idx, t.state::text as state, t.reason, t.unmet, t.seen, t.epoch, t.attempt, t.lost
     from unnest($1::uuid[], $2::int[]) as u(run, idx) join task_run t on t.run = u.run and t.idx = u.idx";

fn corrupt(what: &'static str, why: impl Into<String>) -> StoreError {
    StoreError::Corrupt {
        what,
        why: why.into(),
    }
}

fn run_view(row: &PgRow) -> Result<RunView> {
    let word: String = row.try_get("state")?;
    let reason: Option<String> = row.try_get("reason")?;
    Ok(RunView {
        state: RunState::parse(&word).ok_or_else(|| corrupt("run state", word))?,
        reason: reason.as_deref().and_then(Reason::parse),
        open: row.try_get::<i32, _>("open")? as u32,
        active: row.try_get::<i32, _>("active")? as u32,
        seen: Ends(row.try_get("seen")?),
    })
}

pub(super) fn task_view(row: &PgRow) -> Result<TaskView> {
    let word: String = row.try_get("state")?;
    let reason: Option<String> = row.try_get("reason")?;
    Ok(TaskView {
        state: TaskState::parse(&word, reason.as_deref()).ok_or_else(|| corrupt("task run state", word))?,
        unmet: row.try_get::<i32, _>("unmet")? as u32,
        seen: Ends(row.try_get("seen")?),
        epoch: row.try_get("epoch")?,
        attempt: row.try_get::<i32, _>("attempt")? as u32,
        lost: row.try_get::<i32, _>("lost")? as u32,
    })
}
