//! Partitions: made before they are needed, dropped when what is in them is old.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use jiff_sqlx::ToSqlx;
use serde_json::json;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, PgConnection};

use super::ledger::{self, Entry};
use super::{Result, Store, day_of, pg};
use crate::command::Actor;
use crate::duration;
use crate::id::RunId;

/// Days ahead for which partitions are kept.
const AHEAD: i32 = 15;
/// Answers to idempotency keys are kept this long.
const KEYS: &str = "30 days";
/// Lock under which one process at a time drops partitions.
const LOCK: (i32, i32) = (7368, 2);

/// A daily partition, by now perhaps on its way out: its name, its parent's, whether it is attached, and whether its detaching
/// began and broke off.
type Part = (String, String, bool, bool);

const OLD: &str = "select c.relname::text as name, split_part(c.relname, '_', 1) as parent,
       i.inhparent is not null as attached, coalesce(i.inhdetachpending, false) as pending
     from pg_class c left join pg_inherits i on i.inhrelid = c.oid
     where c.relkind = 'r' and c.relnamespace = current_schema()::regnamespace
       and c.relname ~ '^(event|log)_[0-9]{8}$' and right(c.relname, 8) < to_char($1::date, 'YYYYMMDD')
     order by 1";

impl Store {
    /// Makes the partitions of the next two weeks.
    pub async fn ensure_partitions(&self, now: Timestamp) -> Result<()> {
        self.make_partitions(now, AHEAD).await
    }

    /// Makes the partitions from yesterday on to so many days ahead.
    pub(super) async fn make_partitions(&self, now: Timestamp, ahead: i32) -> Result<()> {
        let first = now.to_zoned(TimeZone::UTC).date();
        let first = first.saturating_sub(1.day());
        sqlx::query("select ensure_partitions($1, $2)")
            .bind(first.to_sqlx())
            .bind(ahead + 2)
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// Drops events and logs of days older than `keep`, but for days of runs that are not over. Answers how many partitions.
    pub async fn drop_old_partitions(&self, keep: Duration, now: Timestamp) -> Result<usize> {
        let before = now.saturating_sub(keep).unwrap_or(Timestamp::MIN);
        let before = before.to_zoned(TimeZone::UTC).date().to_sqlx();
        let oldest: Option<uuid::Uuid> =
            sqlx::query_scalar("select run from active_run order by run limit 1")
                .fetch_optional(self.pool())
                .await?;
        let oldest = oldest.map(|run| day_of(RunId(run)));
        let parts: Vec<Part> = sqlx::query_as(OLD)
            .bind(oldest.map_or(before, |day| {
                if day.to_jiff() < before.to_jiff() {
                    day
                } else {
                    before
                }
            }))
            .fetch_all(self.pool())
            .await?;
        if parts.is_empty() {
            return Ok(0);
        }
        let mut conn = PoolConnection::detach(self.pool().acquire().await?);
        let dropped = drop_parts(&mut conn, &parts).await;
        // The session's settings and its lock end with the session, also when it was given up: the next try must not find the lock held.
        sqlx::Connection::close(conn).await?;
        dropped
    }

    /// Drops what is older than `keep` because somebody asked for it; the ledger keeps who, and how many partitions went. Their going is
    /// no transaction, so a process that dies in between leaves no entry. Answers partitions and rows.
    pub async fn prune(&self, actor: &Actor, keep: Duration, now: Timestamp) -> Result<(usize, usize)> {
        let dropped = self.drop_old_partitions(keep, now).await?;
        let swept = self.sweep(now).await?;
        let body = json!({ "keep": duration::format(keep), "dropped": dropped });
        let entry = Entry::act("db_pruned", &actor.name, body);
        self.transact(move |conn| {
            let entry = entry.clone();
            Box::pin(async move { ledger::append(conn, entry, now).await.map(drop) })
        })
        .await?;
        Ok((dropped, swept))
    }

    /// Forgets answers to idempotency keys and schedulers that are long gone. Answers how many rows.
    pub async fn sweep(&self, now: Timestamp) -> Result<usize> {
        let swept = sqlx::query(
            "with keys as (delete from idempotency where at < $1 - $2::interval returning 1),
               gone as (delete from scheduler where heartbeat_at < clock_timestamp() - interval '1 day' returning 1)
             select (select count(*) from keys) + (select count(*) from gone)",
        )
        .bind(pg(now))
        .bind(KEYS)
        .fetch_one(self.pool())
        .await?;
        let swept = sqlx::Row::try_get::<i64, _>(&swept, 0)? as usize;
        Ok(swept + self.sweep_notices(now).await?)
    }
}

/// Drops the partitions one by one, unless another process is at it. Answers how many.
async fn drop_parts(conn: &mut PgConnection, parts: &[Part]) -> Result<usize> {
    if !take_turn(conn).await? {
        return Ok(0);
    }
    for part in parts {
        drop_part(conn, part).await?;
    }
    Ok(parts.len())
}

/// `false`: another process is at it.
async fn take_turn(conn: &mut PgConnection) -> Result<bool> {
    sqlx::query("set lock_timeout = '2s'").execute(&mut *conn).await?;
    let free = sqlx::query_scalar("select pg_try_advisory_lock($1, $2)");
    Ok(free.bind(LOCK.0).bind(LOCK.1).fetch_one(conn).await?)
}

/// Detached beside its readers and writers, then dropped: a drop in one step would stop the writers of all days.
async fn drop_part(conn: &mut PgConnection, (name, parent, attached, pending): &Part) -> Result<()> {
    if *attached {
        let how = if *pending { "finalize" } else { "concurrently" };
        run(
            conn,
            format!("alter table {parent} detach partition {name} {how}"),
        )
        .await?;
    }
    run(conn, format!("drop table if exists {name}")).await
}

/// Only names that the pattern of [`OLD`] lets through get here.
async fn run(conn: &mut PgConnection, sql: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await?;
    Ok(())
}
