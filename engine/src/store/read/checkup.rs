//! What `doctor` asks the database: is everybody there, does anything stand in the way of the rest.

use sqlx::Row;

use super::super::{Result, Store};
use crate::clock;
use crate::graph::EVERY_QUEUE;
use crate::view::{Check, DbStatus, Pool, TableSize, Worker};

/// Seconds that the clocks of a process and the database may differ.
const SKEW: f64 = 1.0;
/// Seconds after which a transaction that keeps old rows alive is named.
const OLD_TRANSACTION: f64 = 60.0;

impl Store {
    /// Looks at server, scheduler, workers, queues, pools, schedules and what vacuum cannot clear. Reads only.
    pub async fn checkup(&self) -> Result<Vec<Check>> {
        let mut checks = vec![self.check_settings().await?, self.check_clock().await?];
        let pulse = self.pulse().await?;
        checks.push(match pulse.hindrances().first() {
            None => Check::ok("scheduler", "one is alive"),
            Some(why) => Check::bad("scheduler", why, "start one: tidegate server"),
        });
        let workers = self.workers().await?;
        checks.push(of_workers(&workers));
        checks.extend(self.check_queues(&workers).await?);
        checks.extend(self.pools().await?.iter().filter_map(of_pool));
        checks.extend(self.check_schedules().await?);
        checks.extend(self.check_triggers().await?);
        checks.extend(self.check_webhooks().await?);
        checks.extend(self.check_notices().await?);
        checks.push(self.check_horizon().await?);
        checks.push(self.check_partitions().await?);
        Ok(checks)
    }

    async fn check_settings(&self) -> Result<Check> {
        let row = sqlx::query(
            "select current_setting('server_version') as version, current_setting('fsync') as fsync,
               current_setting('full_page_writes') as pages, current_setting('synchronous_commit') as commits,
               current_setting('max_connections')::bigint as most,
               (select count(*) from pg_stat_activity where backend_type = 'client backend') as used",
        )
        .fetch_one(self.pool())
        .await?;
        let word = |name: &str| row.try_get::<String, _>(name);
        let (most, used): (i64, i64) = (row.try_get("most")?, row.try_get("used")?);
        let version = word("version")?;
        for (setting, value) in [
            ("fsync", word("fsync")?),
            ("full_page_writes", word("pages")?),
            ("synchronous_commit", word("commits")?),
        ] {
            if value == "off" {
                let detail = format!(
                    "PostgreSQL {version} runs with {setting} = off: a crash can lose what was acknowledged"
                );
                return Ok(Check::bad(
                    "database",
                    detail,
                    format!("set {setting} = on in postgresql.conf"),
                ));
            }
        }
        let detail = format!("PostgreSQL {version}, {used} of {most} connections in use");
        if used * 10 > most * 9 {
            let help = "raise max_connections, or lower database.connections of servers and workers";
            return Ok(Check::warn("database", detail, help));
        }
        Ok(Check::ok("database", detail))
    }

    /// Half the round trip is taken off: what is left is how far the clocks are apart.
    async fn check_clock(&self) -> Result<Check> {
        let mut conn = self.pool().acquire().await?;
        let (sent, began) = (clock::now(), clock::monotonic());
        let theirs: f64 = sqlx::query_scalar("select extract(epoch from clock_timestamp())::float8")
            .fetch_one(&mut *conn)
            .await?;
        let middle = sent.as_microsecond() as f64 / 1e6 + began.elapsed().as_secs_f64() / 2.0;
        let skew = theirs - middle;
        if skew.abs() > SKEW {
            let detail = format!("the database is {skew:+.1} s from this machine");
            let help =
                "leases and expiry go by the database's clock, ticks by the scheduler's: keep both on NTP";
            return Ok(Check::warn("clock", detail, help));
        }
        Ok(Check::ok(
            "clock",
            format!("{:.0} ms from the database's", skew.abs() * 1e3),
        ))
    }

    async fn check_queues(&self, workers: &[Worker]) -> Result<Vec<Check>> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "select queue, sum(waiting)::bigint from (
               select queue, 1 as waiting from ready where at <= clock_timestamp()
               union all
               select coalesce(task -> 'placement' ->> 'queue', 'default'), 0
               from flow f join flow_version v on v.hash = f.version,
                 json_array_elements(v.definition -> 'graph') as t(task) where f.removed_at is null) q
             group by queue order by queue",
        )
        .fetch_all(self.pool())
        .await?;
        let unserved = |queue: &String| {
            let takes = |worker: &&Worker| worker.alive && worker.draining_at.is_none();
            let serves = |worker: &Worker| worker.queues.iter().any(|q| q == queue || q == EVERY_QUEUE);
            !workers.iter().filter(takes).any(serves)
        };
        let lonely = rows.into_iter().filter(|(queue, _)| unserved(queue));
        let check = |(queue, waiting): (String, i64)| {
            let detail = format!("no live worker serves it; {waiting} task runs wait there");
            let help = format!("start one: tidegate worker --queue {queue}");
            let name = format!("queue {queue}");
            if waiting > 0 {
                Check::bad(name, detail, help)
            } else {
                Check::warn(name, detail, help)
            }
        };
        Ok(lonely.map(check).collect())
    }

    async fn check_schedules(&self) -> Result<Vec<Check>> {
        let rows: Vec<(String, Option<String>, f64)> = sqlx::query_as(
            "select flow || '/' || name, error, coalesce(extract(epoch from clock_timestamp() - next_at), 0)::float8
             from schedule where paused_at is null
               and (error is not null or next_at < clock_timestamp() - interval '1 minute') order by 1",
        )
        .fetch_all(self.pool())
        .await?;
        let check = |(name, error, late): (String, Option<String>, f64)| {
            let name = format!("schedule {name}");
            match error {
                Some(error) => Check::bad(name, error, "correct it and apply the flow again"),
                None => Check::bad(
                    name,
                    format!("{late:.0} s late"),
                    "is a scheduler alive, and does its log complain?",
                ),
            }
        };
        Ok(rows.into_iter().map(check).collect())
    }

    /// What nobody received in the last week, each channel with its last error.
    async fn check_notices(&self) -> Result<Vec<Check>> {
        let rows: Vec<(String, i64, Option<String>)> = sqlx::query_as(
            "select channel, count(*), (array_agg(error order by ended_at desc))[1] from notice
             where state = 'dead' and ended_at > clock_timestamp() - interval '7 days' group by channel order by channel",
        )
        .fetch_all(self.pool())
        .await?;
        let check = |(channel, count, error): (String, i64, Option<String>)| {
            let error = error.unwrap_or_default();
            let what = if count == 1 { "notice was" } else { "notices were" };
            let detail = format!("{count} {what} given up within a week, the last one: {error}");
            Check::warn(
                format!("channel {channel}"),
                detail,
                "correct the channel in tidegate.toml",
            )
        };
        Ok(rows.into_iter().map(check).collect())
    }

    /// A name that is wrong would never be noticed otherwise: the order in which flows are applied is free.
    async fn check_triggers(&self) -> Result<Vec<Check>> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "select t.flow, t.source from flow_trigger t
             where not exists (select from flow f where f.name = t.source and f.removed_at is null) order by 1, 2",
        )
        .fetch_all(self.pool())
        .await?;
        let check = |(flow, source): (String, String)| {
            let detail = format!("it follows `{source}`, which is no flow that was applied");
            Check::warn(
                format!("flow {flow}"),
                detail,
                "correct the name, or apply that flow",
            )
        };
        Ok(rows.into_iter().map(check).collect())
    }

    /// Every message to such a flow is refused.
    async fn check_webhooks(&self) -> Result<Vec<Check>> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "select f.name, v.definition -> 'webhook' ->> 'secret' as secret
             from flow f join flow_version v on v.hash = f.version
             where f.removed_at is null and v.definition -> 'webhook' ->> 'secret' is not null
               and not exists (select from secret s where s.name = v.definition -> 'webhook' ->> 'secret') order by 1",
        )
        .fetch_all(self.pool())
        .await?;
        let check = |(flow, secret): (String, String)| {
            let detail = format!("its webhook takes nothing: the secret `{secret}` is not set");
            Check::warn(
                format!("flow {flow}"),
                detail,
                format!("tidegate secret set {secret}"),
            )
        };
        Ok(rows.into_iter().map(check).collect())
    }

    /// What keeps vacuum from clearing dead rows, and so makes every claim slower by the minute.
    async fn check_horizon(&self) -> Result<Check> {
        let row: Option<(String, f64)> = sqlx::query_as(
            "select who, age from (
               select format('process %s (%s, %s)', pid, coalesce(nullif(application_name, ''), usename, 'unknown'), state) as who,
                 extract(epoch from clock_timestamp() - xact_start)::float8 as age
               from pg_stat_activity
               where backend_xmin is not null and datname = current_database() and pid <> pg_backend_pid()
               union all
               select format('prepared transaction %s', gid), extract(epoch from clock_timestamp() - prepared)::float8
               from pg_prepared_xacts where database = current_database()
               union all
               select format('idle replication slot %s', slot_name), 'infinity'
               from pg_replication_slots where not active and (xmin is not null or catalog_xmin is not null)) held
             where age is not null order by age desc limit 1",
        )
        .fetch_optional(self.pool())
        .await?;
        Ok(match row {
            Some((who, age)) if age > OLD_TRANSACTION => {
                let since = if age.is_finite() {
                    format!("for {age:.0} s")
                } else {
                    "until it is read or dropped".to_owned()
                };
                let help = "end it: until then no dead row is cleared, and claims become slow";
                Check::warn(
                    "oldest xmin",
                    format!("{who} keeps dead rows alive {since}"),
                    help,
                )
            }
            Some((_, age)) => Check::ok("oldest xmin", format!("{age:.0} s old")),
            None => Check::ok("oldest xmin", "nothing keeps dead rows alive"),
        })
    }

    async fn check_partitions(&self) -> Result<Check> {
        let ahead: i64 = sqlx::query_scalar(
            "select count(*) from generate_series(1, 3) as d
             where to_regclass('event_' || to_char((now() at time zone 'UTC')::date + d, 'YYYYMMDD')) is not null",
        )
        .fetch_one(self.pool())
        .await?;
        if ahead < 3 {
            let help = "a scheduler makes them; is one alive?";
            return Ok(Check::warn(
                "partitions",
                "those of the next days are not made yet",
                help,
            ));
        }
        Ok(Check::ok("partitions", "made ahead"))
    }

    /// Sizes and growth.
    pub async fn db_status(&self) -> Result<DbStatus> {
        let tables: Vec<(String, i64, i64, i64, i64)> = sqlx::query_as(
            "select coalesce(i.inhparent::regclass::text, c.relname::text), sum(pg_total_relation_size(c.oid))::bigint,
               sum(greatest(c.reltuples, 0))::bigint, coalesce(sum(s.n_dead_tup), 0)::bigint, count(i.inhparent)
             from pg_class c left join pg_inherits i on i.inhrelid = c.oid left join pg_stat_user_tables s on s.relid = c.oid
             where c.relkind = 'r' and c.relnamespace = current_schema()::regnamespace group by 1 order by 2 desc, 1",
        )
        .fetch_all(self.pool())
        .await?;
        let row = sqlx::query(
            "select pg_database_size(current_database()) as bytes, (select count(*) from schema_migration) as migrations,
               case when pg_has_role(current_user, 'pg_read_all_settings', 'usage')
                    then current_setting('data_directory') end as directory,
               (select avg(bytes)::float8 from (
                  select sum(pg_total_relation_size(oid)) as bytes from pg_class
                  where relkind = 'r' and relnamespace = current_schema()::regnamespace and relname ~ '^(event|log)_[0-9]{8}$'
                    and right(relname, 8) between to_char(now() - interval '7 days', 'YYYYMMDD')
                                              and to_char(now() - interval '1 day', 'YYYYMMDD')
                  group by right(relname, 8)) days) as growth",
        )
        .fetch_one(self.pool())
        .await?;
        let size = |(table, bytes, rows, dead, partitions)| TableSize {
            table,
            bytes,
            rows,
            dead,
            partitions,
        };
        Ok(DbStatus {
            migrations: row.try_get("migrations")?,
            known: super::super::migrate::MIGRATIONS.len() as i64,
            bytes: row.try_get("bytes")?,
            tables: tables.into_iter().map(size).collect(),
            bytes_a_day: row.try_get("growth")?,
            directory: row.try_get("directory")?,
        })
    }
}

fn of_workers(workers: &[Worker]) -> Check {
    let alive: Vec<&Worker> = workers.iter().filter(|worker| worker.alive).collect();
    let slots: i32 = alive.iter().map(|worker| worker.slots).sum();
    let busy: i64 = alive.iter().map(|worker| worker.busy).sum();
    if alive.is_empty() {
        return Check::bad("workers", "none is alive", "start one: tidegate worker");
    }
    Check::ok(
        "workers",
        format!("{} alive, {busy} of {slots} slots taken", alive.len()),
    )
}

fn of_pool(pool: &Pool) -> Option<Check> {
    if pool.size > 0 || pool.waiting == 0 {
        return None;
    }
    let detail = format!("it has no slots, and {} task runs wait for one", pool.waiting);
    let help = format!("open it: tidegate pool set {} 1", pool.name);
    Some(Check::warn(format!("pool {}", pool.name), detail, help))
}
