//! Writing what a transaction did to runs: each table once, whatever the number of runs and of their task runs.

mod holds;
mod journal;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row};
use uuid::Uuid;

#[cfg(test)]
pub(in crate::store) use holds::DELETE_READY;

use self::holds::{Ended, Granted, Waiting};
use self::journal::{Heads, Journal};
use self::tasks::{Columns, HandedOn};
use super::super::{Result, bell, leases, notices, pg, sub_runs};
use super::{LockedRun, Slices, items, load};
use crate::id::{RunId, TaskIdx};
use crate::plan::TaskView;
use crate::state::Reason;
use crate::state::task_run::TaskState;

/// Writes all that changed. What nearly every transaction changes goes in one statement, what few do in one each before it. What waits for
/// a run that ended here is woken.
pub async fn write_all(conn: &mut PgConnection, runs: &[LockedRun], now: Timestamp) -> Result<()> {
    runs.iter().for_each(|run| bell::note(run.rings()));
    let (new, changed) = Columns::of(runs);
    tasks::insert(conn, new, now).await?;
    items::write_maps(conn, runs).await?;
    holds::drop_ready(conn, runs).await?;
    holds::renew_leases(conn, runs).await?;
    holds::write_slots(conn, runs).await?;
    void_approvals(conn, runs, now).await?;
    for run in runs {
        notices::tell_end(conn, run, now).await?;
    }
    let rows = bound(WRITE, (runs, changed), now).fetch_all(&mut *conn).await?;
    let parents: Result<BTreeSet<Option<Uuid>>> = rows.iter().map(|row| Ok(row.try_get("parent")?)).collect();
    sub_runs::wake_all(conn, parents?.into_iter().flatten().collect(), now).await
}

/// Task runs that were asked for beside a write.
pub type Ahead = BTreeMap<RunId, BTreeMap<TaskIdx, TaskView>>;

/// Whether [`write_at_once`] can write all that changed in a run.
pub fn is_plain(run: &LockedRun) -> bool {
    let runs = std::slice::from_ref(run);
    let (new, _) = Columns::of(runs);
    new.is_empty()
        && run.maps.is_empty()
        && !run.has_ended()
        && holds::is_plain(runs)
        && voided(runs).is_empty()
}

/// Writes in one statement, outside of any transaction, what changed in plain runs that nobody has locked, if they are still as they
/// were left. An error otherwise, and nothing is written.
pub async fn write_at_once(
    conn: &mut PgConnection,
    (runs, ahead): (&[LockedRun], &Slices),
    now: Timestamp,
) -> Result<Ahead> {
    let (_, changed) = Columns::of(runs);
    let left: Vec<i64> = runs.iter().map(|run| run.next_seq).collect();
    let mut places = Places::default();
    for run in runs {
        let wanted = ahead.get(&run.id).into_iter().flatten();
        wanted.for_each(|idx| places.push(run, *idx));
    }
    let query = bound(WRITE_AT_ONCE, (runs, changed), now).bind(left);
    let mut found = Ahead::new();
    for row in places.bind(query).fetch_all(conn).await? {
        if let Some(run) = row.try_get::<Option<Uuid>, _>("run")? {
            let idx = row.try_get::<i32, _>("idx")? as TaskIdx;
            let tasks = found.entry(RunId(run)).or_default();
            tasks.insert(idx, load::task_view(&row)?);
        }
    }
    Ok(found)
}

fn bound<'r>(sql: &'static str, (runs, changed): (&'r [LockedRun], Columns), now: Timestamp) -> Written<'r> {
    let query = sqlx::query(sql)
        .bind(pg(now))
        .bind(leases::LEASE.as_millis() as f64);
    let query = Journal::of(runs).bind(query);
    let query = Heads::of(runs).bind(query);
    let query = changed.bind(query);
    let query = Waiting::of(runs).bind(query);
    let query = Ended::of(runs).bind(query);
    let query = Granted::of(runs).bind(query);
    HandedOn::of(runs).bind(query)
}

/// Writes what belongs to runs whose rows were inserted as they are here.
pub async fn write_new(conn: &mut PgConnection, runs: &[LockedRun], now: Timestamp) -> Result<()> {
    runs.iter().for_each(|run| bell::note(run.rings()));
    let (new, _) = Columns::of(runs);
    let query = Journal::of(runs).bind(sqlx::query(WRITE_NEW).bind(pg(now)));
    let query = new.bind(query);
    Waiting::of(runs).bind(query).execute(conn).await?;
    Ok(())
}

type Written<'q> = Query<'q, Postgres, PgArguments>;

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

    fn bind(self, query: Written<'_>) -> Written<'_> {
        query.bind(self.run).bind(self.idx)
    }
}

fn voided(runs: &[LockedRun]) -> Places {
    let waits = TaskState::Waiting {
        reason: Reason::Approval,
    };
    Places::of(runs, |run| run.left(|state| state == waits, false))
}

/// Closes what still asks for task runs that no longer wait: nobody decided, their run was stopped.
async fn void_approvals(conn: &mut PgConnection, runs: &[LockedRun], now: Timestamp) -> Result<()> {
    let gone = voided(runs);
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

/// A statement that writes all that moves of runs usually change; where nothing is to be written, the arrays are empty. It begins with
/// the other tables and ends with what is done with the runs' own rows.
///
/// The parts touch different tables, so their order is of no matter. Leases are found by their keys, not by their places: a renewal
/// that commits meanwhile moves the row, and who looked for it where it was would leave it behind. They end in the order of the
/// arrays, which is that of renewals.
macro_rules! write_with {
    ($end:expr) => {
        concat!(
            "with told as (
       insert into event (day, run, seq, kind, idx, at, data)
       select day, run, seq, kind, idx::int[], $1, data
       from unnest($3::date[], $4::uuid[], $5::bigint[], $6::text[], $7::text[], $8::jsonb[])
         as u(day, run, seq, kind, idx, data)),
     heads as materialized (
       select * from unnest($9::uuid[], $10::text[], $11::text[], $12::int[], $13::int[], $14::smallint[], $15::bigint[],
         $16::boolean[]) as u(id, state, reason, open, active, seen, events, over)),
     over as (
       delete from active_run where run = any(array(select id from heads where over))),
     followed as (
       insert into ended_run (run, flow, state)
       select r.id, r.flow, u.state from heads u join run r on r.id = u.id
       where u.over and exists (select from flow_trigger t where t.source = r.flow and u.state = any(t.states))
       on conflict do nothing),
     moved as (
       update task_run t set state = u.state::task_state, reason = u.reason, unmet = u.unmet, seen = u.seen,
         epoch = u.epoch, attempt = u.attempt, lost = u.lost,
         opened_by = case when u.reason is distinct from 'approval' then coalesce(u.opened_by, t.opened_by) end,
         started_at = case when u.state = 'running' then coalesce(t.started_at, $1) else t.started_at end,
         finished_at = case when u.state in ('succeeded', 'failed', 'rejected', 'skipped', 'cancelled') then $1 end
       from unnest($17::uuid[], $18::int[], $19::text[], $20::text[], $21::int[], $22::smallint[], $23::bigint[],
                   $24::int[], $25::int[], $26::uuid[])
         as u(run, idx, state, reason, unmet, seen, epoch, attempt, lost, opened_by)
       where t.run = u.run and t.idx = u.idx),
     due as (
       insert into ready (queue, rank, at, run, idx, pool, light)
       select queue, at - points * interval '1 minute', at, run, idx, pool, light
       from unnest($27::uuid[], $28::int[], $29::timestamptz[], $30::boolean[], $31::text[], $32::float8[], $33::text[])
         as u(run, idx, at, light, queue, points, pool)
       on conflict (run, idx) do nothing),
     freed as (
       delete from lease l using unnest($34::uuid[], $35::int[]) as u(run, idx) where l.run = u.run and l.idx = u.idx),
     granted as (
       insert into lease (run, idx, epoch, worker, until)
       select run, idx, epoch, worker, clock_timestamp() + $2 * interval '1 millisecond'
       from unnest($36::uuid[], $37::int[], $38::bigint[], $39::uuid[]) as u(run, idx, epoch, worker)),
     handed_on as (
       insert into task_output (run, idx, epoch, outputs)
       select run, idx, epoch, outputs
       from unnest($40::uuid[], $41::int[], $42::bigint[], $43::jsonb[]) as u(run, idx, epoch, outputs))",
            $end
        )
    };
}

/// The runs' own rows as they are now.
macro_rules! heads_set {
    () => {
        "update run r set state = u.state::run_state, reason = u.reason, open = u.open, active = u.active, seen = u.seen,
       next_seq = r.next_seq + u.events,
       started_at = case when u.state <> 'queued' then coalesce(r.started_at, $1) end,
       finished_at = case when u.over then $1 end,
       waited = r.waited + case when r.waiting_since is not null and u.state <> 'waiting'
                                then $1 - r.waiting_since else '0' end,
       waiting_since = case when u.state = 'waiting' then coalesce(r.waiting_since, $1) end"
    };
}

/// In one round trip, of runs that are locked.
pub(in crate::store) const WRITE: &str = write_with!(concat!(
    " ",
    heads_set!(),
    " from heads u where r.id = u.id
     returning case when u.over then (select s.parent from sub_run s where s.run = r.id) end as parent"
));

/// The same of runs that nobody has locked, if they are all as they were left: their next events have the numbers of `$44`. A division
/// by zero otherwise, and nothing is written. Answers the task runs at `$45`, `$46`.
///
/// The runs' own rows are changed first, because the rest is asked for by nobody: so their locks come before all others.
pub(in crate::store) const WRITE_AT_ONCE: &str = write_with!(concat!(
    ", written as (",
    heads_set!(),
    " from heads u join unnest($9::uuid[], $44::bigint[]) as e(id, next_seq) on e.id = u.id
     where r.id = u.id and r.next_seq = e.next_seq returning r.id)
     select k.as_left, t.run, t.idx, t.state::text as state, t.reason, t.unmet, t.seen, t.epoch, t.attempt, t.lost
     from (select 1 / (case when (select count(*) from written) = (select count(*) from heads) then 1 else 0 end) as as_left) k
     left join (unnest($45::uuid[], $46::int[]) as a(run, idx) join task_run t on t.run = a.run and t.idx = a.idx) on true"
));

/// Task runs and events of runs that were inserted before, and what of them is ready.
const WRITE_NEW: &str = "with told as (
       insert into event (day, run, seq, kind, idx, at, data)
       select day, run, seq, kind, idx::int[], $1, data
       from unnest($2::date[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::jsonb[])
         as u(day, run, seq, kind, idx, data)),
     made as (
       insert into task_run (run, idx, state, reason, unmet, seen, epoch, attempt, lost, opened_by, finished_at)
       select run, idx, state::task_state, reason, unmet, seen, epoch, attempt, lost, opened_by,
         case when state in ('succeeded', 'failed', 'rejected', 'skipped', 'cancelled') then $1 end
       from unnest($8::uuid[], $9::int[], $10::text[], $11::text[], $12::int[], $13::smallint[], $14::bigint[], $15::int[],
                   $16::int[], $17::uuid[]) as u(run, idx, state, reason, unmet, seen, epoch, attempt, lost, opened_by))
     insert into ready (queue, rank, at, run, idx, pool, light)
     select queue, at - points * interval '1 minute', at, run, idx, pool, light
     from unnest($18::uuid[], $19::int[], $20::timestamptz[], $21::boolean[], $22::text[], $23::float8[], $24::text[])
       as u(run, idx, at, light, queue, points, pool)";
