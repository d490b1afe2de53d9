//! Migrations: embedded, numbered, forward only, under a lock.

use std::collections::BTreeSet;

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
    Migration {
        number: 10,
        name: "create_maps",
        sql: include_str!("../../../migrations/0010_create_maps.sql"),
    },
    Migration {
        number: 30,
        name: "create_parking",
        sql: include_str!("../../../migrations/0030_create_parking.sql"),
    },
    Migration {
        number: 31,
        name: "create_secret",
        sql: include_str!("../../../migrations/0031_create_secret.sql"),
    },
    Migration {
        number: 32,
        name: "create_notice",
        sql: include_str!("../../../migrations/0032_create_notice.sql"),
    },
    Migration {
        number: 40,
        name: "rank_ready_and_add_pools",
        sql: include_str!("../../../migrations/0040_rank_ready_and_add_pools.sql"),
    },
    Migration {
        number: 41,
        name: "create_backfill_and_flow_triggers",
        sql: include_str!("../../../migrations/0041_create_backfill_and_flow_triggers.sql"),
    },
    Migration {
        number: 42,
        name: "create_cache",
        sql: include_str!("../../../migrations/0042_create_cache.sql"),
    },
    Migration {
        number: 43,
        name: "create_freezes_and_emergencies",
        sql: include_str!("../../../migrations/0043_create_freezes_and_emergencies.sql"),
    },
    Migration {
        number: 60,
        name: "tell_light_work",
        sql: include_str!("../../../migrations/0060_tell_light_work.sql"),
    },
    Migration {
        number: 61,
        name: "insert_task_runs_unchecked",
        sql: include_str!("../../../migrations/0061_insert_task_runs_unchecked.sql"),
    },
    Migration {
        number: 70,
        name: "create_sub_runs",
        sql: include_str!("../../../migrations/0070_create_sub_runs.sql"),
    },
    Migration {
        number: 71,
        name: "create_tokens",
        sql: include_str!("../../../migrations/0071_create_tokens.sql"),
    },
    Migration {
        number: 80,
        name: "leave_room_on_hot_pages",
        sql: include_str!("../../../migrations/0080_leave_room_on_hot_pages.sql"),
    },
    Migration {
        number: 90,
        name: "create_counters",
        sql: include_str!("../../../migrations/0090_create_counters.sql"),
    },
    Migration {
        number: 100,
        name: "view_what_was_handed_on",
        sql: include_str!("../../../migrations/0100_view_what_was_handed_on.sql"),
    },
];

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// What it is known by, ascending. Gaps are no trouble, and neither is one that comes in below a newer one.
    pub number: i32,
    /// Verb and noun.
    pub name: &'static str,
    /// What it does.
    pub sql: &'static str,
}

/// How the schema of a database stands to this binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// All migrations ran.
    Current,
    /// So many did not run yet.
    Behind(usize),
    /// One ran that this binary does not know.
    Ahead(i32),
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

    /// How the database's schema stands to this binary.
    pub async fn standing(&self) -> Result<Standing> {
        let mut conn = self.pool().acquire().await?;
        let done = applied(&mut conn).await?;
        if let Some(unknown) = unknown(&done) {
            return Ok(Standing::Ahead(unknown));
        }
        Ok(match MIGRATIONS.len() - done.len() {
            0 => Standing::Current,
            missing => Standing::Behind(missing),
        })
    }
}

fn unknown(applied: &BTreeSet<i32>) -> Option<i32> {
    let known = |number: &&i32| MIGRATIONS.iter().any(|migration| migration.number == **number);
    applied.iter().find(|number| !known(number)).copied()
}

/// The numbers of the migrations that ran.
async fn applied(conn: &mut sqlx::PgConnection) -> Result<BTreeSet<i32>> {
    let known: bool = sqlx::query("select to_regclass('schema_migration') is not null as known")
        .fetch_one(&mut *conn)
        .await?
        .try_get("known")?;
    if !known {
        return Ok(BTreeSet::new());
    }
    let numbers = sqlx::query_scalar("select number from schema_migration");
    Ok(numbers.fetch_all(conn).await?.into_iter().collect())
}

async fn run_missing(conn: &mut sqlx::PgConnection) -> Result<usize> {
    sqlx::query(
        "create table if not exists schema_migration
           (number integer primary key, name text not null, applied_at timestamptz not null)",
    )
    .execute(&mut *conn)
    .await?;
    let done = applied(conn).await?;
    if let Some(number) = unknown(&done) {
        return Err(StoreError::Corrupt {
            what: "schema",
            why: format!("it is of a newer tidegate: this binary does not know its migration {number}"),
        });
    }
    let missing = MIGRATIONS
        .iter()
        .filter(|migration| !done.contains(&migration.number));
    let mut ran = 0;
    for migration in missing {
        let mut tx = conn.begin().await?;
        sqlx::raw_sql(migration.sql).execute(&mut *tx).await?;
        sqlx::query("insert into schema_migration values ($1, $2, clock_timestamp())")
            .bind(migration.number)
            .bind(migration.name)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        ran += 1;
    }
    Ok(ran)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_a_migration_in_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
        let files = std::fs::read_dir(folder).unwrap().flatten();
        let mut files: Vec<String> = files
            .map(|file| file.file_name().into_string().unwrap())
            .collect();
        files.sort();
        let named = MIGRATIONS
            .iter()
            .map(|migration| format!("{:04}_{}.sql", migration.number, migration.name));
        assert_eq!(named.collect::<Vec<_>>(), files);
    }
}
