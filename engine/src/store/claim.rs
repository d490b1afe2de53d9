//! Claiming: the only way from `ready` to a lease.
//!
//! The rows are taken out of `ready` first, skipping what another claimer holds, then the runs are locked in the order of their ids and
//! the task runs checked again: what was cancelled meanwhile is dropped. The picking is materialised, because a planner that
//! turns `LIMIT` below `SKIP LOCKED` into a nested loop claims far more than was asked for.
//!
//! The heads of several lines are looked at: one for each queue, and one for each pool that has a free slot, whose slots are locked
//! before. So nobody waits behind a task run whose pool is full. Of all heads the first by rank are taken; a head that was locked and
//! left is told to the others by the bell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::bell::{self, Rings};
use super::leases::Holder;
use super::locked::{Details, LockedRun, is_claimable};
use super::{Result, Store, pg};
use crate::gate::Gate;
use crate::graph::{EVERY_QUEUE, Flow, Task};
use crate::id::{Epoch, RunId, TaskIdx, VersionHash};
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
    /// Free slots.
    pub slots: usize,
    /// It has no others: what is more urgent goes before a run's next task.
    pub crowded: bool,
}

impl Claimer {
    fn serves_all(&self) -> bool {
        self.queues.iter().any(|queue| queue == EVERY_QUEUE)
    }

    /// Whether it may take a task of this queue.
    pub fn serves(&self, queue: &str) -> bool {
        self.serves_all() || self.queues.iter().any(|served| served == queue)
    }
}

/// Runs, their params and the outputs of needs: what an attempt is rendered from.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The run's flow version.
    pub version: VersionHash,
    /// The run's params.
    pub params: BTreeMap<String, Value>,
    /// Trigger, requester.
    pub trigger: String,
    /// Who asked for the run.
    pub requester: String,
    /// Due instant of a scheduled run.
    pub scheduled_for: Option<Timestamp>,
    /// When the run was created; of a retry, when the first try was: what is carried over was made as of then.
    pub created_at: Timestamp,
    /// The approval that opened the task run's gate.
    pub opened_by: Option<Uuid>,
    /// What the attempt remembers from when it was parked; null when it never was.
    pub memory: Value,
    /// Outputs of the needs and of what the gate shows, by task name.
    pub outputs: BTreeMap<String, Value>,
}

impl Store {
    /// Claims up to `claimer.slots` task runs that are due at `now`.
    pub async fn claim(&self, claimer: Claimer, now: Timestamp) -> Result<Vec<Claim>> {
        let store = self.clone();
        self.transact(move |conn| {
            let (store, claimer) = (store.clone(), claimer.clone());
            Box::pin(async move { claim(&store, conn, &claimer, now).await })
        })
        .await
    }

    /// What an attempt is rendered from. All of it is immutable while the attempt lasts.
    pub async fn surroundings(&self, claim: &Claim) -> Result<Surroundings> {
        let mut conn = self.pool().acquire().await?;
        let row = sqlx::query(
            "with recursive tries as (
               select created_at, retry_of from run where id = $1
               union all select r.created_at, r.retry_of from run r join tries t on r.id = t.retry_of)
             select r.version, r.params, r.trigger, r.requester, r.scheduled_for, t.opened_by, p.memory,
               (select min(created_at) from tries) as created_at
             from run r join task_run t on t.run = r.id and t.idx = $2
             -- A new try begins anew; one that follows the loss of a worker goes on.
             left join parking p on p.run = t.run and p.idx = t.idx and p.spent = t.attempt - t.lost - 1
             where r.id = $1",
        )
        .bind(claim.run.0)
        .bind(claim.idx as i32)
        .fetch_one(&mut *conn)
        .await?;
        let params: sqlx::types::Json<BTreeMap<String, Value>> = row.try_get("params")?;
        Ok(Surroundings {
            version: VersionHash(row.try_get("version")?),
            params: params.0,
            trigger: row.try_get("trigger")?,
            requester: row.try_get("requester")?,
            scheduled_for: super::maybe_instant(&row, "scheduled_for")?,
            created_at: super::instant(&row, "created_at")?,
            opened_by: row.try_get("opened_by")?,
            memory: row.try_get::<Option<Value>, _>("memory")?.unwrap_or_default(),
            outputs: outputs_before(&mut conn, claim).await?,
        })
    }
}

async fn outputs_before(conn: &mut PgConnection, claim: &Claim) -> Result<BTreeMap<String, Value>> {
    let graph = &claim.flow.graph;
    let shown = claim.task().gate.iter().flat_map(Gate::shown);
    let shown = shown.filter_map(|name| graph.find(name.as_str()));
    let needs: BTreeSet<TaskIdx> = claim.task().needs.iter().copied().chain(shown).collect();
    let needs: Vec<i32> = needs.into_iter().map(|idx| idx as i32).collect();
    let rows: Vec<(i32, Value)> =
        sqlx::query_as("select idx, outputs from task_output where run = $1 and idx = any($2)")
            .bind(claim.run.0)
            .bind(needs)
            .fetch_all(conn)
            .await?;
    let named = |(idx, outputs): (i32, Value)| (graph.task(idx as TaskIdx).name.as_str().to_owned(), outputs);
    Ok(rows.into_iter().map(named).collect())
}

async fn claim(
    store: &Store,
    conn: &mut PgConnection,
    claimer: &Claimer,
    now: Timestamp,
) -> Result<Vec<Claim>> {
    let mut claims = Vec::new();
    for (run, picked) in pick(conn, claimer, now).await? {
        let Some(mut locked) = LockedRun::lock(store, conn, run).await? else {
            continue;
        };
        locked.load(conn, picked.keys().copied().collect()).await?;
        let good: Vec<TaskIdx> = picked
            .keys()
            .copied()
            .filter(|idx| locked.tasks.get(idx).is_some_and(is_claimable))
            .collect();
        take(&mut locked, conn, (&good, claimer.worker), now).await?;
        for &idx in &good {
            if let Some(&Some(slot)) = picked.get(&idx) {
                locked.hold(idx, slot);
            }
        }
        claims.extend(good.iter().map(|&idx| claim_of(&locked, idx)));
        locked.write(conn, now).await?;
    }
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

async fn pick(conn: &mut PgConnection, claimer: &Claimer, now: Timestamp) -> Result<Picked> {
    let lines = lines(conn, claimer).await?;
    let rows: Vec<(Uuid, i32, Option<i32>, i64)> = sqlx::query_as(PICK)
        .bind(lines)
        .bind(pg(now))
        .bind(claimer.slots as i64)
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

/// Bound: queues, instant, how many, whether pools look at every queue.
pub(super) const PICK: &str = "with plain as materialized (
       select r.run, r.idx, r.rank from unnest($1::text[]) as q(name) cross join lateral (
         select run, idx, rank from ready where queue = q.name and pool is null and at <= $2
         order by rank, run, idx limit $3 for update skip locked) r),
     free as materialized (
       select p.name as pool, s.no from pool p cross join lateral (
         select no from slot where pool = p.name and run is null and not exists (
           select from slot above where above.pool = p.name and above.no > p.size and above.run is not null)
         order by no limit (
           select count(*) from (select from ready r where r.pool = p.name and r.at <= $2
                                 and ($4 or r.queue = any($1)) limit $3) waiting)
         for update skip locked) s),
     pooled as materialized (
       select f.pool, r.run, r.idx, r.rank from (select pool, count(*) as slots from free group by pool) f
       cross join lateral (
         select run, idx, rank from ready where pool = f.pool and at <= $2 and ($4 or queue = any($1))
         order by rank, run, idx limit f.slots for update skip locked) r),
     heads as (
       select run, idx, rank, null::integer as slot from plain
       union all
       select r.run, r.idx, r.rank, s.no from
         (select *, row_number() over (partition by pool order by rank, run, idx) as nth from pooled) r
         join (select *, row_number() over (partition by pool order by no) as nth from free) s using (pool, nth)),
     picked as materialized (select * from heads order by rank, run, idx limit $3)
     delete from ready r using picked p where r.run = p.run and r.idx = p.idx
     returning r.run, r.idx, p.slot, (select count(*) from heads)";
