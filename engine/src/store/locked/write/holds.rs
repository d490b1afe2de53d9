//! What waits for a worker, and what a worker holds: rows of `ready`, `lease`, `slot`.

use sqlx::PgConnection;
use uuid::Uuid;

use super::super::super::{Result, leases, pg};
use super::super::LockedRun;
use super::{Places, Written};
use crate::id::TaskIdx;
use crate::state::task_run::TaskState;

/// What became ready, as columns.
#[derive(Default)]
pub(super) struct Waiting<'r> {
    place: Places,
    at: Vec<jiff_sqlx::Timestamp>,
    light: Vec<bool>,
    queue: Vec<&'r str>,
    points: Vec<f64>,
    pool: Vec<Option<&'r str>>,
}

impl<'r> Waiting<'r> {
    pub(super) fn of(runs: &'r [LockedRun]) -> Self {
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

    pub(super) fn bind(self, query: Written<'r>) -> Written<'r> {
        self.place
            .bind(query)
            .bind(self.at)
            .bind(self.light)
            .bind(self.queue)
            .bind(self.points)
            .bind(self.pool)
    }
}

/// Whether nothing is to be done here beside what one statement does.
pub(super) fn is_plain(runs: &[LockedRun]) -> bool {
    let slots = runs
        .iter()
        .all(|run| run.slots.is_empty() && run.freed_slots().is_empty());
    slots && undue(runs).is_empty() && Granted::such(runs, held_before).place.is_empty()
}

fn undue(runs: &[LockedRun]) -> Places {
    Places::of(runs, |run| {
        let mut left = run.left(TaskState::comes_due, false);
        left.retain(|idx| !run.leases.contains_key(idx));
        left
    })
}

/// Takes out of `ready` what is no longer due. A claimer may hold a row: it finds the task run no longer claimable under the run's
/// lock and drops it. What is granted here was taken out before.
pub(super) async fn drop_ready(conn: &mut PgConnection, runs: &[LockedRun]) -> Result<()> {
    let gone = undue(runs);
    if !gone.is_empty() {
        gone.bind(sqlx::query(DELETE_READY)).execute(conn).await?;
    }
    Ok(())
}

/// Leases that end, but for those that are granted anew.
pub(super) struct Ended(Places);

impl Ended {
    pub(super) fn of(runs: &[LockedRun]) -> Self {
        Self(Places::of(runs, |run| {
            let mut left = run.left(|state| state == TaskState::Running, true);
            left.retain(|idx| !run.leases.contains_key(idx));
            left
        }))
    }

    pub(super) fn bind(self, query: Written<'_>) -> Written<'_> {
        self.0.bind(query)
    }
}

/// Leases that are granted, as columns.
#[derive(Default)]
pub(super) struct Granted {
    place: Places,
    epoch: Vec<i64>,
    worker: Vec<Uuid>,
}

impl Granted {
    /// Those of task runs that had none before.
    pub(super) fn of(runs: &[LockedRun]) -> Self {
        Self::such(runs, |run, idx| !held_before(run, idx))
    }

    fn such(runs: &[LockedRun], such: impl Fn(&LockedRun, TaskIdx) -> bool) -> Self {
        let mut all = Self::default();
        for run in runs {
            for (idx, holder) in run.leases.iter().filter(|(idx, _)| such(run, **idx)) {
                all.place.push(run, *idx);
                all.epoch.push(run.tasks.get(idx).map_or(0, |t| t.epoch));
                all.worker.push(*holder);
            }
        }
        all
    }

    pub(super) fn bind(self, query: Written<'_>) -> Written<'_> {
        self.place.bind(query).bind(self.epoch).bind(self.worker)
    }
}

fn held_before(run: &LockedRun, idx: TaskIdx) -> bool {
    let before = run.before.get(&idx);
    before.is_some_and(|task| task.state == TaskState::Running)
}

/// Leases of task runs whose attempt ended here and whose next attempt began here.
pub(super) async fn renew_leases(conn: &mut PgConnection, runs: &[LockedRun]) -> Result<()> {
    let again = Granted::such(runs, held_before);
    if !again.place.is_empty() {
        let query = sqlx::query(
            "update lease l set epoch = u.epoch, worker = u.worker, progress = null,
               until = clock_timestamp() + $1 * interval '1 millisecond'
             from unnest($2::uuid[], $3::int[], $4::bigint[], $5::uuid[]) as u(run, idx, epoch, worker)
             where l.run = u.run and l.idx = u.idx",
        );
        let query = query.bind(leases::LEASE.as_millis() as f64);
        again.bind(query).execute(conn).await?;
    }
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
