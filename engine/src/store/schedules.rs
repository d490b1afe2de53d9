//! Schedules of flows, as rows whose cursor says up to where every tick has its outcome.
//!
//! What is due is settled before a schedule is changed, by what it said until then: an edit neither loses a tick nor fires the past.

use jiff::Timestamp;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::bell::{self, Rings};
use super::{Result, Store, StoreError, instant, maybe_instant, pg, ticks};
use crate::graph::{Flow, ScheduleSpec};
use crate::schedule::{Cron, Timetable, find_zone};

/// A schedule whose row is locked by this transaction.
#[derive(Debug, Clone)]
pub(super) struct Locked {
    pub(super) flow: String,
    pub(super) name: String,
    pub(super) spec: serde_json::Value,
    pub(super) cursor: Timestamp,
    pub(super) effective_from: Timestamp,
    pub(super) paused_at: Option<Timestamp>,
}

impl Locked {
    /// Locks a schedule of a flow; with `None`, all of them.
    pub(super) async fn lock(conn: &mut PgConnection, flow: &str, name: Option<&str>) -> Result<Vec<Self>> {
        let rows = sqlx::query(
            "select flow, name, spec, cursor_at, effective_from, paused_at from schedule
             where flow = $1 and ($2::text is null or name = $2) order by name for no key update",
        )
        .bind(flow)
        .bind(name)
        .fetch_all(conn)
        .await?;
        rows.iter().map(Self::of).collect()
    }

    /// The schedules of a flow, unlocked: to be looked at.
    pub(super) async fn look(conn: &mut PgConnection, flow: &str) -> Result<Vec<Self>> {
        let rows = sqlx::query(
            "select flow, name, spec, cursor_at, effective_from, paused_at from schedule where flow = $1 order by name",
        )
        .bind(flow)
        .fetch_all(conn)
        .await?;
        rows.iter().map(Self::of).collect()
    }

    /// Locks schedules by flow and name.
    pub(super) async fn lock_all(conn: &mut PgConnection, which: &[&(String, String)]) -> Result<Vec<Self>> {
        let (flows, names): (Vec<&str>, Vec<&str>) = which
            .iter()
            .map(|(flow, name)| (flow.as_str(), name.as_str()))
            .unzip();
        let rows = sqlx::query(
            "select s.flow, s.name, s.spec, s.cursor_at, s.effective_from, s.paused_at
             from unnest($1::text[], $2::text[]) as u(flow, name)
             join schedule s on s.flow = u.flow and s.name = u.name
             order by s.flow, s.name for no key update of s",
        )
        .bind(flows)
        .bind(names)
        .fetch_all(conn)
        .await?;
        rows.iter().map(Self::of).collect()
    }

    fn of(row: &sqlx::postgres::PgRow) -> Result<Self> {
        Ok(Self {
            flow: row.try_get("flow")?,
            name: row.try_get("name")?,
            spec: row.try_get("spec")?,
            cursor: instant(row, "cursor_at")?,
            effective_from: instant(row, "effective_from")?,
            paused_at: maybe_instant(row, "paused_at")?,
        })
    }

    /// What it says. An error is what no check lets through: it is of another version of this program.
    pub(super) fn read(&self) -> Result<(ScheduleSpec, Timetable)> {
        let corrupt = |why: String| StoreError::Corrupt {
            what: "schedule",
            why,
        };
        let spec: ScheduleSpec =
            serde_json::from_value(self.spec.clone()).map_err(|e| corrupt(e.to_string()))?;
        let cron = Cron::parse(&spec.cron, spec.dom_dow).map_err(|e| corrupt(e.to_string()))?;
        let zone = find_zone(&spec.timezone).map_err(|e| corrupt(e.to_string()))?;
        Ok((spec, Timetable::new(cron, zone)))
    }

    /// Moves the cursor on, never back.
    pub(super) async fn move_on(
        &self,
        conn: &mut PgConnection,
        (cursor, next): (Timestamp, Option<Timestamp>),
    ) -> Result<()> {
        sqlx::query(
            "update schedule set cursor_at = greatest(cursor_at, $3), next_at = $4, error = null
             where flow = $1 and name = $2",
        )
        .bind(&self.flow)
        .bind(&self.name)
        .bind(pg(cursor))
        .bind(next.map(pg))
        .execute(conn)
        .await?;
        Ok(())
    }
}

impl Store {
    /// Pauses or resumes a schedule. What falls due while it is paused is one skipped range, recorded when it is resumed; it never
    /// runs. `Ok(false)`: there is no such schedule.
    pub async fn pause_schedule(
        &self,
        (flow, name): (&str, &str),
        paused: bool,
        now: Timestamp,
    ) -> Result<bool> {
        let (flow, name) = (flow.to_owned(), name.to_owned());
        self.transact(move |conn| {
            let (flow, name) = (flow.clone(), name.clone());
            Box::pin(async move {
                let Some(schedule) = Locked::lock(conn, &flow, Some(&name)).await?.pop() else {
                    return Ok(false);
                };
                if schedule.paused_at.is_some() && !paused {
                    ticks::skip_paused(conn, &schedule, now).await?;
                }
                set_paused(conn, &schedule, paused.then_some(now)).await?;
                bell::note(Rings::SCHEDULER | Rings::CHANGED);
                Ok(true)
            })
        })
        .await
    }

    /// Notes why a schedule does not fire. It is tried again in a minute, and at once when it is edited.
    pub async fn break_schedule(&self, (flow, name): (&str, &str), why: &str, now: Timestamp) -> Result<()> {
        sqlx::query(
            "update schedule set error = $3, next_at = $4::timestamptz + interval '1 minute' where flow = $1 and name = $2",
        )
        .bind(flow)
        .bind(name)
        .bind(why)
        .bind(pg(now))
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Computes every next due instant anew: the rules of a zone may be others than when they were computed.
    pub async fn refresh_schedules(&self) -> Result<()> {
        sqlx::query("update schedule set next_at = null where paused_at is null and error is null")
            .execute(self.pool())
            .await?;
        Ok(())
    }
}

async fn set_paused(conn: &mut PgConnection, schedule: &Locked, at: Option<Timestamp>) -> Result<()> {
    sqlx::query(
        "update schedule set paused_at = case when $3::timestamptz is null then null else coalesce(paused_at, $3) end,
           next_at = null where flow = $1 and name = $2",
    )
    .bind(&schedule.flow)
    .bind(&schedule.name)
    .bind(at.map(pg))
    .execute(conn)
    .await?;
    Ok(())
}

/// Settles what is due of all schedules of a flow that is about to change, by what they say now.
pub(super) async fn settle_all(
    store: &Store,
    conn: &mut PgConnection,
    flow: &str,
    now: Timestamp,
) -> Result<()> {
    for schedule in Locked::lock(conn, flow, None).await? {
        let settled = if schedule.paused_at.is_some() {
            ticks::skip_paused(conn, &schedule, now).await
        } else {
            ticks::settle(store, conn, &schedule, now).await.map(drop)
        };
        match settled {
            Err(error @ StoreError::Database(_)) => return Err(error),
            // A schedule that cannot be read is about to be replaced by one that can.
            Err(error) => tracing::warn!(flow, schedule = schedule.name, %error, "nothing of it was due"),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Brings the schedules of a flow in step with its file. A new or edited one never fires the past: it counts from now.
pub(super) async fn replace(conn: &mut PgConnection, flow: &Flow, now: Timestamp) -> Result<()> {
    let names: Vec<&str> = flow.schedules.iter().map(|s| s.name.as_str()).collect();
    sqlx::query("delete from schedule where flow = $1 and name <> all($2)")
        .bind(flow.name.as_str())
        .bind(&names)
        .execute(&mut *conn)
        .await?;
    for spec in &flow.schedules {
        sqlx::query(
            "insert into schedule (flow, name, spec, cursor_at, effective_from) values ($1, $2, $3, $4, $4)
             on conflict (flow, name) do update
               set spec = $3, cursor_at = greatest(schedule.cursor_at, $4), effective_from = $4,
                   next_at = null, error = null
               where schedule.spec is distinct from $3",
        )
        .bind(flow.name.as_str())
        .bind(spec.name.as_str())
        .bind(Json(spec))
        .bind(pg(now))
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Forgets the schedules of a flow that was removed before and comes back: what fell due meanwhile is no tick.
pub(super) async fn forget(conn: &mut PgConnection, flow: &str) -> Result<()> {
    sqlx::query("delete from schedule where flow = $1")
        .bind(flow)
        .execute(conn)
        .await?;
    Ok(())
}
