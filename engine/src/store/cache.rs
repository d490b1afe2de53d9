//! What tasks made of which inputs, kept as a pointer to the attempt that made it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::locked::LockedRun;
use super::{Result, Store, pg};
use crate::id::{Epoch, RunId, TaskIdx};

/// An earlier attempt that succeeded with the same key.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The key.
    pub key: String,
    /// Its run.
    pub run: RunId,
    /// Its position there.
    pub idx: TaskIdx,
    /// Its epoch.
    pub epoch: Epoch,
    /// What it handed on.
    pub outputs: Value,
}

/// A hit, and the files and sizes on which it rests.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The hit.
    pub hit: Hit,
    /// Address and bytes of each artifact.
    pub artifacts: Vec<(String, u64)>,
}

/// What an attempt has to do with the cache.
#[derive(Debug, Clone, PartialEq)]
pub enum Cached {
    /// It did the work: remember what it made.
    Made { key: String },
    /// It took what was there.
    Taken(Box<Hit>),
}

impl Store {
    /// What an attempt made with this key at most `ttl` ago.
    pub async fn cached(&self, key: &str, ttl: Duration, now: Timestamp) -> Result<Option<Stored>> {
        let since = now.checked_sub(ttl).unwrap_or(Timestamp::MIN);
        let row: Option<(Uuid, i32, i64, Value)> = sqlx::query_as(
            "select c.run, c.idx, c.epoch, o.outputs from cache c
             join handed_on o on o.run = c.run and o.idx = c.idx and o.epoch = c.epoch
             where c.key = $1 and c.at >= $2",
        )
        .bind(key)
        .bind(pg(since))
        .fetch_optional(self.pool())
        .await?;
        let Some((run, idx, epoch, outputs)) = row else {
            return Ok(None);
        };
        let artifacts: Vec<(String, i64)> =
            sqlx::query_as("select uri, size from artifact where run = $1 and idx = $2 and epoch = $3")
                .bind(run)
                .bind(idx)
                .bind(epoch)
                .fetch_all(self.pool())
                .await?;
        let hit = Hit {
            key: key.to_owned(),
            run: RunId(run),
            idx: idx as TaskIdx,
            epoch,
            outputs,
        };
        let artifacts = artifacts
            .into_iter()
            .map(|(uri, size)| (uri, size.unsigned_abs()))
            .collect();
        Ok(Some(Stored { hit, artifacts }))
    }

    /// SHA-256 of what the task runs of a run made, by address.
    pub async fn artifact_digests(&self, run: RunId) -> Result<Arc<BTreeMap<String, String>>> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "select a.uri, a.sha256 from artifact a
             join task_run t on t.run = a.run and t.idx = a.idx and t.epoch = a.epoch
             where a.run = $1 and t.state = 'succeeded'",
        )
        .bind(run.0)
        .fetch_all(self.pool())
        .await?;
        Ok(Arc::new(rows.into_iter().collect()))
    }
}

/// Notes, in the transaction that accepts an attempt's success, what it made or took.
pub(super) async fn note(
    conn: &mut PgConnection,
    (run, idx, epoch): (&LockedRun, TaskIdx, Epoch),
    cached: &Cached,
    now: Timestamp,
) -> Result<()> {
    match cached {
        Cached::Made { key } => {
            sqlx::query(
                "insert into cache (key, run, idx, epoch, at) values ($1, $2, $3, $4, $5)
                 on conflict (key) do update set run = $2, idx = $3, epoch = $4, at = $5",
            )
            .bind(key)
            .bind(run.id.0)
            .bind(idx as i32)
            .bind(epoch)
            .bind(pg(now))
            .execute(conn)
            .await?;
        }
        Cached::Taken(hit) => {
            sqlx::query(
                "with files as (
                   insert into artifact (run, idx, epoch, name, uri, size, sha256, at)
                   select $1, $2, $3, name, uri, size, sha256, at from artifact
                   where run = $4 and idx = $5 and epoch = $6 on conflict do nothing)
                 insert into cache_hit (run, idx, key, origin) values ($1, $2, $7, $4) on conflict do nothing",
            )
            .bind(run.id.0)
            .bind(idx as i32)
            .bind(epoch)
            .bind(hit.run.0)
            .bind(hit.idx as i32)
            .bind(hit.epoch)
            .bind(&hit.key)
            .execute(conn)
            .await?;
        }
    }
    Ok(())
}
