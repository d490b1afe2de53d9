//! Runs for past ticks: one for each tick that made none, however often it is asked for.
//!
//! They queue among themselves and take no place of runs that are due (`admission.rs`, [`super::admission::Standing`]).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::PgConnection;
use uuid::Uuid;

use super::runs::{Created, NewRun, Origin};
use super::schedules::Locked;
use super::{Result, Store, StoreError, flows, pg, runs};
use crate::clock;
use crate::id::RunId;
use crate::spec::params;
use crate::view::BackfillTick;

/// Ticks of one request at most.
pub const MOST: usize = 1_000;

/// A request for runs of past ticks.
#[derive(Debug, Clone)]
pub struct Backfill {
    /// Flow.
    pub flow: String,
    /// Its schedule; `None`: the only one.
    pub schedule: Option<String>,
    /// Ticks after this instant.
    pub after: Timestamp,
    /// Ticks up to this instant.
    pub to: Timestamp,
    /// Its runs at once; `None`: as many as the flow's `max_active`.
    pub max_active: Option<u32>,
    /// Who asks.
    pub actor: String,
}

/// The place of a backfill's run.
#[derive(Debug, Clone)]
pub(super) struct Filling {
    pub schedule: String,
    pub at: Timestamp,
    pub max_active: Option<u32>,
}

impl Filling {
    /// Takes the place of a tick for a run; `false`: another has it. The caller holds the flow's lock.
    pub(super) async fn take(&self, conn: &mut PgConnection, new: &NewRun) -> Result<bool> {
        let taken = sqlx::query(
            "insert into backfill (flow, schedule, scheduled_for, run, max_active) values ($1, $2, $3, $4, $5)
             on conflict do nothing",
        )
        .bind(&new.flow)
        .bind(&self.schedule)
        .bind(pg(self.at))
        .bind(new.id.0)
        .bind(self.max_active.map(|most| most as i32))
        .execute(conn)
        .await?;
        Ok(taken.rows_affected() == 1)
    }

    /// Whether a run stands for the tick already.
    pub(super) async fn is_taken(&self, conn: &mut PgConnection, flow: &str) -> Result<bool> {
        let found =
            sqlx::query("select 1 from backfill where flow = $1 and schedule = $2 and scheduled_for = $3");
        let found = found.bind(flow).bind(&self.schedule).bind(pg(self.at));
        Ok(found.fetch_optional(conn).await?.is_some())
    }
}

impl Store {
    /// The past ticks that are meant, oldest first, each with the run that stands for it. `Refused`: which schedule is not clear, or there
    /// are too many ticks.
    pub async fn backfill_ticks(&self, wanted: &Backfill, now: Timestamp) -> Result<Vec<BackfillTick>> {
        let mut conn = self.pool().acquire().await?;
        let (schedule, timetable) = meant(&mut conn, wanted).await?;
        let ticks = timetable.between(wanted.after, wanted.to.min(now), MOST + 1);
        if ticks.len() > MOST {
            return Err(refused(format!(
                "these are more than {MOST} ticks; take a shorter time at once"
            )));
        }
        let known: Vec<(jiff_sqlx::Timestamp, Uuid, String)> = sqlx::query_as(
            "select scheduled_for, run, 'schedule' from tick
             where flow = $1 and schedule = $2 and outcome = 'run' and scheduled_for > $3 and scheduled_for <= $4
             union all
             select scheduled_for, run, 'backfill' from backfill
             where flow = $1 and schedule = $2 and scheduled_for > $3 and scheduled_for <= $4",
        )
        .bind(&wanted.flow)
        .bind(&schedule)
        .bind(pg(wanted.after))
        .bind(pg(wanted.to))
        .fetch_all(&mut *conn)
        .await?;
        let known: BTreeMap<Timestamp, (Uuid, String)> = known
            .into_iter()
            .map(|(at, run, by)| (at.to_jiff(), (run, by)))
            .collect();
        let tick = |at: Timestamp| {
            let (run, made_by) = known.get(&at).cloned().unzip();
            BackfillTick {
                schedule: schedule.clone(),
                scheduled_for: at,
                run,
                made_by,
            }
        };
        Ok(ticks.into_iter().map(|due| tick(due.at)).collect())
    }

    /// Makes the runs that are missing, each in a transaction of its own; answers all ticks that are meant.
    pub async fn backfill(&self, wanted: &Backfill, now: Timestamp) -> Result<Vec<BackfillTick>> {
        for tick in self.backfill_ticks(wanted, now).await? {
            if tick.run.is_some() {
                continue;
            }
            let (store, wanted, id) = (self.clone(), wanted.clone(), clock::new_run_id());
            self.transact(move |conn| {
                let (store, wanted, tick) = (store.clone(), wanted.clone(), tick.clone());
                Box::pin(async move { fill(&store, conn, (&wanted, &tick, id), now).await })
            })
            .await?;
        }
        self.backfill_ticks(wanted, now).await
    }
}

async fn fill(
    store: &Store,
    conn: &mut PgConnection,
    (wanted, tick, id): (&Backfill, &BackfillTick, RunId),
    now: Timestamp,
) -> Result<Created> {
    let version = flows::current_version(conn, &wanted.flow).await?;
    let flow = store.definition(conn, &version).await?;
    let spec = flow
        .schedules
        .iter()
        .find(|spec| spec.name.as_str() == tick.schedule);
    let given: Map<String, Value> =
        spec.map_or_else(Map::new, |spec| spec.params.clone().into_iter().collect());
    let params = params::resolve(&flow, given).map_err(|problems| {
        let told: BTreeSet<String> = problems.iter().map(ToString::to_string).collect();
        refused(told.into_iter().collect::<Vec<_>>().join("; "))
    })?;
    let new = NewRun {
        id,
        flow: wanted.flow.clone(),
        version: Some(version),
        trigger: "backfill".to_owned(),
        requester: wanted.actor.clone(),
        tick: None,
        params,
    };
    let origin = Origin {
        scheduled_for: Some(tick.scheduled_for),
        filling: Some(Filling {
            schedule: tick.schedule.clone(),
            at: tick.scheduled_for,
            max_active: wanted.max_active,
        }),
        ..Origin::default()
    };
    runs::create(store, conn, (&new, &origin), now).await
}

/// The schedule that is meant, and its timetable.
async fn meant(conn: &mut PgConnection, wanted: &Backfill) -> Result<(String, crate::schedule::Timetable)> {
    let all = Locked::look(conn, &wanted.flow).await?;
    let names: Vec<&str> = all.iter().map(|schedule| schedule.name.as_str()).collect();
    let found = match &wanted.schedule {
        Some(name) => all.iter().find(|schedule| schedule.name == *name),
        None if all.len() > 1 => {
            return Err(refused(format!(
                "flow `{}` has the schedules {}; say which with --schedule",
                wanted.flow,
                names.join(", ")
            )));
        }
        None => all.first(),
    };
    let Some(found) = found else {
        let name = wanted.schedule.as_deref().unwrap_or("of any name");
        let known = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        return Err(refused(format!(
            "flow `{}` has no schedule {name}; it has {known}",
            wanted.flow
        )));
    };
    let (_, timetable) = found.read()?;
    Ok((found.name.clone(), timetable))
}

fn refused(why: String) -> StoreError {
    StoreError::Refused { why }
}
