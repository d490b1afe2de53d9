//! Creating, admitting and cancelling runs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::locked::{Details, LockedRun};
use super::{Result, Store, StoreError, clean, pg};
use crate::id::{RunId, VersionHash};
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
            Box::pin(async move { create(&store, conn, &new, now).await })
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
        let mut started = 0;
        for (id, flow) in queued {
            started += usize::from(self.admit(RunId(id), flow, now).await?);
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
                if run.view.state != RunState::Queued || !has_room(conn, &flow, run.flow.max_active).await? {
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

/// Creates a run inside a transaction of the caller.
pub(super) async fn create(
    store: &Store,
    conn: &mut PgConnection,
    new: &NewRun,
    now: Timestamp,
) -> Result<Created> {
    lock_flow(conn, &new.flow).await?;
    let version = match &new.version {
        Some(version) => version.clone(),
        None => super::flows::current_version(conn, &new.flow).await?,
    };
    let flow = store.definition(conn, &version).await?;
    if !insert_head(conn, (new, &version), flow.graph.tasks().len() as i32, now).await? {
        return Ok(Created::Existed);
    }
    let (view, tasks, plan) = plan::create(&flow.graph, &BTreeSet::new());
    let mut run = LockedRun::new(new.id, std::sync::Arc::clone(&flow), view, 1);
    run.tasks = tasks;
    run.record(&plan, &Details::new());
    let room = has_room(conn, &new.flow, flow.max_active).await?;
    if room {
        run.start(now)?;
    }
    run.write(conn, now).await?;
    Ok(if room { Created::Started } else { Created::Queued })
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

/// Whether another run of the flow may be active. Waiting and queued runs do not count.
async fn has_room(conn: &mut PgConnection, flow: &str, max_active: u32) -> Result<bool> {
    let active: i64 = sqlx::query_scalar(
        "select count(*) from active_run a join run r on r.id = a.run
         where a.flow = $1 and r.state in ('running', 'cancelling')",
    )
    .bind(flow)
    .fetch_one(conn)
    .await?;
    Ok(active < i64::from(max_active))
}

/// Inserts the run's row; `false` when the run, or another of the same tick, exists.
async fn insert_head(
    conn: &mut PgConnection,
    (new, version): (&NewRun, &VersionHash),
    open: i32,
    now: Timestamp,
) -> Result<bool> {
    let (schedule, at) = new.tick.clone().unzip();
    let params = clean(serde_json::to_value(&new.params).unwrap_or_default());
    let row = sqlx::query(
        "insert into run (id, flow, version, state, trigger, requester, schedule, scheduled_for, params,
                          created_at, open, active)
         values ($1, $2, $3, 'queued', $4, $5, $6, $7, $8, $9, $10, 0)
         on conflict do nothing returning id",
    )
    .bind(new.id.0)
    .bind(&new.flow)
    .bind(&version.0)
    .bind(&new.trigger)
    .bind(&new.requester)
    .bind(schedule)
    .bind(at.map(pg))
    .bind(Json(params))
    .bind(pg(now))
    .bind(open)
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
