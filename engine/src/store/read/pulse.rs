//! Whether the service can work, and what it counts.

use sqlx::Row;
use uuid::Uuid;

use super::super::leases::LEASE;
use super::super::migrate::Standing;
use super::super::{Result, Store};

/// What readiness rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulse {
    /// How its schema stands to this binary.
    pub schema: Standing,
    /// Seconds since any scheduler was last heard of; `None`: none ever was.
    pub scheduler_age: Option<f64>,
}

impl Pulse {
    /// What stands in the way, in words; nothing when it is ready.
    pub fn hindrances(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Standing::Behind(missing) = self.schema {
            reasons.push(format!(
                "the database lacks {missing} migrations; `tidegate db migrate` or a start of `tidegate server` brings it up"
            ));
        }
        match self.scheduler_age {
            Some(age) if age <= LEASE.as_secs_f64() => {}
            Some(age) => reasons.push(format!("no scheduler was heard of for {age:.0} s")),
            None => reasons.push("no scheduler was ever heard of".to_owned()),
        }
        reasons
    }
}

/// A count of runs that ended or go on in the same way.
#[derive(Debug, Clone, PartialEq)]
pub struct RunCount {
    /// Flow.
    pub flow: String,
    /// State.
    pub state: String,
    /// Why they exist.
    pub trigger: String,
    /// How many.
    pub count: i64,
    /// Seconds they took together, waiting for people apart; of those that ended.
    pub seconds: f64,
}

/// A number with up to two labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// Values of its labels, in the order of their names.
    pub labels: Vec<String>,
    /// The number.
    pub value: f64,
}

/// What `/metrics` is made from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Numbers {
    /// All runs.
    pub runs: Vec<RunCount>,
    /// Ready task runs, by queue.
    pub ready: Vec<Labelled>,
    /// Skipped ticks, by flow and reason.
    pub skipped: Vec<Labelled>,
    /// How late the most overdue tick is in seconds, by flow; only flows with one.
    pub lag: Vec<Labelled>,
    /// When a scheduled run last succeeded, in seconds since 1970, by flow.
    pub last_success: Vec<Labelled>,
    /// Moves of aliases, by model and what came of them.
    pub promotions: Vec<Labelled>,
    /// Seconds since a worker was heard of, by worker; only those that did not stop.
    pub workers: Vec<Labelled>,
    /// Bytes, by table.
    pub tables: Vec<Labelled>,
    /// Approvals nobody decided yet.
    pub approvals: i64,
}

const READY: &str = "select array[queue] labels, count(*)::float8 value from ready group by queue order by 1";
const SKIPPED: &str = "select array[flow, reason] labels, sum(count)::float8 value
     from tick where outcome = 'skipped' group by flow, reason order by 1";
const LAG: &str =
    "select array[flow] labels, extract(epoch from max(clock_timestamp() - next_at))::float8 value
     from schedule where next_at < clock_timestamp() and paused_at is null group by flow order by 1";
const LAST_SUCCESS: &str = "select array[flow] labels, extract(epoch from max(finished_at))::float8 value
     from run where state = 'succeeded' and trigger = 'schedule' group by flow order by 1";
const PROMOTIONS: &str =
    "select array[model, 'moved'] labels, count(*)::float8 value from alias_move group by model order by 1";
const WORKERS: &str =
    "select array[name] labels, extract(epoch from clock_timestamp() - heartbeat_at)::float8 value
     from worker where stopped_at is null and heartbeat_at > clock_timestamp() - interval '1 day' order by 1";
const TABLES: &str =
    "select array[case when i.inhparent is null then c.relname::text else i.inhparent::regclass::text end] labels,
            sum(pg_total_relation_size(c.oid))::float8 value
     from pg_class c left join pg_inherits i on i.inhrelid = c.oid
     where c.relkind = 'r' and c.relnamespace = current_schema()::regnamespace group by 1 order by 1";

impl Store {
    /// What readiness rests on.
    pub async fn pulse(&self) -> Result<Pulse> {
        let schema = self.standing().await?;
        if let Standing::Behind(_) = schema {
            return Ok(Pulse {
                schema,
                scheduler_age: None,
            });
        }
        let age = "select extract(epoch from clock_timestamp() - max(heartbeat_at))::float8 from scheduler";
        Ok(Pulse {
            schema,
            scheduler_age: sqlx::query_scalar(age).fetch_one(self.pool()).await?,
        })
    }

    /// Notes that a scheduler is alive; at most every few seconds.
    pub async fn beat(&self, scheduler: Uuid) -> Result<()> {
        sqlx::query(
            "insert into scheduler (id, heartbeat_at) values ($1, clock_timestamp())
             on conflict (id) do update set heartbeat_at = excluded.heartbeat_at",
        )
        .bind(scheduler)
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Notes that a scheduler ended as it should.
    pub async fn dismiss_scheduler(&self, scheduler: Uuid) -> Result<()> {
        let gone = sqlx::query("delete from scheduler where id = $1").bind(scheduler);
        gone.execute(self.pool()).await?;
        Ok(())
    }

    /// How many approvals nobody decided yet.
    pub async fn open_approvals(&self) -> Result<i64> {
        let count = sqlx::query_scalar("select count(*) from approval where state = 'open'");
        Ok(count.fetch_one(self.pool()).await?)
    }

    /// What `/metrics` is made from.
    pub async fn numbers(&self) -> Result<Numbers> {
        Ok(Numbers {
            runs: self.run_counts().await?,
            ready: self.labelled(READY).await?,
            skipped: self.labelled(SKIPPED).await?,
            lag: self.labelled(LAG).await?,
            last_success: self.labelled(LAST_SUCCESS).await?,
            promotions: self.labelled(PROMOTIONS).await?,
            workers: self.labelled(WORKERS).await?,
            tables: self.labelled(TABLES).await?,
            approvals: self.open_approvals().await?,
        })
    }

    async fn run_counts(&self) -> Result<Vec<RunCount>> {
        let rows = sqlx::query(
            "select flow, state::text, trigger, count(*) count,
               coalesce(extract(epoch from sum(finished_at - started_at - waited)), 0)::float8 seconds
             from run group by flow, state, trigger order by 1, 2, 3",
        )
        .fetch_all(self.pool())
        .await?;
        let count = |row: &sqlx::postgres::PgRow| {
            Ok(RunCount {
                flow: row.try_get("flow")?,
                state: row.try_get("state")?,
                trigger: row.try_get("trigger")?,
                count: row.try_get("count")?,
                seconds: row.try_get("seconds")?,
            })
        };
        rows.iter().map(count).collect()
    }

    async fn labelled(&self, sql: &'static str) -> Result<Vec<Labelled>> {
        let rows = sqlx::query(sql).fetch_all(self.pool()).await?;
        let labelled = |row: &sqlx::postgres::PgRow| {
            Ok(Labelled {
                labels: row.try_get("labels")?,
                value: row.try_get("value")?,
            })
        };
        rows.iter().map(labelled).collect()
    }
}
