//! Writing what a transaction did to runs: each table once, whatever the number of runs and of their task runs.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres};
use uuid::Uuid;

use super::super::{Result, bell, clean, day_of, leases, notices, pg};
use super::{LockedRun, Record, items};
use crate::id::TaskIdx;
use crate::plan::TaskView;
use crate::state::Reason;
use crate::state::task_run::TaskState;

/// Writes all that changed.
pub async fn write_all(conn: &mut PgConnection, runs: &[LockedRun], now: Timestamp) -> Result<()> {
    runs.iter().for_each(|run| bell::note(run.rings()));
    write_tasks(conn, runs, now).await?;
    items::write_maps(conn, runs).await?;
    write_ready(conn, runs).await?;
    write_leases(conn, runs).await?;
    write_slots(conn, runs).await?;
    void_approvals(conn, runs, now).await?;
    for run in runs {
        notices::tell_end(conn, run, now).await?;
    }
    write_runs(conn, runs, now).await
}

/// Writes what belongs to runs whose rows were inserted as they are here.
pub async fn write_new(conn: &mut PgConnection, runs: &[LockedRun], now: Timestamp) -> Result<()> {
    runs.iter().for_each(|run| bell::note(run.rings()));
    write_tasks(conn, runs, now).await?;
    write_ready(conn, runs).await?;
    write_events(conn, runs, now).await
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

/// What became ready, as columns.
#[derive(Default)]
struct Waiting<'r> {
    place: Places,
    at: Vec<jiff_sqlx::Timestamp>,
    light: Vec<bool>,
    queue: Vec<&'r str>,
    points: Vec<f64>,
    pool: Vec<Option<&'r str>>,
}

impl<'r> Waiting<'r> {
    fn of(runs: &'r [LockedRun]) -> Self {
        let mut all = Self::default();
        for run in runs {
            for (idx, due) in &run.ready {
                let task = run.flow.graph.task(*idx);
                all.place.push(run, *idx);
                all.at.push(pg(*due));
                all.light.push(task.is_light());
                all.queue.push(&task.placement.queue);
                all.points.push(task.placement.head_start(run.urgent));
                all.pool.push(task.placement.pool.as_deref());
            }
        }
        all
    }
}

async fn write_ready(conn: &mut PgConnection, runs: &[LockedRun]) -> Result<()> {
    let waiting = Waiting::of(runs);
    if !waiting.place.is_empty() {
        sqlx::query(
            "insert into ready (queue, rank, at, run, idx, pool, light)
             select queue, at - points * interval '1 minute', at, run, idx, pool, light
             from unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::boolean[], $5::text[], $6::float8[], $7::text[])
               as u(run, idx, at, light, queue, points, pool)
             on conflict (run, idx) do nothing",
        )
        .bind(waiting.place.run)
        .bind(waiting.place.idx)
        .bind(waiting.at)
        .bind(waiting.light)
        .bind(waiting.queue)
        .bind(waiting.points)
        .bind(waiting.pool)
        .execute(&mut *conn)
        .await?;
    }
    // A claimer may hold a row: it finds the task run no longer claimable under the run's lock and drops it. What is granted here
    // was taken out before.
    let gone = Places::of(runs, |run| {
        let mut left = run.left(TaskState::comes_due, false);
        left.retain(|idx| !run.leases.contains_key(idx));
        left
    });
    if gone.is_empty() {
        return Ok(());
    }
    sqlx::query(DELETE_READY)
        .bind(gone.run)
        .bind(gone.idx)
        .execute(conn)
        .await?;
    Ok(())
}

async fn write_leases(conn: &mut PgConnection, runs: &[LockedRun]) -> Result<()> {
    let ended = Places::of(runs, |run| run.left(|state| state == TaskState::Running, true));
    if !ended.is_empty() {
        sqlx::query(DELETE_LEASES)
            .bind(ended.run)
            .bind(ended.idx)
            .execute(&mut *conn)
            .await?;
    }
    let (mut place, mut epoch, mut worker) = (Places::default(), Vec::new(), Vec::new());
    for run in runs {
        for (idx, holder) in &run.leases {
            place.push(run, *idx);
            epoch.push(run.tasks.get(idx).map_or(0, |t| t.epoch));
            worker.push(*holder);
        }
    }
    if place.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into lease (run, idx, epoch, worker, until)
         select run, idx, epoch, worker, clock_timestamp() + $5 * interval '1 millisecond'
         from unnest($1::uuid[], $2::int[], $3::bigint[], $4::uuid[]) as u(run, idx, epoch, worker)",
    )
    .bind(place.run)
    .bind(place.idx)
    .bind(epoch)
    .bind(worker)
    .bind(leases::LEASE.as_millis() as f64)
    .execute(conn)
    .await?;
    Ok(())
}

async fn write_slots(conn: &mut PgConnection, runs: &[LockedRun]) -> Result<()> {
    let freed = Places::of(runs, LockedRun::freed_slots);
    if !freed.is_empty() {
        sqlx::query(
            "update slot s set run = null, idx = null, epoch = null
             from unnest($1::uuid[], $2::int[]) as u(run, idx) where s.run = u.run and s.idx = u.idx",
        )
        .bind(freed.run)
        .bind(freed.idx)
        .execute(&mut *conn)
        .await?;
    }
    let (mut place, mut pool, mut number, mut epoch) =
        (Places::default(), Vec::new(), Vec::new(), Vec::new());
    for run in runs {
        for (idx, no) in &run.slots {
            place.push(run, *idx);
            pool.push(run.flow.graph.task(*idx).placement.pool.as_deref());
            number.push(*no);
            epoch.push(run.tasks.get(idx).map_or(0, |t| t.epoch));
        }
    }
    if place.is_empty() {
        return Ok(());
    }
    // The claim that picked them has locked the slots while they were free.
    sqlx::query(
        "update slot s set run = u.run, idx = u.idx, epoch = u.epoch
         from unnest($1::uuid[], $2::int[], $3::text[], $4::int[], $5::bigint[]) as u(run, idx, pool, no, epoch)
         where s.pool = u.pool and s.no = u.no",
    )
    .bind(place.run)
    .bind(place.idx)
    .bind(pool)
    .bind(number)
    .bind(epoch)
    .execute(conn)
    .await?;
    Ok(())
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

/// Events as columns.
#[derive(Default)]
struct Journal {
    day: Vec<jiff_sqlx::Date>,
    run: Vec<Uuid>,
    seq: Vec<i64>,
    kind: Vec<&'static str>,
    /// Array literals: PostgreSQL has no arrays of arrays of different lengths.
    idx: Vec<String>,
    data: Vec<Option<Value>>,
}

impl Journal {
    fn of(runs: &[LockedRun]) -> Self {
        let mut all = Self::default();
        for locked in runs {
            for (number, record) in (locked.next_seq..).zip(&locked.journal) {
                all.day.push(day_of(locked.id));
                all.run.push(locked.id.0);
                all.seq.push(number);
                all.kind.push(record.kind);
                all.idx.push(array_literal(&record.idx));
                all.data.push(record.data());
            }
        }
        all
    }

    fn bind(self, query: Written) -> Written {
        query
            .bind(self.day)
            .bind(self.run)
            .bind(self.seq)
            .bind(self.kind)
            .bind(self.idx)
            .bind(self.data)
    }
}

type Written = Query<'static, Postgres, PgArguments>;

/// Writes the events of a new run.
async fn write_events(conn: &mut PgConnection, runs: &[LockedRun], now: Timestamp) -> Result<()> {
    let journal = Journal::of(runs);
    if !journal.run.is_empty() {
        journal
            .bind(sqlx::query(INSERT_EVENTS).bind(pg(now)))
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Writes the runs and their events, in one round trip.
async fn write_runs(conn: &mut PgConnection, runs: &[LockedRun], now: Timestamp) -> Result<()> {
    let views = || runs.iter().map(|run| &run.view);
    let ended = runs.iter().filter(|run| run.view.state.is_terminal());
    let ended: Vec<Uuid> = ended.map(|run| run.id.0).collect();
    let update = Journal::of(runs)
        .bind(sqlx::query(UPDATE_RUNS).bind(pg(now)))
        .bind(runs.iter().map(|run| run.id.0).collect::<Vec<_>>())
        .bind(views().map(|view| view.state.as_str()).collect::<Vec<_>>())
        .bind(
            views()
                .map(|view| view.reason.map(Reason::as_str))
                .collect::<Vec<_>>(),
        )
        .bind(views().map(|view| view.open as i32).collect::<Vec<_>>())
        .bind(views().map(|view| view.active as i32).collect::<Vec<_>>())
        .bind(views().map(|view| view.seen.0).collect::<Vec<_>>())
        .bind(
            runs.iter()
                .map(|run| run.journal.len() as i64)
                .collect::<Vec<_>>(),
        )
        .bind(views().map(|view| view.state.is_terminal()).collect::<Vec<_>>());
    update.execute(&mut *conn).await?;
    if !ended.is_empty() {
        // A row for the scheduler, only where a flow waits for this end.
        sqlx::query(
            "with gone as (delete from active_run where run = any($1))
             insert into ended_run (run, flow, state)
             select r.id, r.flow, r.state::text from run r
             where r.id = any($1) and exists (
               select from flow_trigger t where t.source = r.flow and r.state::text = any(t.states))
             on conflict do nothing",
        )
        .bind(ended)
        .execute(conn)
        .await?;
    }
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

impl Record {
    fn data(&self) -> Option<Value> {
        let mut fields = Map::new();
        if let Some(reason) = self.reason {
            fields.insert("reason".to_owned(), json!(reason));
        }
        match self.detail_of_each() {
            Some(detail) => drop(fields.insert("each".to_owned(), detail.clone())),
            None if self.detail.is_empty() => {}
            None => drop(fields.insert("detail".to_owned(), Value::Object(self.detail.clone()))),
        }
        (!fields.is_empty()).then(|| clean(Value::Object(fields)))
    }

    /// What all its task runs have in common, where that is all there is to say: a batch of claims tells its worker once.
    fn detail_of_each(&self) -> Option<&Value> {
        let first = self.detail.values().next()?;
        let common = self.detail.len() == self.idx.len()
            && self.idx.len() > 1
            && first.get("message").is_none()
            && self.detail.values().all(|detail| detail == first);
        common.then_some(first)
    }
}

fn array_literal(idx: &[TaskIdx]) -> String {
    let numbers: Vec<String> = idx.iter().map(ToString::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}

pub(in crate::store) const DELETE_READY: &str = "delete from ready where ctid = any(array(
     select r.ctid from unnest($1::uuid[], $2::int[]) as u(run, idx)
     join ready r on r.run = u.run and r.idx = u.idx order by r.run, r.idx for update of r skip locked))";

/// By key, not by place: a renewal that commits meanwhile moves the row, and who looked for it where it was would leave it behind.
pub(in crate::store) const DELETE_LEASES: &str = "with held as materialized (
       select l.run, l.idx from unnest($1::uuid[], $2::int[]) as u(run, idx)
       join lease l on l.run = u.run and l.idx = u.idx order by l.run, l.idx for update of l)
     delete from lease l using held h where l.run = h.run and l.idx = h.idx";

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

const INSERT_EVENTS: &str = "insert into event (day, run, seq, kind, idx, at, data)
     select day, run, seq, kind, idx::int[], $1, data
     from unnest($2::date[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::jsonb[])
       as u(day, run, seq, kind, idx, data)";

pub(in crate::store) const UPDATE_RUNS: &str = "with told as (
       insert into event (day, run, seq, kind, idx, at, data)
       select day, run, seq, kind, idx::int[], $1, data
       from unnest($2::date[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::jsonb[])
         as u(day, run, seq, kind, idx, data))
     update run r set state = u.state::run_state, reason = u.reason, open = u.open, active = u.active, seen = u.seen,
       next_seq = r.next_seq + u.events,
       started_at = case when u.state <> 'queued' then coalesce(r.started_at, $1) end,
       finished_at = case when u.over then $1 end,
       waited = r.waited + case when r.waiting_since is not null and u.state <> 'waiting'
                                then $1 - r.waiting_since else '0' end,
       waiting_since = case when u.state = 'waiting' then coalesce(r.waiting_since, $1) end
     from unnest($8::uuid[], $9::text[], $10::text[], $11::int[], $12::int[], $13::smallint[], $14::bigint[],
                 $15::boolean[]) as u(id, state, reason, open, active, seen, events, over)
     where r.id = u.id";
