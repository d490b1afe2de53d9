//! Claiming: the only way from `ready` to a lease.
//!
//! The rows are taken out of `ready` first, skipping what another claimer holds, then the runs are locked in the order of their ids and
//! the task runs checked again: what was cancelled meanwhile is dropped. The picking is materialised, because a planner that
//! turns `LIMIT` below `SKIP LOCKED` into a nested loop claims far more than was asked for. Light work and processes are picked apart:
//! a worker has slots for processes, and room for hundreds of inline attempts beside them.
//!
//! The heads of several lines are looked at: one for each queue, and one for each pool that has a free slot, whose slots are locked
//! before. So nobody waits behind a task run whose pool is full. Of all heads the first by rank are taken; a head that was locked and
//! left is told to the others by the bell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::bell::{self, Rings};
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
        self.transact(move |conn| {
            let (store, claimer) = (store.clone(), claimer.clone());
            Box::pin(async move { claim(&store, conn, &claimer, now).await })
        })
        .await
    }
}

/// Whether there may be something to claim: one small question on a connection of the caller's own, for those who only look round.
pub async fn is_any_due(conn: &mut PgConnection, queues: &[String], now: Timestamp) -> Result<bool> {
    let all = queues.iter().any(|queue| queue == EVERY_QUEUE);
    let found =
        sqlx::query_scalar("select exists (select from ready where ($3 or queue = any($1)) and at <= $2)");
    Ok(found.bind(queues).bind(pg(now)).bind(all).fetch_one(conn).await?)
}

async fn claim(
    store: &Store,
    conn: &mut PgConnection,
    claimer: &Claimer,
    now: Timestamp,
) -> Result<Vec<Claim>> {
    let picked = pick(conn, claimer, now).await?;
    if picked.is_empty() {
        return Ok(Vec::new());
    }
    let wanted: Slices = picked
        .iter()
        .map(|(run, places)| (*run, places.keys().copied().collect()))
        .collect();
    let mut runs = locked::lock_slices(store, conn, &wanted).await?;
    let mut claims = Vec::new();
    for run in &mut runs {
        let claimable = run.tasks.iter().filter(|(_, task)| is_claimable(task));
        let good: Vec<TaskIdx> = claimable.map(|(idx, _)| *idx).collect();
        take(run, conn, (&good, claimer.worker), now).await?;
        for &idx in &good {
            if let Some(&Some(slot)) = picked.get(&run.id).and_then(|places| places.get(&idx)) {
                run.hold(idx, slot);
            }
        }
        claims.extend(good.iter().map(|&idx| claim_of(run, idx)));
    }
    locked::write_all(conn, &runs, now).await?;
    Ok(claims)
}

/// Moves task runs of a locked run to `running` in the hands of a worker.
pub(super) async fn take(
    locked: &mut LockedRun,
    conn: &mut PgConnection,
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
    locked.advance(conn, &outcomes, (&details, now)).await?;
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

/// Task runs by their run, each with the slot of its pool that is locked for it.
type Picked = BTreeMap<RunId, BTreeMap<TaskIdx, Option<i32>>>;

/// Takes what is to be claimed out of `ready`. Each queue is walked by the index, as far as there is room.
async fn pick(conn: &mut PgConnection, claimer: &Claimer, now: Timestamp) -> Result<Picked> {
    let lines = lines(conn, claimer).await?;
    let rows: Vec<(Uuid, i32, Option<i32>, i64)> = sqlx::query_as(PICK)
        .bind(lines)
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
    for (run, idx, slot, _) in rows {
        picked.entry(RunId(run)).or_default().insert(idx as TaskIdx, slot);
    }
    Ok(picked)
}

/// The queues to look at, each once.
pub(super) async fn lines(conn: &mut PgConnection, claimer: &Claimer) -> Result<Vec<String>> {
    if claimer.serves_all() {
        return Ok(sqlx::query_scalar(QUEUES).fetch_all(conn).await?);
    }
    let distinct: BTreeSet<&String> = claimer.queues.iter().collect();
    Ok(distinct.into_iter().cloned().collect())
}

/// The queues in which something waits without a pool: a step through the index for each.
const QUEUES: &str = "with recursive q as (
       (select queue from ready where pool is null order by queue limit 1)
       union all
       select (select r.queue from ready r where r.pool is null and r.queue > q.queue order by r.queue limit 1)
       from q where q.queue is not null)
     select queue from q where queue is not null";

/// Bound: queues, instant, how many processes, how many light ones, whether pools look at every queue.
pub(super) const PICK: &str = "with plain as materialized (
       select r.run, r.idx, r.rank, r.light from unnest($1::text[]) as q(name)
       cross join (values (false, $3::bigint), (true, $4::bigint)) as kind(light, room)
       cross join lateral (
         select run, idx, rank, light from ready
         where queue = q.name and light = kind.light and pool is null and at <= $2
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
       select f.pool, r.run, r.idx, r.rank, r.light
       from (select pool, count(*) as slots from free group by pool) f
       cross join lateral (
         select run, idx, rank, light from ready
         where pool = f.pool and at <= $2 and ($5 or queue = any($1)) and case when light then $4 else $3 end > 0
         order by rank, run, idx limit f.slots for update skip locked) r),
     heads as (
       select run, idx, rank, light, null::integer as slot from plain
       union all
       select r.run, r.idx, r.rank, r.light, s.no from
         (select *, row_number() over (partition by pool order by rank, run, idx) as nth from pooled) r
         join (select *, row_number() over (partition by pool order by no) as nth from free) s using (pool, nth)),
     picked as materialized (
       select * from (select *, row_number() over (partition by light order by rank, run, idx) as nth from heads) h
       where nth <= case when light then $4 else $3 end)
     delete from ready r using picked p where r.run = p.run and r.idx = p.idx
     returning r.run, r.idx, p.slot, (select count(*) from heads)";
