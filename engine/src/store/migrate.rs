//! Migrations: embedded, numbered, forward only, under a lock.

use sqlx::{Connection, Row};

use super::{Result, Store, StoreError};
use crate::clock;

/// The migrations of this binary, oldest first.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 1,
        name: "create_core",
        sql: include_str!("../../../migrations/0001_create_core.sql"),
    },
    Migration {
        number: 2,
        name: "create_decisions",
        sql: include_str!("../../../migrations/0002_create_decisions.sql"),
    },
];

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Position, from 1, without gaps.
    pub number: i32,
    /// Verb and noun.
    pub name: &'static str,
    /// What it does.
    pub sql: &'static str,
}

/// Key of the advisory lock under which migrations run.
const LOCK: i64 = 0x7469_6465_6761_7465;

impl Store {
    /// Brings the schema up to this binary; answers how many migrations ran. Safe beside other starters.
    pub async fn migrate(&self) -> Result<usize> {
        let mut conn = self.pool().acquire().await?;
        sqlx::query("set statement_timeout = 0")
            .execute(&mut *conn)
            .await?;
        sqlx::query("set lock_timeout = 0").execute(&mut *conn).await?;
        sqlx::query("select pg_advisory_lock($1)")
            .bind(LOCK)
            .execute(&mut *conn)
            .await?;
        let done = run_missing(&mut conn).await;
        // The session's settings and its lock end with the session.
        conn.detach().close().await?;
        let done = done?;
        self.make_partitions(clock::now(), 2).await?;
        Ok(done)
    }

    /// Number of the newest migration in the database; 0 when it is empty.
    pub async fn schema_version(&self) -> Result<i32> {
        let mut conn = self.pool().acquire().await?;
        newest(&mut conn).await
    }
}

async fn newest(conn: &mut sqlx::PgConnection) -> Result<i32> {
    let known: bool = sqlx::query("select to_regclass('schema_migration') is not null as known")
        .fetch_one(&mut *conn)
        .await?
        .try_get("known")?;
    if !known {
        return Ok(0);
    }
    let row = sqlx::query("select coalesce(max(number), 0) as newest from schema_migration");
    Ok(row.fetch_one(conn).await?.try_get("newest")?)
}

async fn run_missing(conn: &mut sqlx::PgConnection) -> Result<usize> {
    sqlx::query(
        "create table if not exists schema_migration
           (number integer primary key, name text not null, applied_at timestamptz not null)",
    )
    .execute(&mut *conn)
    .await?;
    let at = newest(conn).await?;
    if at as usize > MIGRATIONS.len() {
        return Err(StoreError::Corrupt {
            what: "schema",
            why: format!(
                "it is of a newer tidegate (migration {at}, this binary knows {})",
                MIGRATIONS.len()
            ),
        });
    }
    let missing = &MIGRATIONS[at as usize..];
    for migration in missing {
        let mut tx = conn.begin().await?;
        sqlx::raw_sql(migration.sql).execute(&mut *tx).await?;
        sqlx::query("insert into schema_migration values ($1, $2, clock_timestamp())")
            .bind(migration.number)
            .bind(migration.name)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
    }
    Ok(missing.len())
}
