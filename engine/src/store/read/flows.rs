//! Flows, schedules and workers.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::super::{Result, Store, instant, maybe_instant, pg};
use super::runs::COLUMNS;
use crate::graph::{Flow, ScheduleSpec};
use crate::id::VersionHash;
use crate::schedule::{Cron, Timetable, find_zone};
use crate::store::leases::LEASE;
use crate::view::{FlowSummary, RunSummary, Schedule, Tick, Worker};

/// Fires that are shown ahead.
const AHEAD: usize = 5;

impl Store {
    /// Flows that were not removed, by name.
    pub async fn flows(&self, now: Timestamp) -> Result<Vec<FlowSummary>> {
        let flows = self.flow_summaries(None, now).await?;
        Ok(flows.into_iter().map(|(summary, _)| summary).collect())
    }

    /// One flow with its sealed current version; `None`: no such flow.
    pub async fn flow(&self, name: &str, now: Timestamp) -> Result<Option<(FlowSummary, Arc<Flow>)>> {
        Ok(self.flow_summaries(Some(name), now).await?.pop())
    }

    async fn flow_summaries(
        &self,
        only: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<(FlowSummary, Arc<Flow>)>> {
        let mut conn = self.pool().acquire().await?;
        let mut schedules = by_flow(schedules(&mut conn, (only, now)).await?, |s| &s.flow);
        let mut recent = by_flow(self.recent(&mut conn, (only, now)).await?, |r| &r.flow);
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "select f.name, f.version, v.number from flow f join flow_version v on v.hash = f.version
             where f.removed_at is null and ($1::text is null or f.name = $1) order by f.name",
        )
        .bind(only)
        .fetch_all(&mut *conn)
        .await?;
        let mut flows = Vec::with_capacity(rows.len());
        for (name, version, number) in rows {
            let flow = self.definition(&mut conn, &VersionHash(version.clone())).await?;
            let summary = FlowSummary {
                schedules: schedules.remove(&name).unwrap_or_default(),
                recent: recent.remove(&name).unwrap_or_default(),
                name,
                version,
                number,
                description: flow.description.clone(),
                owner: flow.owner.clone(),
                tags: flow.tags.clone(),
            };
            flows.push((summary, flow));
        }
        Ok(flows)
    }

    async fn recent(
        &self,
        conn: &mut PgConnection,
        (only, now): (Option<&str>, Timestamp),
    ) -> Result<Vec<RunSummary>> {
        let sql = format!(
            "select {COLUMNS} from flow f
             cross join lateral (select * from run where run.flow = f.name order by run.id desc limit 20) r
             join flow_version v on v.hash = r.version
             where f.removed_at is null and ($2::text is null or f.name = $2) order by f.name, r.id desc"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(pg(now))
            .bind(only)
            .fetch_all(&mut *conn)
            .await?;
        self.summaries(conn, (&rows, now)).await
    }

    /// All schedules, by flow and name.
    pub async fn schedules(&self, now: Timestamp) -> Result<Vec<Schedule>> {
        let mut conn = self.pool().acquire().await?;
        schedules(&mut conn, (None, now)).await
    }

    /// Workers that are alive or were heard of within a day, newest first.
    pub async fn workers(&self) -> Result<Vec<Worker>> {
        let rows = sqlx::query(
            "select w.id, w.name, w.version, w.queues, w.slots, w.started_at, w.heartbeat_at, w.draining_at, w.stopped_at,
                    (select count(*) from lease l where l.worker = w.id) as busy,
                    w.stopped_at is null
                      and w.heartbeat_at > clock_timestamp() - $1 * interval '1 millisecond' as alive
             from worker w where w.heartbeat_at > clock_timestamp() - interval '1 day' order by w.id desc",
        )
        .bind(LEASE.as_millis() as f64)
        .fetch_all(self.pool())
        .await?;
        rows.iter().map(worker).collect()
    }
}

fn by_flow<T>(all: Vec<T>, flow: impl Fn(&T) -> &String) -> BTreeMap<String, Vec<T>> {
    let mut sorted: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for one in all {
        sorted.entry(flow(&one).clone()).or_default().push(one);
    }
    sorted
}

async fn schedules(conn: &mut PgConnection, (only, now): (Option<&str>, Timestamp)) -> Result<Vec<Schedule>> {
    let rows = sqlx::query(
        "select s.flow, s.name, s.spec, s.paused_at, s.error from schedule s join flow f on f.name = s.flow
         where f.removed_at is null and ($1::text is null or s.flow = $1) order by s.flow, s.name",
    )
    .bind(only)
    .fetch_all(&mut *conn)
    .await?;
    let mut ticks = ticks(conn, only).await?;
    let schedule = |row: &PgRow| -> Result<Schedule> {
        let key: (String, String) = (row.try_get("flow")?, row.try_get("name")?);
        let spec: Json<ScheduleSpec> = row.try_get("spec")?;
        let paused_at = maybe_instant(row, "paused_at")?;
        let (sentence, next) = ahead(&spec.0, now);
        Ok(Schedule {
            ticks: ticks.remove(&key).unwrap_or_default(),
            flow: key.0,
            name: key.1,
            cron: spec.0.cron,
            timezone: spec.0.timezone,
            sentence,
            next: if paused_at.is_none() { next } else { Vec::new() },
            paused_at,
            error: row.try_get("error")?,
        })
    };
    rows.iter().map(schedule).collect()
}

/// A schedule in words and its next fires; one that this program cannot read has neither.
fn ahead(spec: &ScheduleSpec, now: Timestamp) -> (String, Vec<Timestamp>) {
    let (Ok(cron), Ok(zone)) = (Cron::parse(&spec.cron, spec.dom_dow), find_zone(&spec.timezone)) else {
        return (String::new(), Vec::new());
    };
    let told = Timetable::new(cron, zone).explain(now, AHEAD);
    (told.sentence, told.next.iter().map(|fire| fire.utc).collect())
}

async fn ticks(conn: &mut PgConnection, only: Option<&str>) -> Result<BTreeMap<(String, String), Vec<Tick>>> {
    let rows = sqlx::query(
        "select s.flow, s.name, k.scheduled_for, k.last, k.count, k.outcome, k.reason, k.run from schedule s
         cross join lateral (select * from tick t where t.flow = s.flow and t.schedule = s.name
                             order by t.scheduled_for desc limit 5) k
         where $1::text is null or s.flow = $1 order by s.flow, s.name, k.scheduled_for desc",
    )
    .bind(only)
    .fetch_all(conn)
    .await?;
    let mut all: BTreeMap<(String, String), Vec<Tick>> = BTreeMap::new();
    for row in &rows {
        let tick = Tick {
            scheduled_for: instant(row, "scheduled_for")?,
            last: instant(row, "last")?,
            count: row.try_get("count")?,
            outcome: row.try_get("outcome")?,
            reason: row.try_get("reason")?,
            run: row.try_get("run")?,
        };
        all.entry((row.try_get("flow")?, row.try_get("name")?))
            .or_default()
            .push(tick);
    }
    Ok(all)
}

fn worker(row: &PgRow) -> Result<Worker> {
    Ok(Worker {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        version: row.try_get("version")?,
        queues: row.try_get("queues")?,
        slots: row.try_get("slots")?,
        busy: row.try_get("busy")?,
        started_at: instant(row, "started_at")?,
        heartbeat_at: instant(row, "heartbeat_at")?,
        draining_at: maybe_instant(row, "draining_at")?,
        stopped_at: maybe_instant(row, "stopped_at")?,
        alive: row.try_get("alive")?,
    })
}
