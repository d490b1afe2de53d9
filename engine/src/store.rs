//! The store: the only SQL of the engine. One file per aggregate, one verb per function.
//!
//! # Transactions
//!
//! [`Store::transact`] runs a transaction in a task of its own: a caller that is dropped (a client that hung up, a timeout) never
//! drops a transaction half-way, and sqlx never returns a connection inside one to the pool. What PostgreSQL says is passing
//! (serialisation, deadlock, restart, lost connection) is tried again as a whole, so every closure must be safe to repeat,
//! also when the COMMIT before was carried out and only its answer was lost.
//!
//! # Lock order
//!
//! flow → pool → schedule → run → task run → ready → lease → slot → approval → model → ledger; several of one kind by id.

mod admission;
pub mod advance;
pub mod approvals;
pub mod audit;
pub mod backfills;
pub mod bell;
pub mod cache;
pub mod claim;
mod connect;
pub mod counts;
pub mod effects;
pub mod emergencies;
pub mod flows;
mod follow;
pub mod freezes;
pub mod glance;
mod idempotency;
mod lately;
pub mod leases;
pub mod ledger;
pub mod leftovers;
mod lifeline;
pub mod locked;
mod maps;
pub mod migrate;
pub mod models;
pub mod notices;
pub mod orders;
mod passwords;
pub mod people;
#[cfg(test)]
mod plans;
pub mod pools;
pub mod read;
mod retention;
mod retries;
mod rollbacks;
pub mod runs;
pub mod schedules;
mod secrets;
mod sessions;
mod sub_flows;
mod sub_runs;
pub mod surroundings;
mod sweeps;
mod text;
pub mod ticks;
mod timeouts;
pub mod tokens;
pub mod votes;
pub mod workers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff_sqlx::ToSqlx;
use sqlx::{Connection, PgConnection, PgPool};

pub use connect::ConnectError;
pub use text::{clean, clean_text};

use self::bell::Bell;
use crate::clock;
use crate::graph::Flow;
use crate::id::{RunId, VersionHash};
use crate::plan::PlanError;
use crate::plugin::HostError;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// PostgreSQL refused or could not be reached.
    #[error("database: {}", connect::told(.0))]
    Database(sqlx::Error),
    /// What the caller knew is out of date: another was faster, or its lease is gone.
    #[error("another was faster")]
    Stale,
    /// There is no such thing.
    #[error("no {what} `{name}`")]
    NotFound { what: &'static str, name: String },
    /// What was asked for is not allowed, whoever asks.
    #[error("{why}")]
    Refused { why: String },
    /// A stored value that no version of this program writes.
    #[error("the stored {what} cannot be read: {why}")]
    Corrupt { what: &'static str, why: String },
    /// The planner found the request illegal.
    #[error("plan")]
    Plan(#[from] PlanError),
    /// What a plugin asked for was refused.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The transaction's task panicked.
    #[error("the transaction broke off: {0}")]
    Broken(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl StoreError {
    /// PostgreSQL's error code, where it gave one.
    pub fn code(&self) -> Option<String> {
        match self {
            Self::Database(error) => error.as_database_error()?.code().map(|c| c.into_owned()),
            _ => None,
        }
    }

    /// An event or a log line of a day for which there is no partition yet.
    fn lacks_partition(&self) -> bool {
        let told =
            |error: &dyn sqlx::error::DatabaseError| error.message().starts_with("no partition of relation");
        match self {
            Self::Database(error) => error.as_database_error().is_some_and(told),
            _ => false,
        }
    }

    /// The same transaction may succeed when tried again.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_)) => true,
            Self::Database(_) => self.code().is_some_and(|code| {
                code.starts_with("08")
                    || matches!(
                        code.as_str(),
                        "40001"
                            | "40P01"
                            | "55P03"
                            | "57014"
                            | "57P01"
                            | "57P02"
                            | "57P03"
                            | "53300"
                            | "25006"
                            // A process that was stopped inside a transaction.
                            | "25P03"
                            | "25P04"
                            | "0A000"
                    )
            }),
            _ => false,
        }
    }
}

/// Shorthand of this module.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A transaction's work: called once per try.
pub trait Work<T>:
    for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static
{
}
impl<T, F> Work<T> for F where
    F: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static
{
}

/// Access to the database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    definitions: Arc<Mutex<BTreeMap<VersionHash, Arc<Flow>>>>,
    lately: Arc<lately::Lately>,
    kept: Arc<connect::Kept>,
    desk: Arc<orders::Desk>,
    bell: Arc<Bell>,
}

/// How often a transaction is tried before its passing trouble is reported: about ten seconds, a restart of PostgreSQL.
const TRIES: u32 = 12;

impl Store {
    /// The pool, for single statements that need no transaction.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Closes all connections once they are free.
    pub async fn close(&self) {
        self.kept.close();
        self.pool.close().await;
    }

    /// Runs `work` in a transaction, in a task of its own, again when the trouble is passing.
    pub async fn transact<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T> {
        let store = self.clone();
        let task = tokio::spawn(async move {
            let mut tried = 0;
            loop {
                tried += 1;
                match attempt(&store, &work).await {
                    Err(error) if error.lacks_partition() && tried < TRIES => {
                        store.make_partitions(clock::now(), 2).await?;
                    }
                    Err(error) if error.is_passing() && tried < TRIES => {
                        tracing::warn!(
                            error = crate::plugin::chain(&error),
                            tried,
                            "transaction is tried again"
                        );
                        clock::sleep(pause(tried)).await;
                    }
                    done => return done,
                }
            }
        });
        task.await.map_err(|e| StoreError::Broken(e.to_string()))?
    }

    /// The sealed flow of a version, from memory after the first time.
    pub async fn definition(&self, conn: &mut PgConnection, version: &VersionHash) -> Result<Arc<Flow>> {
        if let Some(flow) = self.remembered(version) {
            return Ok(flow);
        }
        let flow = Arc::new(flows::load_definition(conn, version).await?);
        if let Ok(mut known) = self.definitions.lock() {
            known.insert(version.clone(), Arc::clone(&flow));
        }
        Ok(flow)
    }

    fn remembered(&self, version: &VersionHash) -> Option<Arc<Flow>> {
        self.definitions.lock().ok()?.get(version).cloned()
    }
}

async fn attempt<T>(store: &Store, work: &impl Work<T>) -> Result<T> {
    let (mut conn, begin) = store.connection().await?;
    let mut tx = conn.begin_with(begin).await?;
    let (value, rings) = bell::noting(work(&mut tx)).await;
    let value = match value {
        Ok(value) => value,
        Err(error) => {
            // What it has locked is free before anybody goes on; a connection that is gone has rolled back by itself.
            let _ = tx.rollback().await;
            return Err(error);
        }
    };
    tx.commit().await?;
    store.kept.put(conn);
    store.ring(rings).await;
    Ok(value)
}

fn pause(tried: u32) -> Duration {
    let base = 20u64.saturating_mul(1 << tried.min(6));
    Duration::from_millis(base).mul_f64(0.5 + clock::random())
}

/// The day in whose partitions a run's events and logs lie: the day its id was made on, in UTC.
pub fn day_of(run: RunId) -> jiff_sqlx::Date {
    let (seconds, nanos) = run.0.get_timestamp().map_or((0, 0), |t| t.to_unix());
    let seconds = i64::try_from(seconds).unwrap_or(0);
    let at = Timestamp::new(seconds, nanos as i32).unwrap_or(Timestamp::UNIX_EPOCH);
    let day: Date = at.to_zoned(TimeZone::UTC).date();
    day.to_sqlx()
}

/// An instant as PostgreSQL takes it.
pub(crate) fn pg(at: Timestamp) -> jiff_sqlx::Timestamp {
    at.to_sqlx()
}

/// A column as an instant.
pub(crate) fn instant(row: &sqlx::postgres::PgRow, column: &str) -> Result<Timestamp> {
    use sqlx::Row;
    Ok(row.try_get::<jiff_sqlx::Timestamp, _>(column)?.to_jiff())
}

/// A nullable column as an instant.
pub(crate) fn maybe_instant(row: &sqlx::postgres::PgRow, column: &str) -> Result<Option<Timestamp>> {
    use sqlx::Row;
    Ok(row
        .try_get::<Option<jiff_sqlx::Timestamp>, _>(column)?
        .map(|t| t.to_jiff()))
}

#[cfg(test)]
pub(crate) mod tests;
