//! Whether the service can work, and what it counts.

use std::collections::BTreeMap;

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{Postgres, Row};
use uuid::Uuid;

use super::super::counts::{self, Spread};
use super::super::leases::LEASE;
use super::super::migrate::Standing;
use super::super::{Result, Store};
use crate::graph::EVERY_QUEUE;

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

/// A number with its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// Values of its labels, in the order of their names.
    pub labels: Vec<String>,
    /// The number.
    pub value: f64,
}

/// How many took how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Values of its labels, in the order of their names.
    pub labels: Vec<String>,
    /// How many took at most so long, ascending; the last bound is `+Inf`.
    pub buckets: Vec<(String, f64)>,
    /// Seconds that all took together.
    pub sum: f64,
}

/// What was added up of what happened, see [`counts`]; a few seconds old.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Counted(BTreeMap<String, Vec<Labelled>>);

impl Counted {
    /// The sums of a name.
    pub fn of(&self, name: &str) -> &[Labelled] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The sum of a name without labels.
    pub fn total(&self, name: &str) -> f64 {
        // The sum of no floats would be -0.
        self.of(name).iter().fold(0.0, |total, sum| total + sum.value)
    }

    /// A distribution, for each set of labels by itself; one without labels is there before anything happened.
    pub fn histograms(&self, spread: &Spread) -> Vec<Histogram> {
        let mut sets: BTreeMap<&[String], BTreeMap<&str, f64>> = BTreeMap::new();
        if !spread.by_flow {
            sets.entry(&[]).or_default();
        }
        for sum in self.of(spread.name) {
            if let Some((bound, labels)) = sum.labels.split_last() {
                sets.entry(labels).or_default().insert(bound, sum.value);
            }
        }
        sets.iter()
            .map(|(labels, kept)| histogram(spread, labels, kept))
            .collect()
    }
}

fn histogram(spread: &Spread, labels: &[String], kept: &BTreeMap<&str, f64>) -> Histogram {
    let of = |key: &str| kept.get(key).copied().unwrap_or_default();
    let mut below = 0.0;
    let bucket = |bound: String| {
        below += of(&bound);
        (bound, below)
    };
    Histogram {
        labels: labels.to_vec(),
        buckets: spread.buckets().map(bucket).collect(),
        sum: of(counts::SUM),
    }
}

/// What `/metrics` is made from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Numbers {
    /// What happened.
    pub counted: Counted,
    /// Runs that are not over.
    pub active: i64,
    /// Task runs that are due, by queue; each queue that a live worker serves by its name is there.
    pub ready: Vec<Labelled>,
    /// Slots, by pool and state: `held`, `free`.
    pub slots: Vec<Labelled>,
    /// How late the most overdue tick is in seconds, by flow.
    pub lag: Vec<Labelled>,
    /// Seconds since a worker was heard of, by worker; only those that did not stop.
    pub workers: Vec<Labelled>,
    /// Bytes, by table.
    pub tables: Vec<Labelled>,
    /// Approvals nobody decided yet.
    pub approvals: i64,
}

const COUNTED: &str = "select name, labels, value from counter order by name, labels";
const ACTIVE: &str = "select count(*) from active_run";
const READY: &str = "select array[queue] labels, sum(waiting)::float8 value from (
       select queue, count(*) waiting from ready where at <= clock_timestamp() group by queue
       union all
       select unnest(queues), 0 from worker where stopped_at is null and heartbeat_at > clock_timestamp() - interval '1 minute') q
     where queue <> $1 group by queue order by 1";
/// A pool that was made smaller has nothing to give until its holders are that few.
const SLOTS: &str = "select array[p.name, s.state] labels, s.value::float8 value from pool p
     cross join lateral (select count(*) held from slot where pool = p.name and run is not null) h
     cross join lateral (values ('held', h.held), ('free', greatest(p.size - h.held, 0))) as s(state, value) order by 1";
const LAG: &str = "select array[s.flow] labels,
       extract(epoch from greatest(max(clock_timestamp() - s.next_at), '0'))::float8 value
     from schedule s join flow f on f.name = s.flow
     where s.paused_at is null and f.removed_at is null group by s.flow order by 1";
/// One that crashed and came back under its name is heard of.
const WORKERS: &str =
    "select array[name] labels, extract(epoch from clock_timestamp() - max(heartbeat_at))::float8 value
     from worker where stopped_at is null and heartbeat_at > clock_timestamp() - interval '1 day' group by name order by 1";
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

    /// What `/metrics` is made from. Reads what is now, and sums: never what was.
    pub async fn numbers(&self) -> Result<Numbers> {
        Ok(Numbers {
            counted: self.counted().await?,
            active: sqlx::query_scalar(ACTIVE).fetch_one(self.pool()).await?,
            ready: self.labelled(sqlx::query(READY).bind(EVERY_QUEUE)).await?,
            slots: self.labelled(sqlx::query(SLOTS)).await?,
            lag: self.labelled(sqlx::query(LAG)).await?,
            workers: self.labelled(sqlx::query(WORKERS)).await?,
            tables: self.labelled(sqlx::query(TABLES)).await?,
            approvals: self.open_approvals().await?,
        })
    }

    async fn counted(&self) -> Result<Counted> {
        let rows: Vec<(String, Json<Vec<String>>, f64)> =
            sqlx::query_as(COUNTED).fetch_all(self.pool()).await?;
        let mut counted = Counted::default();
        for (name, labels, value) in rows {
            let labels = labels.0;
            counted
                .0
                .entry(name)
                .or_default()
                .push(Labelled { labels, value });
        }
        Ok(counted)
    }

    async fn labelled(&self, query: Query<'static, Postgres, PgArguments>) -> Result<Vec<Labelled>> {
        let rows = query.fetch_all(self.pool()).await?;
        let labelled = |row: &sqlx::postgres::PgRow| {
            Ok(Labelled {
                labels: row.try_get("labels")?,
                value: row.try_get("value")?,
            })
        };
        rows.iter().map(labelled).collect()
    }
}
