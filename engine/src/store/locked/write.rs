//! Writing what a transaction did to runs: each table once, whatever the number of runs and of their task runs.

mod holds;
mod journal;

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

#[cfg(test)]
pub(in crate::store) use holds::{DELETE_LEASES, DELETE_READY};

use super::super::{Result, bell, notices, pg};
use super::{LockedRun, items};
use crate::id::TaskIdx;
use crate::plan::TaskView;
use crate::state::Reason;
use crate::state::task_run::TaskState;

/// Writes all that changed.
pub async fn write_all(conn: &mut PgConnection, runs: &[LockedRun], now: Timestamp) -> Result<()> {
    runs.iter().for_each(|run| bell::note(run.rings()));
    write_tasks(conn, runs, now).await?;
    items::write_maps(conn, runs).await?;
    holds::write_ready(conn, runs).await?;
    holds::write_leases(conn, runs).await?;
    holds::write_slots(conn, runs).await?;
    void_approvals(conn, runs, now).await?;
    for run in runs {
        notices::tell_end(conn, run, now).await?;
    }
    journal::write_runs(conn, runs, now).await
}

/// Writes what belongs to runs whose rows were inserted as they are here.
pub async fn write_new(conn: &mut PgConnection, runs: &[LockedRun], now: Timestamp) -> Result<()> {
    runs.iter().for_each(|run| bell::note(run.rings()));
    write_tasks(conn, runs, now).await?;
    holds::write_ready(conn, runs).await?;
    journal::write_events(conn, runs, now).await
}

/// Positions of task runs, of several runs, for `unnest`.
#[derive(Default)]
struct Places {
    run: Vec<Uuid>,
    idx: Vec<i32>,
}

impl Places {
    fn push(&mut self, run: &LockedRun, idx: TaskIdx) {
        self.run.push(run.id.0);
        self.idx.push(idx as i32);
    }

    /// Of each run, those that `which` picks.
    fn of(runs: &[LockedRun], which: impl Fn(&LockedRun) -> Vec<TaskIdx>) -> Self {
        let mut places = Self::default();
        for run in runs {
            which(run).into_iter().for_each(|idx| places.push(run, idx));
        }
        places
    }

    fn is_empty(&self) -> bool {
        self.idx.is_empty()
    }
}

/// Task runs as columns.
#[derive(Default)]
struct Columns {
    place: Places,
    state: Vec<&'static str>,
    reason: Vec<Option<&'static str>>,
    unmet: Vec<i32>,
    seen: Vec<i16>,
    epoch: Vec<i64>,
    attempt: Vec<i32>,
    lost: Vec<i32>,
    opened_by: Vec<Option<Uuid>>,
}

impl Columns {
    fn push(&mut self, run: &LockedRun, (idx, task): (TaskIdx, &TaskView)) {
        self.place.push(run, idx);
        self.state.push(task.state.as_str());
        self.reason.push(task.state.reason().map(Reason::as_str));
        self.unmet.push(task.unmet as i32);
        self.seen.push(task.seen.0);
        self.epoch.push(task.epoch);
        self.attempt.push(task.attempt as i32);
        self.lost.push(task.lost as i32);
        self.opened_by.push(run.opened.get(&idx).copied());
    }

    async fn write(self, conn: &mut PgConnection, sql: &'static str, now: Timestamp) -> Result<()> {
        if self.place.is_empty() {
            return Ok(());
        }
        sqlx::query(sql)
            .bind(self.place.run)
            .bind(self.place.idx)
            .bind(self.state)
            .bind(self.reason)
            .bind(self.unmet)
            .bind(self.seen)
            .bind(self.epoch)
            .bind(self.attempt)
            .bind(self.lost)
            .bind(self.opened_by)
            .bind(pg(now))
            .execute(conn)
            .await?;
        Ok(())
    }
}

async fn write_tasks(conn: &mut PgConnection, runs: &[LockedRun], now: Timestamp) -> Result<()> {
    let (mut new, mut changed) = (Columns::default(), Columns::default());
    for run in runs {
        let differs = |(idx, view): &(&TaskIdx, &TaskView)| {
            run.before.get(idx) != Some(view) || run.opened.contains_key(idx)
        };
        for (idx, view) in run.tasks.iter().filter(differs) {
            let columns = if run.before.contains_key(idx) {
                &mut changed
            } else {
                &mut new
            };
            columns.push(run, (*idx, view));
        }
    }
    new.write(conn, INSERT_TASKS, now).await?;
    changed.write(conn, UPDATE_TASKS, now).await
}

/// Closes what still asks for task runs that no longer wait: nobody decided, their run was stopped.
async fn void_approvals(conn: &mut PgConnection, runs: &[LockedRun], now: Timestamp) -> Result<()> {
    let waits = TaskState::Waiting {
        reason: Reason::Approval,
    };
    let gone = Places::of(runs, |run| run.left(|state| state == waits, false));
    if gone.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update approval a set state = 'void', closed_at = $3
         from unnest($1::uuid[], $2::int[]) as u(run, idx)
         where a.run = u.run and a.idx = u.idx and a.state = 'open'",
    )
    .bind(gone.run)
    .bind(gone.idx)
    .bind(pg(now))
    .execute(conn)
    .await?;
    Ok(())
}

impl LockedRun {
    /// Writes all that changed.
    pub async fn write(self, conn: &mut PgConnection, now: Timestamp) -> Result<()> {
        write_all(conn, &[self], now).await
    }

    /// Task runs whose attempt has ended here, and with it their hold on a slot.
    pub(super) fn freed_slots(&self) -> Vec<TaskIdx> {
        let mut ended = self.left(|state| state == TaskState::Running, true);
        ended.retain(|idx| self.flow.graph.task(*idx).placement.pool.is_some());
        ended
    }

    /// Task runs that were in such a state and are no longer (or, claimed anew in this transaction, are again).
    fn left(&self, such: impl Fn(TaskState) -> bool, renewed: bool) -> Vec<TaskIdx> {
        let moved = |idx: &TaskIdx, before: &TaskView| {
            self.tasks
                .get(idx)
                .is_some_and(|now| now.state != before.state || (renewed && now.epoch != before.epoch))
        };
        self.before
            .iter()
            .filter(|(idx, before)| such(before.state) && moved(idx, before))
            .map(|(idx, _)| *idx)
            .collect()
    }
}

pub(in crate::store) const UPDATE_TASKS: &str =
    "update task_run t set state = u.state::task_state, reason = u.reason, unmet = u.unmet, seen = u.seen,
       epoch = u.epoch, attempt = u.attempt, lost = u.lost,
       opened_by = case when u.reason is distinct from 'approval' then coalesce(u.opened_by, t.opened_by) end,
       started_at = case when u.state = 'running' then coalesce(t.started_at, $11) else t.started_at end,
       finished_at = case when u.state in ('succeeded', 'failed', 'rejected', 'skipped', 'cancelled') then $11 end
     from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::int[], $6::smallint[], $7::bigint[], $8::int[],
                 $9::int[], $10::uuid[]) as u(run, idx, state, reason, unmet, seen, epoch, attempt, lost, opened_by)
     where t.run = u.run and t.idx = u.idx";

const INSERT_TASKS: &str =
    "insert into task_run (run, idx, state, reason, unmet, seen, epoch, attempt, lost, opened_by, finished_at)
     select run, idx, state::task_state, reason, unmet, seen, epoch, attempt, lost, opened_by,
       case when state in ('succeeded', 'failed', 'rejected', 'skipped', 'cancelled') then $11 end
     from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::int[], $6::smallint[], $7::bigint[], $8::int[],
                 $9::int[], $10::uuid[]) as u(run, idx, state, reason, unmet, seen, epoch, attempt, lost, opened_by)";
