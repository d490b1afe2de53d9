//! Claiming: the only way from `ready` to a lease.
//!
//! The rows are taken out of `ready` first, skipping what another claimer holds, then the runs are locked in the order of their ids and
//! the task runs checked again: what was cancelled meanwhile is dropped. A worker that is full looks while it reports ([`super::advance`]),
//! in the same transaction: what ends makes room for what waits. The picking is materialised, because a planner that
//! turns `LIMIT` below `SKIP LOCKED` into a nested loop claims far more than was asked for. Light work and processes are picked apart:
//! a worker has slots for processes, and room for hundreds of inline attempts beside them.
//!
//! The heads of several lines are looked at: one for each queue, and one for each pool that has a free slot, whose slots are locked
//! before. So nobody waits behind a task run whose pool is full. Of all heads the first by rank are taken; a head that was locked and
//! left is told to the others by the bell.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::bell::{self, Rings};
use super::lately::Left;
use super::leases::Holder;
use super::locked::{self, Details, LockedRun, Slices, is_claimable};
use super::{Result, Store, pg};
use crate::graph::{EVERY_QUEUE, Flow, Task};
use crate::id::{Epoch, RunId, TaskIdx};
use crate::plan::Outcome;

/// A task run that this worker holds now.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Its run.
    pub run: RunId,
    /// Its position.
    pub idx: TaskIdx,
    /// Fencing token of this attempt.
    pub epoch: Epoch,
    /// Number of the attempt.
    pub attempt: u32,
    /// The run's sealed flow.
    pub flow: Arc<Flow>,
}

impl Claim {
    /// The task of the flow.
    pub fn task(&self) -> &Task {
        self.flow.graph.task(self.idx)
    }

    /// It runs inline and takes no slot.
    pub fn is_light(&self) -> bool {
        self.task().is_light()
    }

    /// Its map index, of an item.
    pub fn item(&self) -> Option<u32> {
        self.flow.graph.item(self.idx)
    }

    /// Name of the task run where brackets would not do: `train`, `train.3`.
    pub fn place(&self) -> String {
        self.flow.graph.place(self.idx)
    }

    /// Whoever writes for this attempt.
    pub fn holder(&self) -> Holder {
        Holder {
            run: self.run,
            idx: self.idx,
            epoch: self.epoch,
        }
    }
}

/// Who claims, and how much.
#[derive(Debug, Clone)]
pub struct Claimer {
    /// The worker.
    pub worker: Uuid,
    /// Queues it serves, or only [`EVERY_QUEUE`].
    pub queues: Vec<String>,
    /// Free slots: attempts in processes.
    pub slots: usize,
    /// Room for light ones, which run inline.
    pub light: usize,
    /// What it has no more of.
    pub crowded: Crowded,
}

/// Where a worker is full, what is more urgent goes before a run's next task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crowded {
    /// It has no other slots.
    pub slots: bool,
    /// It has no other room for light work.
    pub light: bool,
    /// Its last look at what is ready ended for lack of room: it looks again while it reports.
    pub cut_short: bool,
}

impl Claimer {
    fn serves_all(&self) -> bool {
        self.queues.iter().any(|queue| queue == EVERY_QUEUE)
    }

    /// Whether it may take a task of this queue.
    pub fn serves(&self, queue: &str) -> bool {
        self.serves_all() || self.queues.iter().any(|served| served == queue)
    }

    /// What is left of the room for such work.
    pub(super) fn room(&mut self, light: bool) -> &mut usize {
        if light { &mut self.light } else { &mut self.slots }
    }

    /// Whether it has no other room for such work.
    pub(super) fn is_crowded(&self, light: bool) -> bool {
        if light {
            self.crowded.light
        } else {
            self.crowded.slots
        }
    }
}

impl Store {
    /// Claims task runs that are due at `now`, as many as the claimer has room for.
    pub async fn claim(&self, claimer: Claimer, now: Timestamp) -> Result<Vec<Claim>> {
        let store = self.clone();
        let claimed = self.transact(move |conn| {
            let (store, claimer) = (store.clone(), claimer.clone());
            Box::pin(async move {
                let picked = pick(conn, &claimer, now).await?;
                if picked.is_empty() {
                    return Ok((Vec::new(), Vec::new()));
                }
                let places = picked
                    .iter()
                    .map(|(run, places)| (*run, places.keys().copied().collect()));
                let wanted = (Slices::new(), places.collect());
                let mut runs = locked::lock_frontiers(&store, conn, wanted).await?;
                let mut claims = Vec::new();
                for run in &mut runs {
                    claims.extend(take_picked((run, &picked), conn, claimer.worker, now).await?);
                }
                locked::write_all(conn, &runs, now).await?;
                let left: Vec<_> = runs.iter().map(|run| (run.id, Left::of(run))).collect();
                Ok((claims, left))
            })
        });
        let (claims, left) = claimed.await?;
        left.into_iter()
            .for_each(|(run, left)| self.lately.leave(run, left));
        Ok(claims)
    }
}

/// Whether there may be something to claim: one small question on a connection of the caller's own, for those who only look round.
pub async fn is_any_due(conn: &mut PgConnection, queues: &[String], now: Timestamp) -> Result<bool> {
    let all = queues.iter().any(|queue| queue == EVERY_QUEUE);
    let found =
        sqlx::query_scalar("select exists (select from ready where ($3 or queue = any($1)) and at <= $2)");
    Ok(found.bind(queues).bind(pg(now)).bind(all).fetch_one(conn).await?)
}

/// Takes of a locked run what was picked and is still to be done.
pub(super) async fn take_picked(
    (run, picked): (&mut LockedRun, &Picked),
    conn: &mut PgConnection,
    worker: Uuid,
    now: Timestamp,
) -> Result<Vec<Claim>> {
    let Some(places) = picked.get(&run.id) else {
        return Ok(Vec::new());
    };
    let claimable = |idx: &TaskIdx| run.tasks.get(idx).is_some_and(is_claimable);
    let good: Vec<TaskIdx> = places.keys().copied().filter(claimable).collect();
    take(run, conn, (&good, worker), now).await?;
    for idx in &good {
        if let Some(slot) = places.get(idx).and_then(|place| place.slot) {
            run.hold(*idx, slot);
        }
    }
    Ok(good.iter().map(|&idx| claim_of(run, idx)).collect())
}

/// Moves task runs of a locked run to `running` in the hands of a worker.
pub(super) async fn take(
    locked: &mut LockedRun,
    conn: &mut PgConnection,
    (wanted, worker): (&[TaskIdx], Uuid),
    now: Timestamp,
) -> Result<()> {
    locked.load(conn, wanted.iter().copied().collect()).await?;
    take_loaded(locked, (wanted, worker), now)
}

/// The same, where they are loaded.
pub(super) fn take_loaded(
    locked: &mut LockedRun,
    (wanted, worker): (&[TaskIdx], Uuid),
    now: Timestamp,
) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let outcomes: Vec<(TaskIdx, Outcome)> = wanted.iter().map(|&idx| (idx, Outcome::Claimed)).collect();
    let details: Details = wanted
        .iter()
        .map(|&idx| {
            let task = locked.tasks.get(&idx);
            let (epoch, attempt) = task.map_or((0, 0), |t| (t.epoch + 1, t.attempt + 1));
            (
                idx,
                json!({ "worker": worker, "epoch": epoch, "attempt": attempt }),
            )
        })
        .collect();
    locked.advance_loaded(&outcomes, (&details, now))?;
    for &idx in wanted {
        locked.grant(idx, worker);
    }
    Ok(())
}

/// The claim of a task run that [`take`] has just taken.
pub(super) fn claim_of(locked: &LockedRun, idx: TaskIdx) -> Claim {
    let (epoch, attempt) = locked.tasks.get(&idx).map_or((0, 0), |t| (t.epoch, t.attempt));
    Claim {
        run: locked.id,
        idx,
        epoch,
        attempt,
        flow: Arc::clone(&locked.flow),
    }
}

/// Task runs that were taken out of `ready`, by their run.
pub(super) type Picked = BTreeMap<RunId, BTreeMap<TaskIdx, Place>>;

/// How a picked task run stood in its line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// It runs inline.
    pub light: bool,
    /// The slot of its pool that is locked for it.
    pub slot: Option<i32>,
}

/// Takes what is to be claimed out of `ready`. Each queue is walked by the index, as far as there is room.
pub(super) async fn pick(conn: &mut PgConnection, claimer: &Claimer, now: Timestamp) -> Result<Picked> {
    let rows: Vec<(Uuid, i32, bool, Option<i32>, i64)> = sqlx::query_as(PICK)
        .bind(claimer.queues.clone())
        .bind(pg(now))
        .bind(claimer.slots as i64)
        .bind(claimer.light as i64)
        .bind(claimer.serves_all())
        .fetch_all(conn)
        .await?;
    // Others passed over the heads that this claim had locked and did not take.
    if rows.first().is_some_and(|(.., heads)| *heads > rows.len() as i64) {
        bell::note(Rings::WORKERS);
    }
    let mut picked = Picked::new();
    for (run, idx, light, slot, _) in rows {
        let places = picked.entry(RunId(run)).or_default();
        places.insert(idx as TaskIdx, Place { light, slot });
    }
    Ok(picked)
}

/// Whether something waits for the claimer that is more urgent than what has `points` of priority and is ready now.
pub(super) async fn is_outranked(
    conn: &mut PgConnection,
    (claimer, light): (&Claimer, bool),
    (points, now): (f64, Timestamp),
) -> Result<bool> {
    let ahead = sqlx::query_scalar(AHEAD)
        .bind(claimer.queues.clone())
        .bind(pg(now))
        .bind(points)
        .bind(light)
        .bind(claimer.serves_all());
    Ok(ahead.fetch_one(conn).await?)
}

/// The beginning of a statement that looks at queues, each once. Bound: `$1` their names, `$5` whether it is all in which something
/// waits without a pool: those are found by a step through the index for each.
macro_rules! with_lines {
    ($statement:literal) => {
        concat!(
            "with recursive step as (
               (select queue from ready where pool is null order by queue limit 1)
               union all
               select (select r.queue from ready r where r.pool is null and r.queue > s.queue order by r.queue limit 1)
               from step s where s.queue is not null),
             line as (
               select distinct name from unnest($1::text[]) as given(name) where not $5
               union all
               select queue from step where $5 and queue is not null)",
            $statement
        )
    };
}

/// Bound: instant, points, whether it is light.
const AHEAD: &str = with_lines!(
    " select exists (select from line cross join lateral (
        select rank from ready where queue = line.name and light = $4 and pool is null and at <= $2
        order by rank, run, idx limit 1) r where r.rank < $2 - $3::float8 * interval '1 minute')"
);

/// Bound: instant, how many processes, how many light ones.
pub(super) const PICK: &str = with_lines!(
    ", plain as materialized (
       select r.tid, r.run, r.idx, r.rank, r.light from line
       cross join (values (false, $3::bigint), (true, $4::bigint)) as kind(light, room)
       cross join lateral (
         select ctid as tid, run, idx, rank, light from ready
         where queue = line.name and light = kind.light and pool is null and at <= $2
         order by rank, run, idx limit kind.room for update skip locked) r),
     free as materialized (
       select p.name as pool, s.no from pool p cross join lateral (
         select no from slot where pool = p.name and run is null and not exists (
           select from slot above where above.pool = p.name and above.no > p.size and above.run is not null)
         order by no limit (
           select count(*) from (select from ready r where r.pool = p.name and r.at <= $2
                                 and ($5 or r.queue = any($1)) and case when r.light then $4 else $3 end > 0
                                 limit $3 + $4) waiting)
         for update skip locked) s),
     pooled as materialized (
       select f.pool, r.tid, r.run, r.idx, r.rank, r.light
       from (select pool, count(*) as slots from free group by pool) f
       cross join lateral (
         select ctid as tid, run, idx, rank, light from ready
         where pool = f.pool and at <= $2 and ($5 or queue = any($1)) and case when light then $4 else $3 end > 0
         order by rank, run, idx limit f.slots for update skip locked) r),
     heads as (
       select tid, run, idx, rank, light, null::integer as slot from plain
       union all
       select r.tid, r.run, r.idx, r.rank, r.light, s.no from
         (select *, row_number() over (partition by pool order by rank, run, idx) as nth from pooled) r
         join (select *, row_number() over (partition by pool order by no) as nth from free) s using (pool, nth)),
     picked as materialized (
       select * from (select *, row_number() over (partition by light order by rank, run, idx) as nth from heads) h
       where nth <= case when light then $4 else $3 end)
     delete from ready r using picked p where r.ctid = p.tid
     returning r.run, r.idx, p.light, p.slot, (select count(*) from heads)"
);
