//! Leases: who may write for an attempt, and until when. Only the database's clock decides.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::advance::Report;
use super::{Result, Store, StoreError};
use crate::id::{Epoch, RunId, TaskIdx};
use crate::plan::Outcome;

/// How long a lease lasts without renewal.
pub const LEASE: Duration = Duration::from_secs(30);
/// How often it is renewed.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long before its end a worker that could not renew stops its attempts by itself.
pub const MARGIN: Duration = Duration::from_secs(5);
/// How long an attempt that was told to stop may take.
pub const GRACE: Duration = Duration::from_secs(10);

/// What is told of an attempt whose lease ended; reaped attempts are counted by it.
pub(super) const REAPED: &str = "the worker stopped renewing its lease";

/// An attempt that its worker still holds after a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its run.
    pub run: RunId,
    /// Its position.
    pub idx: TaskIdx,
    /// Its fencing token.
    pub epoch: Epoch,
    /// The run was told to stop.
    pub cancelling: bool,
}

/// An attempt, as whoever writes in its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// Its run.
    pub run: RunId,
    /// Its position.
    pub idx: TaskIdx,
    /// Its fencing token.
    pub epoch: Epoch,
}

/// The fence before every write of an attempt: its lease is there and runs. The row stays shared until the transaction
/// ends: renewals pass, but nobody takes the lease away in between. `Stale`: it is gone.
pub async fn fence(conn: &mut PgConnection, holder: Holder) -> Result<()> {
    let held = sqlx::query(
        "select 1 from lease where run = $1 and idx = $2 and epoch = $3 and until > clock_timestamp() for key share",
    )
    .bind(holder.run.0)
    .bind(holder.idx as i32)
    .bind(holder.epoch)
    .fetch_optional(conn)
    .await?;
    held.map(drop).ok_or(StoreError::Stale)
}

/// Renews all leases of a worker that have not expired; what is not in the answer is lost. Runs on the caller's own
/// connection, so that a crowded pool never costs a lease.
pub async fn renew(conn: &mut PgConnection, worker: Uuid) -> Result<Vec<Held>> {
    let mut tx = conn.begin().await?;
    let rows: Vec<(Uuid, i32, i64, bool)> = sqlx::query_as(
        "with mine as materialized (
           select run, idx from lease where worker = $1 and until > clock_timestamp()
           order by run, idx for no key update),
         renewed as (
           update lease l set until = clock_timestamp() + $2 * interval '1 millisecond'
           from mine m where l.run = m.run and l.idx = m.idx returning l.run, l.idx, l.epoch)
         select n.run, n.idx, n.epoch, r.state = 'cancelling' from renewed n join run r on r.id = n.run",
    )
    .bind(worker)
    .bind(LEASE.as_millis() as f64)
    .fetch_all(&mut *tx)
    .await?;
    sqlx::query("update worker set heartbeat_at = clock_timestamp() where id = $1")
        .bind(worker)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    let held = |(run, idx, epoch, cancelling)| Held {
        run: RunId(run),
        idx: idx as TaskIdx,
        epoch,
        cancelling,
    };
    Ok(rows.into_iter().map(held).collect())
}

impl Store {
    /// Takes expired leases away: their attempts are lost, their epochs void. Answers how many.
    pub async fn reap(&self, now: Timestamp) -> Result<usize> {
        let rows: Vec<(Uuid, i32, i64)> = sqlx::query_as(
            "select run, idx, epoch from lease where until < clock_timestamp() order by run, idx limit 500",
        )
        .fetch_all(self.pool())
        .await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let lost = |(run, idx, epoch)| Report {
            run: RunId(run),
            idx: idx as TaskIdx,
            epoch,
            outcome: Outcome::Lost,
            outputs: None,
            message: Some(REAPED.to_owned()),
            items: None,
            gate: None,
            cached: None,
        };
        let done = self
            .advance(rows.into_iter().map(lost).collect::<Vec<_>>(), None, now)
            .await?;
        Ok(done.accepted.iter().filter(|counted| **counted).count())
    }
}
