//! What attempts leave behind while they run: log lines, metrics, progress, artifacts, ledger entries. All of it fenced.
//!
//! Lines and metrics come in batches of many attempts. A batch names its attempts; those whose lease still runs are written, the
//! others are named in the answer and write nothing. Every row has its key from its writer, so a batch may be repeated.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::bell::{self, Rings};
use super::leases::{Holder, fence};
use super::ledger::{self, Entry};
use super::{Result, Store, clean, day_of, pg};
use crate::canonical;
use crate::id::{Epoch, RunId, TaskIdx};
use crate::plugin::{Artifact, HostError};

/// Level of the lines that the engine adds to a log.
pub const MARK: &str = "mark";
/// The last line of an attempt whose worker was lost.
pub const LOST: &str = "the worker was lost";
/// Kinds of ledger entries that only the engine writes start like this.
const RESERVED: [&str; 13] = [
    "alias_",
    "approval_",
    "db_",
    "emergency_",
    "flow_",
    "freeze_",
    "model_",
    "person_",
    "pool_",
    "roles_",
    "rollback_",
    "secret_",
    "token_",
];
/// Bytes of a name.
const NAME_CAP: usize = 255;

/// A line of a log, numbered by its attempt from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whose.
    pub holder: Holder,
    /// Number within the attempt.
    pub seq: i64,
    /// When it was said.
    pub at: Timestamp,
    /// `debug`, `info`, `warn`, `error`, `mark`.
    pub level: &'static str,
    /// Without its line end, and without what PostgreSQL cannot hold.
    pub text: String,
}

/// A number at a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Whose.
    pub holder: Holder,
    /// Metric.
    pub name: String,
    /// Step.
    pub step: i64,
    /// Finite.
    pub value: f64,
    /// When it was said.
    pub at: Timestamp,
}

/// What several attempts said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Log lines.
    pub lines: Vec<Line>,
    /// Metrics; no `(holder, name, step)` twice.
    pub points: Vec<Point>,
}

impl Batch {
    /// Nothing was said.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.points.is_empty()
    }
}

/// `done` of `total` units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Whose.
    pub holder: Holder,
    /// Units that are done.
    pub done: u64,
    /// Units that there are.
    pub total: u64,
}

/// Columns of attempts, for `unnest`.
struct Keys {
    run: Vec<Uuid>,
    idx: Vec<i32>,
    epoch: Vec<i64>,
}

fn keys<'a>(holders: impl Iterator<Item = &'a Holder>) -> Keys {
    let mut keys = Keys {
        run: Vec::new(),
        idx: Vec::new(),
        epoch: Vec::new(),
    };
    for holder in holders {
        keys.run.push(holder.run.0);
        keys.idx.push(holder.idx as i32);
        keys.epoch.push(holder.epoch);
    }
    keys
}

impl Store {
    /// Writes a batch; answers the attempts that hold their lease. What the others said is dropped.
    pub async fn write_batch(&self, batch: Arc<Batch>) -> Result<BTreeSet<Holder>> {
        self.transact(move |conn| {
            let batch = Arc::clone(&batch);
            Box::pin(async move {
                let named = batch.lines.iter().map(|l| l.holder);
                let named: BTreeSet<Holder> = named.chain(batch.points.iter().map(|p| p.holder)).collect();
                let held = held(conn, &named).await?;
                let lines: Vec<&Line> = batch.lines.iter().filter(|l| held.contains(&l.holder)).collect();
                let points: Vec<&Point> = batch.points.iter().filter(|p| held.contains(&p.holder)).collect();
                insert_lines(conn, &lines).await?;
                insert_points(conn, &points).await?;
                if !(lines.is_empty() && points.is_empty()) {
                    bell::note(Rings::CHANGED);
                }
                Ok(held)
            })
        })
        .await
    }

    /// Notes progress on the leases that still run.
    pub async fn write_progress(&self, progress: &[Progress]) -> Result<()> {
        let keys = keys(progress.iter().map(|p| &p.holder));
        let values = |p: &Progress| json!({ "done": p.done, "total": p.total });
        // In the order of renewals, which lock the same rows.
        sqlx::query(
            "with held as materialized (
               select l.run, l.idx, u.progress
               from lease l join unnest($1::uuid[], $2::int[], $3::bigint[], $4::jsonb[]) as u(run, idx, epoch, progress)
                 on l.run = u.run and l.idx = u.idx and l.epoch = u.epoch
               where l.until > clock_timestamp() order by l.run, l.idx for no key update of l)
             update lease l set progress = h.progress from held h where l.run = h.run and l.idx = h.idx",
        )
        .bind(keys.run)
        .bind(keys.idx)
        .bind(keys.epoch)
        .bind(progress.iter().map(values).collect::<Vec<Value>>())
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Records a file of an attempt; the last record of a name counts.
    pub async fn record_artifact(&self, holder: Holder, artifact: Artifact, now: Timestamp) -> Result<()> {
        check_artifact(&artifact)?;
        self.transact(move |conn| {
            let artifact = artifact.clone();
            Box::pin(async move {
                fence(conn, holder).await?;
                insert_artifact(conn, holder, &artifact, now).await
            })
        })
        .await
    }

    /// Appends to the ledger in the name of a task run, once however often the transaction is tried.
    pub async fn note_in_ledger(
        &self,
        holder: Holder,
        (task, kind, data): (String, String, Value),
        now: Timestamp,
    ) -> Result<()> {
        check_kind(&kind)?;
        let entry = Entry {
            actor: format!("task:{task}"),
            kind,
            run: Some(holder.run),
            body: clean(json!({ "epoch": holder.epoch, "data": data })),
        };
        self.transact(move |conn| {
            let entry = entry.clone();
            Box::pin(async move {
                fence(conn, holder).await?;
                if !is_in_ledger(conn, &entry, now).await? {
                    ledger::append(conn, entry, now).await?;
                }
                Ok(())
            })
        })
        .await
    }
}

/// Which of these attempts hold their lease; they keep it until the transaction ends.
async fn held(conn: &mut PgConnection, named: &BTreeSet<Holder>) -> Result<BTreeSet<Holder>> {
    let keys = keys(named.iter());
    let rows: Vec<(Uuid, i32, Epoch)> = sqlx::query_as(
        "select l.run, l.idx, l.epoch
         from lease l join unnest($1::uuid[], $2::int[], $3::bigint[]) as u(run, idx, epoch)
           on l.run = u.run and l.idx = u.idx and l.epoch = u.epoch
         where l.until > clock_timestamp() order by l.run, l.idx for key share of l",
    )
    .bind(keys.run)
    .bind(keys.idx)
    .bind(keys.epoch)
    .fetch_all(conn)
    .await?;
    let holder = |(run, idx, epoch)| Holder {
        run: RunId(run),
        idx: idx as TaskIdx,
        epoch,
    };
    Ok(rows.into_iter().map(holder).collect())
}

async fn insert_lines(conn: &mut PgConnection, lines: &[&Line]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let keys = keys(lines.iter().map(|l| &l.holder));
    sqlx::query(
        "insert into log (day, run, idx, epoch, seq, at, level, text)
         select * from unnest($1::date[], $2::uuid[], $3::int[], $4::bigint[], $5::bigint[], $6::timestamptz[],
                              $7::text[], $8::text[])
         on conflict do nothing",
    )
    .bind(lines.iter().map(|l| day_of(l.holder.run)).collect::<Vec<_>>())
    .bind(keys.run)
    .bind(keys.idx)
    .bind(keys.epoch)
    .bind(lines.iter().map(|l| l.seq).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| pg(l.at)).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| l.level).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| l.text.as_str()).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_points(conn: &mut PgConnection, points: &[&Point]) -> Result<()> {
    if points.is_empty() {
        return Ok(());
    }
    let keys = keys(points.iter().map(|p| &p.holder));
    sqlx::query(
        "insert into metric (run, idx, epoch, name, step, value, at)
         select * from unnest($1::uuid[], $2::int[], $3::bigint[], $4::text[], $5::bigint[], $6::float8[],
                              $7::timestamptz[])
         on conflict (run, idx, epoch, name, step) do update set value = excluded.value, at = excluded.at",
    )
    .bind(keys.run)
    .bind(keys.idx)
    .bind(keys.epoch)
    .bind(points.iter().map(|p| p.name.as_str()).collect::<Vec<_>>())
    .bind(points.iter().map(|p| p.step).collect::<Vec<_>>())
    .bind(points.iter().map(|p| p.value).collect::<Vec<_>>())
    .bind(points.iter().map(|p| pg(p.at)).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_artifact(
    conn: &mut PgConnection,
    holder: Holder,
    artifact: &Artifact,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "insert into artifact (run, idx, epoch, name, uri, size, sha256, at) values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (run, idx, epoch, name) do update set uri = $5, size = $6, sha256 = $7, at = $8",
    )
    .bind(holder.run.0)
    .bind(holder.idx as i32)
    .bind(holder.epoch)
    .bind(&artifact.name)
    .bind(&artifact.uri)
    .bind(artifact.size as i64)
    .bind(&artifact.sha256)
    .bind(pg(now))
    .execute(conn)
    .await?;
    Ok(())
}

fn check_artifact(artifact: &Artifact) -> Result<()> {
    let Artifact {
        name,
        uri,
        size,
        sha256,
    } = artifact;
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let wrong = if name.is_empty() || name.len() > NAME_CAP || name.chars().any(char::is_control) {
        format!("its name must have 1 to {NAME_CAP} bytes and no control characters")
    } else if !["file://", "s3://"].iter().any(|scheme| uri.starts_with(scheme)) || uri.contains('\0') {
        format!("its URI is neither file://… nor s3://…: {uri:?}")
    } else if i64::try_from(*size).is_err() {
        format!("no file has {size} bytes")
    } else if sha256.len() != 64 || !sha256.bytes().all(hex) {
        "its SHA-256 must be 64 hex digits, small letters".to_owned()
    } else {
        return Ok(());
    };
    let message = format!("artifact {name:?}: {wrong}");
    Err(HostError::Refused { message }.into())
}

fn check_kind(kind: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let wrong = if kind.is_empty() || kind.len() > 63 || !kind.chars().all(fits) {
        "use 1 to 63 small letters, digits and `_`"
    } else if RESERVED.iter().any(|word| kind.starts_with(word)) {
        "entries of that kind are the engine's own"
    } else {
        return Ok(());
    };
    let message = format!("ledger entry of kind {kind:?}: {wrong}");
    Err(HostError::Refused { message }.into())
}

/// Whether a try before, whose COMMIT was carried out though its reply was lost, appended this entry.
async fn is_in_ledger(conn: &mut PgConnection, entry: &Entry, now: Timestamp) -> Result<bool> {
    let found = sqlx::query("select 1 from ledger where run = $1 and kind = $2 and at = $3 and body = $4")
        .bind(entry.run.map(|run| run.0))
        .bind(&entry.kind)
        .bind(pg(now))
        .bind(canonical::text(&entry.body))
        .fetch_optional(conn)
        .await?;
    Ok(found.is_some())
}

/// Ends the logs of attempts whose worker was lost. Waits for what still writes under their leases; nothing comes after.
pub(super) async fn mark_lost(
    conn: &mut PgConnection,
    run: RunId,
    lost: &[(TaskIdx, Epoch)],
    now: Timestamp,
) -> Result<()> {
    let idx: Vec<i32> = lost.iter().map(|(idx, _)| *idx as i32).collect();
    let epoch: Vec<Epoch> = lost.iter().map(|(_, epoch)| *epoch).collect();
    sqlx::query("select 1 from lease where run = $1 and idx = any($2) order by idx for update")
        .bind(run.0)
        .bind(&idx)
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "insert into log (day, run, idx, epoch, seq, at, level, text)
         select $1, $2, u.idx, u.epoch, 1 + coalesce((select max(seq) from log
             where day = $1 and run = $2 and idx = u.idx and epoch = u.epoch), 0), $5, $6, $7
         from unnest($3::int[], $4::bigint[]) as u(idx, epoch)
         on conflict do nothing",
    )
    .bind(day_of(run))
    .bind(run.0)
    .bind(idx)
    .bind(epoch)
    .bind(pg(now))
    .bind(MARK)
    .bind(LOST)
    .execute(conn)
    .await?;
    Ok(())
}
