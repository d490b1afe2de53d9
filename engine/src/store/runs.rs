//! Creating and cancelling runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::admission::{self, Admission};
use super::backfills::Filling;
use super::bell::{self, Rings};
use super::locked::{self, Details, LockedRun};
use super::{Result, Store, StoreError, clean, emergencies, pg};
use crate::graph::Flow;
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

    /// Cancels a run, and what it made and waits for. `Ok(false)`: it had ended before.
    pub async fn cancel_run(&self, id: RunId, reason: Reason, now: Timestamp) -> Result<bool> {
        let stopped = self.cancel_one(id, reason, now).await?;
        // What fails here is left to the scheduler.
        if let Err(error) = self.stop_orphans(now).await {
            tracing::warn!(
                error = crate::plugin::chain(&error),
                "sub-runs could not be stopped yet"
            );
        }
        Ok(stopped)
    }

    /// Cancels a run, alone.
    pub(super) async fn cancel_one(&self, id: RunId, reason: Reason, now: Timestamp) -> Result<bool> {
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
    /// It goes before everything else, like the emergency that made it.
    pub urgent: bool,
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
    let Admission { version, .. } = admission::lock_flow(conn, &new.flow).await?;
    let version = new.version.clone().unwrap_or(version);
    let Some(run) = draft(store, conn, (new, &version, origin), now).await? else {
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
    let starts = admission::starts_now(conn, (new, origin), flow.max_active).await?;
    let run = begin((new, origin), (flow, starts), now)?;
    store.lately.meet(run.id, &run.flow);
    let made = insert_heads(
        conn,
        &[Head {
            new,
            version,
            origin,
            run: &run,
        }],
        now,
    )
    .await?;
    note_tick(conn, new, now).await?;
    if made.is_empty() {
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

/// A new run as it begins: started, or queued.
pub(super) fn begin(
    (new, origin): (&NewRun, &Origin),
    (flow, starts): (Arc<Flow>, bool),
    now: Timestamp,
) -> Result<LockedRun> {
    let (view, mut tasks, plan) = plan::create(&flow.graph, &origin.carried.keys().copied().collect());
    for (idx, carried) in &origin.carried {
        if let Some(task) = tasks.get_mut(idx) {
            (task.epoch, task.attempt) = (carried.epoch, carried.attempt);
        }
    }
    let mut run = LockedRun::new(new.id, flow, view, 1);
    run.tasks = tasks;
    run.urgent = origin.urgent || origin.emergency.is_some();
    run.record(&plan, &Details::new());
    if starts {
        run.start(now)?;
    } else {
        bell::note(Rings::CHANGED | Rings::SCHEDULER);
    }
    Ok(run)
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

/// A run whose row is to be inserted.
pub(super) struct Head<'a> {
    pub new: &'a NewRun,
    pub version: &'a VersionHash,
    pub origin: &'a Origin,
    pub run: &'a LockedRun,
}

/// Inserts the rows of runs as they begin; answers those that were made. The others, or the runs of their ticks, exist.
pub(super) async fn insert_heads(
    conn: &mut PgConnection,
    heads: &[Head<'_>],
    now: Timestamp,
) -> Result<BTreeSet<RunId>> {
    let news = || heads.iter().map(|head| head.new);
    let runs = || heads.iter().map(|head| head.run);
    let views = || runs().map(|run| &run.view);
    let origins = || heads.iter().map(|head| head.origin);
    let schedules = news().map(|new| new.tick.as_ref().map(|(schedule, _)| schedule.as_str()));
    let due = heads.iter().map(|head| {
        let tick = head.new.tick.as_ref().map(|(_, at)| *at);
        tick.or(head.origin.scheduled_for).map(pg)
    });
    let params = news().map(|new| clean(serde_json::to_value(&new.params).unwrap_or_default()));
    let made: Vec<Uuid> = sqlx::query_scalar(INSERT_HEADS)
        .bind(pg(now))
        .bind(news().map(|new| new.id.0).collect::<Vec<_>>())
        .bind(news().map(|new| new.flow.as_str()).collect::<Vec<_>>())
        .bind(
            heads
                .iter()
                .map(|head| head.version.0.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(views().map(|view| view.state.as_str()).collect::<Vec<_>>())
        .bind(news().map(|new| new.trigger.as_str()).collect::<Vec<_>>())
        .bind(news().map(|new| new.requester.as_str()).collect::<Vec<_>>())
        .bind(schedules.collect::<Vec<_>>())
        .bind(due.collect::<Vec<_>>())
        .bind(params.collect::<Vec<_>>())
        .bind(
            origins()
                .map(|origin| origin.retry_of.map(|run| run.0))
                .collect::<Vec<_>>(),
        )
        .bind(views().map(|view| view.open as i32).collect::<Vec<_>>())
        .bind(views().map(|view| view.active as i32).collect::<Vec<_>>())
        .bind(views().map(|view| view.seen.0).collect::<Vec<_>>())
        .bind(runs().map(LockedRun::next_seq).collect::<Vec<_>>())
        .bind(views().map(|view| view.state.is_terminal()).collect::<Vec<_>>())
        .bind(origins().map(|origin| origin.no_cache).collect::<Vec<_>>())
        .bind(runs().map(|run| run.urgent).collect::<Vec<_>>())
        .fetch_all(conn)
        .await?;
    Ok(made.into_iter().map(RunId).collect())
}

const INSERT_HEADS: &str = "with made as (
       insert into run (id, flow, version, state, trigger, requester, schedule, scheduled_for, params, created_at,
         retry_of, open, active, seen, next_seq, started_at, finished_at, no_cache, urgent)
       select id, flow, version, state::run_state, trigger, requester, schedule, scheduled_for, params, $1,
         retry_of, open, active, seen, next_seq, case when state <> 'queued' then $1 end, case when over then $1 end,
         no_cache, urgent
       from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::timestamptz[],
                   $10::jsonb[], $11::uuid[], $12::int[], $13::int[], $14::smallint[], $15::bigint[], $16::boolean[],
                   $17::boolean[], $18::boolean[])
         as u(id, flow, version, state, trigger, requester, schedule, scheduled_for, params, retry_of, open, active, seen,
              next_seq, over, no_cache, urgent)
       on conflict do nothing returning id, flow, finished_at),
     moves as (insert into active_run (run, flow) select id, flow from made where finished_at is null)
     select id from made";

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
