//! Creating, admitting and cancelling runs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::bell::{self, Rings};
use super::locked::{Details, LockedRun};
use super::{Result, Store, StoreError, clean, pg};
use crate::id::{Epoch, RunId, TaskIdx, VersionHash};
use crate::plan;
use crate::state::Reason;
use crate::state::run::RunState;

/// A run to create.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Chosen by the caller, so that a repeat after a lost answer finds the run of the first time.
    pub id: RunId,
    /// Flow.
    pub flow: String,
    /// Version it is pinned to; `None`: the current one.
    pub version: Option<VersionHash>,
    /// Why it exists: `schedule`, `manual`, `api`, `retry`, …
    pub trigger: String,
    /// Who asked for it; `system` for schedules.
    pub requester: String,
    /// Schedule and instant, for a tick.
    pub tick: Option<(String, Timestamp)>,
    /// Resolved params.
    pub params: BTreeMap<String, Value>,
}

/// What creating did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The run is there and moves.
    Started,
    /// The run is there, behind `max_active`.
    Queued,
    /// The run, or the run of this tick, was there before.
    Existed,
}

impl Store {
    /// Creates a run with all its task runs in one transaction, and starts it when `max_active` admits.
    pub async fn create_run(&self, new: NewRun, now: Timestamp) -> Result<Created> {
        let store = self.clone();
        self.transact(move |conn| {
            let (store, new) = (store.clone(), new.clone());
            Box::pin(async move { create(&store, conn, (&new, &Origin::default()), now).await })
        })
        .await
    }

    /// Cancels a run. `Ok(false)`: it had ended before.
    pub async fn cancel_run(&self, id: RunId, reason: Reason, now: Timestamp) -> Result<bool> {
        let store = self.clone();
        self.transact(move |conn| {
            let store = store.clone();
            Box::pin(async move {
                let locked = LockedRun::lock(&store, conn, id).await?;
                let mut run = locked.ok_or_else(|| StoreError::NotFound {
                    what: "run",
                    name: id.to_string(),
                })?;
                if run.view.state.is_terminal() {
                    return Ok(false);
                }
                run.load_all(conn).await?;
                run.cancel(reason, now)?;
                run.write(conn, now).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Starts queued runs, oldest first, of flows that have room. Answers how many.
    pub async fn admit_queued(&self, now: Timestamp) -> Result<usize> {
        let queued: Vec<(uuid::Uuid, String)> = sqlx::query_as(
            "select r.id, r.flow from active_run a join run r on r.id = a.run where r.state = 'queued' order by r.id",
        )
        .fetch_all(self.pool())
        .await?;
        let (mut started, mut full) = (0, BTreeSet::new());
        for (id, flow) in queued {
            if full.contains(&flow) {
                continue;
            }
            if self.admit(RunId(id), flow.clone(), now).await? {
                started += 1;
            } else {
                full.insert(flow);
            }
        }
        Ok(started)
    }

    async fn admit(&self, id: RunId, flow: String, now: Timestamp) -> Result<bool> {
        let store = self.clone();
        self.transact(move |conn| {
            let (store, flow) = (store.clone(), flow.clone());
            Box::pin(async move {
                lock_flow(conn, &flow).await?;
                let Some(mut run) = LockedRun::lock(&store, conn, id).await? else {
                    return Ok(false);
                };
                let standing = Standing::of(conn, &flow).await?;
                if run.view.state != RunState::Queued || !standing.admits(run.flow.max_active) {
                    return Ok(false);
                }
                run.load_all(conn).await?;
                run.start(now)?;
                run.write(conn, now).await?;
                Ok(true)
            })
        })
        .await
    }
}

/// What makes a run more than a plain new one.
#[derive(Debug, Clone, Default)]
pub(super) struct Origin {
    /// The run it retries.
    pub retry_of: Option<RunId>,
    /// Due instant that the retried run stood for.
    pub scheduled_for: Option<Timestamp>,
    /// What had succeeded there.
    pub carried: BTreeMap<TaskIdx, Carried>,
    /// It starts whatever else runs.
    pub regardless: bool,
}

/// The attempt that a carried task run succeeded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carried {
    pub epoch: Epoch,
    pub attempt: u32,
}

/// Creates a run inside a transaction of the caller, and the row of its tick.
pub(super) async fn create(
    store: &Store,
    conn: &mut PgConnection,
    (new, origin): (&NewRun, &Origin),
    now: Timestamp,
) -> Result<Created> {
    lock_flow(conn, &new.flow).await?;
    let version = match &new.version {
        Some(version) => version.clone(),
        None => super::flows::current_version(conn, &new.flow).await?,
    };
    let flow = store.definition(conn, &version).await?;
    let standing = Standing::of(conn, &new.flow).await?;
    let head = insert_head(
        conn,
        (new, &version, origin),
        flow.graph.tasks().len() as i32,
        now,
    )
    .await?;
    note_tick(conn, new, now).await?;
    if !head {
        return Ok(Created::Existed);
    }
    let (view, mut tasks, plan) = plan::create(&flow.graph, &origin.carried.keys().copied().collect());
    for (idx, carried) in &origin.carried {
        if let Some(task) = tasks.get_mut(idx) {
            (task.epoch, task.attempt) = (carried.epoch, carried.attempt);
        }
    }
    let mut run = LockedRun::new(new.id, std::sync::Arc::clone(&flow), view, 1);
    run.tasks = tasks;
    run.record(&plan, &Details::new());
    let starts = origin.regardless || standing.has_room(flow.max_active);
    if starts {
        run.start(now)?;
    } else {
        bell::note(Rings::CHANGED | Rings::SCHEDULER);
    }
    run.write(conn, now).await?;
    Ok(if starts { Created::Started } else { Created::Queued })
}

/// The row that says what became of the tick: this run, or the one that was faster.
async fn note_tick(conn: &mut PgConnection, new: &NewRun, now: Timestamp) -> Result<()> {
    let Some((schedule, at)) = &new.tick else {
        return Ok(());
    };
    sqlx::query(
        "insert into tick (flow, schedule, scheduled_for, last, outcome, run, at)
         select flow, schedule, scheduled_for, scheduled_for, 'run', id, $4 from run
         where flow = $1 and schedule = $2 and scheduled_for = $3 on conflict do nothing",
    )
    .bind(&new.flow)
    .bind(schedule)
    .bind(pg(*at))
    .bind(pg(now))
    .execute(conn)
    .await?;
    Ok(())
}

/// Serialises admission to a flow.
async fn lock_flow(conn: &mut PgConnection, flow: &str) -> Result<()> {
    let found = sqlx::query("select 1 from flow where name = $1 for no key update")
        .bind(flow)
        .fetch_optional(conn)
        .await?;
    found.map(|_| ()).ok_or_else(|| StoreError::NotFound {
        what: "flow",
        name: flow.to_owned(),
    })
}

/// The runs of a flow that are not over, as far as admission asks. Those that wait for people do not count.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// `running` or `cancelling`.
    pub active: usize,
    /// Behind `max_active`.
    pub queued: usize,
    /// Those of them that a tick made.
    pub queued_ticks: usize,
    /// What a newer tick takes the place of under `overlap = "cancel_previous"`, by id.
    pub to_be_replaced: Vec<RunId>,
}

impl Standing {
    /// Counts under the flow's lock.
    pub(super) async fn of(conn: &mut PgConnection, flow: &str) -> Result<Self> {
        let rows: Vec<(uuid::Uuid, String, bool)> = sqlx::query_as(
            "select r.id, r.state::text, r.schedule is not null from active_run a join run r on r.id = a.run
             where a.flow = $1 and r.state in ('queued', 'running', 'cancelling') order by r.id",
        )
        .bind(flow)
        .fetch_all(conn)
        .await?;
        let mut standing = Self::default();
        for (id, state, of_tick) in rows {
            let queued = state == "queued";
            standing.active += usize::from(!queued);
            standing.queued += usize::from(queued);
            standing.queued_ticks += usize::from(queued && of_tick);
            if state == "running" || (queued && of_tick) {
                standing.to_be_replaced.push(RunId(id));
            }
        }
        Ok(standing)
    }

    /// Whether a new run may start now: there is room, and nobody waits for it.
    pub(super) fn has_room(&self, max_active: u32) -> bool {
        self.queued == 0 && self.admits(max_active)
    }

    /// Whether one that waits may start now.
    fn admits(&self, max_active: u32) -> bool {
        self.active < max_active as usize
    }
}

/// Inserts the run's row; `false` when the run, or another of the same tick, exists.
async fn insert_head(
    conn: &mut PgConnection,
    (new, version, origin): (&NewRun, &VersionHash, &Origin),
    open: i32,
    now: Timestamp,
) -> Result<bool> {
    let (schedule, at) = new.tick.clone().unzip();
    let params = clean(serde_json::to_value(&new.params).unwrap_or_default());
    let row = sqlx::query(
        "insert into run (id, flow, version, state, trigger, requester, schedule, scheduled_for, params,
                          created_at, open, active, retry_of)
         values ($1, $2, $3, 'queued', $4, $5, $6, $7, $8, $9, $10, 0, $11)
         on conflict do nothing returning id",
    )
    .bind(new.id.0)
    .bind(&new.flow)
    .bind(&version.0)
    .bind(&new.trigger)
    .bind(&new.requester)
    .bind(schedule)
    .bind(at.or(origin.scheduled_for).map(pg))
    .bind(Json(params))
    .bind(pg(now))
    .bind(open)
    .bind(origin.retry_of.map(|run| run.0))
    .fetch_optional(&mut *conn)
    .await?;
    if row.is_none() {
        return Ok(false);
    }
    sqlx::query("insert into active_run (run, flow) values ($1, $2)")
        .bind(new.id.0)
        .bind(&new.flow)
        .execute(conn)
        .await?;
    Ok(true)
}

/// State and reason of a run.
pub async fn state_of(store: &Store, id: RunId) -> Result<RunState> {
    let row = sqlx::query("select state::text as state from run where id = $1")
        .bind(id.0)
        .fetch_optional(store.pool())
        .await?
        .ok_or_else(|| StoreError::NotFound {
            what: "run",
            name: id.to_string(),
        })?;
    let word: String = row.try_get("state")?;
    RunState::parse(&word).ok_or(StoreError::Corrupt {
        what: "run state",
        why: word,
    })
}
