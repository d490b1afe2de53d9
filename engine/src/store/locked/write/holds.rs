//! What waits for a worker, and what a worker holds: rows of `ready`, `lease`, `slot`.

use sqlx::PgConnection;

use super::super::super::{Result, leases, pg};
use super::super::LockedRun;
use super::Places;
use crate::state::task_run::TaskState;

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

pub(super) async fn write_ready(conn: &mut PgConnection, runs: &[LockedRun]) -> Result<()> {
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

pub(super) async fn write_leases(conn: &mut PgConnection, runs: &[LockedRun]) -> Result<()> {
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

pub(super) async fn write_slots(conn: &mut PgConnection, runs: &[LockedRun]) -> Result<()> {
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

pub(in crate::store) const DELETE_READY: &str = "delete from ready where ctid = any(array(
     select r.ctid from unnest($1::uuid[], $2::int[]) as u(run, idx)
     join ready r on r.run = u.run and r.idx = u.idx order by r.run, r.idx for update of r skip locked))";

/// By key, not by place: a renewal that commits meanwhile moves the row, and who looked for it where it was would leave it behind.
pub(in crate::store) const DELETE_LEASES: &str = "with held as materialized (
       select l.run, l.idx from unnest($1::uuid[], $2::int[]) as u(run, idx)
       join lease l on l.run = u.run and l.idx = u.idx order by l.run, l.idx for update of l)
     delete from lease l using held h where l.run = h.run and l.idx = h.idx";
