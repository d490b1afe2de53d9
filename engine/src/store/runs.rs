//! Creating, admitting and cancelling runs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::backfills::Filling;
use super::bell::{self, Rings};
use super::locked::{self, Details, LockedRun};
use super::{Result, Store, StoreError, clean, emergencies, pg};
use crate::id::{RunId, TaskIdx, VersionHash};
use crate::plan::{self, Carried};
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
        let queued: Vec<(uuid::Uuid, String, bool)> = sqlx::query_as(
            "select r.id, r.flow, r.trigger = 'backfill' from active_run a join run r on r.id = a.run
             where r.state = 'queued' and not r.urgent order by r.id",
        )
        .fetch_all(self.pool())
        .await?;
        let (mut started, mut full) = (0, BTreeSet::new());
        for (id, flow, fills) in queued {
            if full.contains(&(flow.clone(), fills)) {
                continue;
            }
            if self.admit(RunId(id), (flow.clone(), fills), now).await? {
                started += 1;
            } else {
                full.insert((flow, fills));
            }
        }
        Ok(started)
    }

    /// `fills`: the run belongs to a backfill, which has places of its own.
    async fn admit(&self, id: RunId, (flow, fills): (String, bool), now: Timestamp) -> Result<bool> {
        let store = self.clone();
        self.transact(move |conn| {
            let (store, flow) = (store.clone(), flow.clone());
            Box::pin(async move {
                lock_flow(conn, &flow).await?;
                let Some(mut run) = LockedRun::lock(&store, conn, id).await? else {
                    return Ok(false);
                };
                let standing = Standing::of(conn, (&flow, fills)).await?;
                let most = match fills {
                    true => places_of_backfill(conn, id).await?.unwrap_or(run.flow.max_active),
                    false => run.flow.max_active,
                };
                if run.view.state != RunState::Queued || !standing.admits(most) {
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
    /// It takes nothing from the cache.
    pub no_cache: bool,
    /// Why it goes before everything else, once a second person says so.
    pub emergency: Option<String>,
    /// The past tick that it stands for.
    pub filling: Option<Filling>,
}

/// Creates a run inside a transaction of the caller, and the row of its tick.
pub(super) async fn create(
    store: &Store,
    conn: &mut PgConnection,
    (new, origin): (&NewRun, &Origin),
    now: Timestamp,
) -> Result<Created> {
    let Admission { version, .. } = lock_flow(conn, &new.flow).await?;
    let version = new.version.clone().unwrap_or(version);
    create_locked(store, conn, (new, &version, origin), now).await
}

/// Creates a run of a flow that this transaction has locked.
pub(super) async fn create_locked(
    store: &Store,
    conn: &mut PgConnection,
    (new, version, origin): (&NewRun, &VersionHash, &Origin),
    now: Timestamp,
) -> Result<Created> {
    let Some(run) = draft(store, conn, (new, version, origin), now).await? else {
        return Ok(Created::Existed);
    };
    let created = match run.view.state {
        RunState::Queued => Created::Queued,
        _ => Created::Started,
    };
    locked::write_new(conn, &[run], now).await?;
    Ok(created)
}

/// Inserts the rows of a run and its tick; task runs and events are left to [`locked::write_new`]. `None`: the run, or that of
/// its tick, was there before.
pub(super) async fn draft(
    store: &Store,
    conn: &mut PgConnection,
    (new, version, origin): (&NewRun, &VersionHash, &Origin),
    now: Timestamp,
) -> Result<Option<LockedRun>> {
    let flow = store.definition(conn, version).await?;
    if let Some(filling) = &origin.filling
        && filling.is_taken(conn, &new.flow).await?
    {
        return Ok(None);
    }
    let starts = starts_now(conn, (new, origin), flow.max_active).await?;
    let (view, mut tasks, plan) = plan::create(&flow.graph, &origin.carried.keys().copied().collect());
    for (idx, carried) in &origin.carried {
        if let Some(task) = tasks.get_mut(idx) {
            (task.epoch, task.attempt) = (carried.epoch, carried.attempt);
        }
    }
    let mut run = LockedRun::new(new.id, flow, view, 1);
    run.tasks = tasks;
    run.urgent = origin.emergency.is_some();
    run.record(&plan, &Details::new());
    if starts {
        run.start(now)?;
    } else {
        bell::note(Rings::CHANGED | Rings::SCHEDULER);
    }
    let head = insert_head(conn, (new, version, origin), &run, now).await?;
    note_tick(conn, new, now).await?;
    if !head {
        return Ok(None);
    }
    if let Some(filling) = &origin.filling {
        filling.take(conn, new).await?;
    }
    if let Some(reason) = &origin.emergency {
        emergencies::declare(conn, (new.id, reason), (&new.requester, now)).await?;
    }
    Ok(Some(run))
}

/// Whether a new run of a flow that is locked begins at once. An emergency waits for a second person.
async fn starts_now(
    conn: &mut PgConnection,
    (new, origin): (&NewRun, &Origin),
    max_active: u32,
) -> Result<bool> {
    if origin.emergency.is_some() || origin.regardless {
        return Ok(origin.emergency.is_none());
    }
    let standing = Standing::of(conn, (&new.flow, origin.filling.is_some())).await?;
    let most = origin.filling.as_ref().and_then(|filling| filling.max_active);
    Ok(standing.has_room(most.unwrap_or(max_active)))
}

/// How many runs of its backfill may run at once; `None`: as many as the flow says.
async fn places_of_backfill(conn: &mut PgConnection, run: RunId) -> Result<Option<u32>> {
    let most: Option<Option<i32>> = sqlx::query_scalar("select max_active from backfill where run = $1")
        .bind(run.0)
        .fetch_optional(conn)
        .await?;
    Ok(most.flatten().map(i32::unsigned_abs))
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

/// What a lock on a flow shows.
pub(super) struct Admission {
    /// Its current version.
    pub version: VersionHash,
    /// It was removed: nobody asks for a run of it any more.
    pub removed: bool,
    /// A freeze window stops the flow itself.
    pub frozen: bool,
}

/// Serialises admission to a flow.
pub(super) async fn lock_flow(conn: &mut PgConnection, flow: &str) -> Result<Admission> {
    let found: Option<(String, bool, bool)> = sqlx::query_as(
        "select version, removed_at is not null, exists (
           select from freeze_window z where z.flow = flow.name and z.ended_at is null
             and z.from_at <= clock_timestamp() and z.until_at > clock_timestamp())
         from flow where name = $1 for no key update",
    )
    .bind(flow)
    .fetch_optional(conn)
    .await?;
    let admission = |(version, removed, frozen)| Admission {
        version: VersionHash(version),
        removed,
        frozen,
    };
    found.map(admission).ok_or_else(|| StoreError::NotFound {
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
    /// A freeze window stops the flow itself.
    pub frozen: bool,
}

impl Standing {
    /// Counts under the flow's lock; the runs of backfills (`fills`) and the others have places of their own. An emergency that waits for
    /// a second person stands in nobody's way.
    pub(super) async fn of(conn: &mut PgConnection, (flow, fills): (&str, bool)) -> Result<Self> {
        let (active, queued, queued_ticks, frozen): (i64, i64, i64, bool) = sqlx::query_as(
            "select count(*) filter (where r.state in ('running', 'cancelling')),
               count(*) filter (where r.state = 'queued' and not r.urgent),
               count(*) filter (where r.state = 'queued' and r.schedule is not null),
               exists (select from freeze_window z where z.flow = $1 and z.ended_at is null
                         and z.from_at <= clock_timestamp() and z.until_at > clock_timestamp())
             from active_run a join run r on r.id = a.run where a.flow = $1 and (r.trigger = 'backfill') = $2",
        )
        .bind(flow)
        .bind(fills)
        .fetch_one(conn)
        .await?;
        Ok(Self {
            active: active as usize,
            queued: queued as usize,
            queued_ticks: queued_ticks as usize,
            frozen,
        })
    }

    /// What a newer tick takes the place of under `overlap = "cancel_previous"`, by id.
    pub(super) async fn to_be_replaced(conn: &mut PgConnection, flow: &str) -> Result<Vec<RunId>> {
        let runs: Vec<uuid::Uuid> = sqlx::query_scalar(
            "select r.id from active_run a join run r on r.id = a.run
             where a.flow = $1 and r.trigger <> 'backfill' and (r.state = 'running' or (r.state = 'queued' and r.schedule is not null))
             order by r.id",
        )
        .bind(flow)
        .fetch_all(conn)
        .await?;
        Ok(runs.into_iter().map(RunId).collect())
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

/// Inserts the run's row as it begins; `false` when the run, or another of the same tick, exists.
async fn insert_head(
    conn: &mut PgConnection,
    (new, version, origin): (&NewRun, &VersionHash, &Origin),
    run: &LockedRun,
    now: Timestamp,
) -> Result<bool> {
    let (schedule, at) = new.tick.clone().unzip();
    let params = clean(serde_json::to_value(&new.params).unwrap_or_default());
    let row = sqlx::query(
        "with made as (
           insert into run (id, flow, version, state, trigger, requester, schedule, scheduled_for, params, created_at,
             retry_of, open, active, seen, next_seq, started_at, finished_at, no_cache, urgent)
           values ($1, $2, $3, $12::text::run_state, $4, $5, $6, $7, $8, $9, $10, $11, $13, $14, $15,
             case when $12 <> 'queued' then $9 end, case when $16 then $9 end, $17, $18)
           on conflict do nothing returning id, flow, finished_at),
         moves as (insert into active_run (run, flow) select id, flow from made where finished_at is null)
         select id from made",
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
    .bind(origin.retry_of.map(|run| run.0))
    .bind(run.view.open as i32)
    .bind(run.view.state.as_str())
    .bind(run.view.active as i32)
    .bind(run.view.seen.0)
    .bind(run.next_seq())
    .bind(run.view.state.is_terminal())
    .bind(origin.no_cache)
    .bind(run.urgent)
    .fetch_optional(conn)
    .await?;
    Ok(row.is_some())
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
