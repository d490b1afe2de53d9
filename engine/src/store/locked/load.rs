//! Reading runs and their task runs under the runs' row locks.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::super::{Result, Store, StoreError};
use super::LockedRun;
use crate::id::{RunId, TaskIdx, VersionHash};
use crate::plan::{RunView, TaskView};
use crate::state::Reason;
use crate::state::run::{Ends, RunState};
use crate::state::task_run::TaskState;

/// Locks runs in the order of their ids and loads their heads; those that do not exist are left out.
pub async fn lock_all(store: &Store, conn: &mut PgConnection, ids: &[RunId]) -> Result<Vec<LockedRun>> {
    let rows = sqlx::query(
        "select id, version, state::text as state, reason, open, active, seen, next_seq, urgent
         from run where id = any($1) order by id for no key update",
    )
    .bind(ids.iter().map(|id| id.0).collect::<Vec<Uuid>>())
    .fetch_all(&mut *conn)
    .await?;
    let mut runs = Vec::with_capacity(rows.len());
    for row in &rows {
        let version = VersionHash(row.try_get("version")?);
        let flow = store.definition(conn, &version).await?;
        let id = RunId(row.try_get("id")?);
        let mut run = LockedRun::new(id, flow, run_view(row)?, row.try_get("next_seq")?);
        run.urgent = row.try_get("urgent")?;
        runs.push(run);
    }
    Ok(runs)
}

pub(in crate::store) const LOAD_TASKS: &str =
    "select t.run, t.idx, t.state::text as state, t.reason, t.unmet, t.seen, t.epoch, t.attempt, t.lost
     from unnest($1::uuid[], $2::int[]) as u(run, idx) join task_run t on t.run = u.run and t.idx = u.idx";

/// Loads of each run the task runs of its slice that are not loaded yet, in one statement.
pub async fn load_all(
    conn: &mut PgConnection,
    runs: &mut [LockedRun],
    slices: &[BTreeSet<TaskIdx>],
) -> Result<()> {
    let (mut run, mut idx) = (Vec::new(), Vec::new());
    for (locked, slice) in runs.iter().zip(slices) {
        let missing = slice.iter().filter(|idx| !locked.tasks.contains_key(idx));
        idx.extend(missing.map(|idx| *idx as i32));
        run.resize(idx.len(), locked.id.0);
    }
    if idx.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query(LOAD_TASKS)
        .bind(run)
        .bind(idx)
        .fetch_all(conn)
        .await?;
    let mut by_id: BTreeMap<Uuid, &mut LockedRun> = runs.iter_mut().map(|run| (run.id.0, run)).collect();
    for row in &rows {
        let idx = row.try_get::<i32, _>("idx")? as TaskIdx;
        let view = task_view(row)?;
        if let Some(run) = by_id.get_mut(&row.try_get("run")?) {
            run.before.insert(idx, view.clone());
            run.tasks.insert(idx, view);
        }
    }
    Ok(())
}

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
