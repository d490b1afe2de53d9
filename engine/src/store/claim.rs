//! Claiming: the only way from `ready` to a lease.
//!
//! The rows are taken out of `ready` first, skipping what another claimer holds, then the runs are locked in the order of their ids and
//! the task runs checked again: what was cancelled meanwhile is dropped. The picking is materialised, because a planner that
//! turns `LIMIT` below `SKIP LOCKED` into a nested loop claims far more than was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::leases::Holder;
use super::locked::{Details, LockedRun, is_claimable};
use super::{Result, Store, pg};
use crate::gate::Gate;
use crate::graph::{Flow, Task};
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
    /// Queues it serves.
    pub queues: Vec<String>,
    /// Free slots.
    pub slots: usize,
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
    for (run, wanted) in pick(conn, claimer, now).await? {
        let Some(mut locked) = LockedRun::lock(store, conn, run).await? else {
            continue;
        };
        locked.load(conn, wanted.iter().copied().collect()).await?;
        let good: Vec<TaskIdx> = wanted
            .into_iter()
            .filter(|idx| locked.tasks.get(idx).is_some_and(is_claimable))
            .collect();
        take(&mut locked, conn, (&good, claimer.worker), now).await?;
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

async fn pick(
    conn: &mut PgConnection,
    claimer: &Claimer,
    now: Timestamp,
) -> Result<BTreeMap<RunId, Vec<TaskIdx>>> {
    let rows: Vec<(Uuid, i32)> = sqlx::query_as(
        "with picked as materialized (
           select run, idx from ready where queue = any($1) and at <= $2
           order by priority desc, at, run, idx limit $3 for update skip locked)
         delete from ready r using picked p where r.run = p.run and r.idx = p.idx returning r.run, r.idx",
    )
    .bind(&claimer.queues)
    .bind(pg(now))
    .bind(claimer.slots as i64)
    .fetch_all(conn)
    .await?;
    let mut picked: BTreeMap<RunId, Vec<TaskIdx>> = BTreeMap::new();
    for (run, idx) in rows {
        picked.entry(RunId(run)).or_default().push(idx as TaskIdx);
    }
    Ok(picked)
}
