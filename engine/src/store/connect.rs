//! Opening the pool, with the settings every session of ours needs.

use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Postgres};

use super::{Store, lifeline};
use crate::clock;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// `DATABASE_URL` cannot be read.
    #[error("DATABASE_URL is not a PostgreSQL address like postgres://user@host/name: {}", told(.0))]
    Address(sqlx::Error),
    /// Who answers there says no: the role, the password, the database.
    #[error("PostgreSQL does not let us in: {}", told(.0))]
    Refused(sqlx::Error),
    /// Nobody answers there.
    #[error("PostgreSQL does not answer: {}", told(.0))]
    Unreachable(sqlx::Error),
    /// Whoever answers there passes on what is asked, but not what a session asks for itself.
    #[error("DATABASE_URL leads to a pooler that drops the settings of a session, as PgBouncer does")]
    Pooled,
}

impl ConnectError {
    fn of(error: sqlx::Error) -> Self {
        let refused = error.as_database_error().map(sqlx::error::DatabaseError::message);
        if refused.is_some_and(|message| message.contains("startup parameter")) {
            return Self::Pooled;
        }
        match error {
            sqlx::Error::Database(_) => Self::Refused(error),
            error => Self::Unreachable(error),
        }
    }
}

/// An error in words. sqlx repeats in each what its cause says, and what PostgreSQL says with the line of PostgreSQL's own source.
pub(super) fn told(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(said) => said.message().to_owned(),
        other => other.to_string(),
    }
}

/// How long a connection may lie unused before it is asked whether it still lives. No PostgreSQL restarts faster.
const FRESH: Duration = Duration::from_millis(300);

/// How long a statement waits for a lock. A session that has it has all of [`session_options`].
const LOCK_TIMEOUT: &str = "10s";

/// Statements of transactions find their rows by keys, whatever their arrays hold: they are planned once for a connection, not each
/// time ([`Store::connection`]). Others are not.
const AS_FOUND: &str = "rollback; reset plan_cache_mode";

impl Store {
    /// Opens a pool of at most `connections`; proves that the server answers, and that its sessions are ours: behind a pooler,
    /// what one transaction sets another would find, and what holds for a session (a lock, `LISTEN`) would hold for nobody.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, ConnectError> {
        let options = session_options(url)?;
        let port = options.get_port();
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .min_connections(1)
            .acquire_timeout(Duration::from_secs(10))
            .idle_timeout(Duration::from_secs(300))
            // What was in use a moment ago is not asked whether it lives: that would be a round trip more for every transaction.
            .test_before_acquire(false)
            .before_acquire(|conn, meta| {
                Box::pin(async move {
                    if meta.idle_for > FRESH {
                        conn.ping().await?;
                    }
                    Ok(true)
                })
            })
            .after_connect(move |_, _| {
                lifeline::attach(port);
                Box::pin(async { Ok(()) })
            })
            // A BEGIN whose future was dropped leaves its connection inside a transaction: the next borrower's
            // acknowledged writes would vanish. Rolling back on return costs a round trip and ends that.
            .after_release(|conn, _| {
                Box::pin(async move { sqlx::raw_sql(AS_FOUND).execute(conn).await.map(|_| true) })
            })
            .connect_with(options)
            .await
            .map_err(ConnectError::of)?;
        let patience: String = sqlx::query_scalar("select current_setting('lock_timeout')")
            .fetch_one(&pool)
            .await
            .map_err(ConnectError::of)?;
        if patience != LOCK_TIMEOUT {
            return Err(ConnectError::Pooled);
        }
        Ok(Self {
            pool,
            definitions: Arc::default(),
            lately: Arc::default(),
            desk: Arc::default(),
            kept: Arc::new(Kept::of(connections)),
            bell: Arc::default(),
        })
    }
}

impl Store {
    /// A connection for a transaction and how that begins: one that has just ended another, or one of the pool that is yet to be set
    /// up, in the same round trip.
    pub(super) async fn connection(&self) -> Result<(PoolConnection<Postgres>, &'static str), sqlx::Error> {
        Ok(match self.kept.take() {
            Some(conn) => (conn, "begin"),
            None => (
                self.pool.acquire().await?,
                "set plan_cache_mode = force_generic_plan; begin",
            ),
        })
    }

    /// One that has just ended a transaction. `None`: there is none.
    pub(super) fn connection_at_hand(&self) -> Option<PoolConnection<Postgres>> {
        self.kept.take()
    }
}

/// Connections that have just committed and go to the next transaction without the pool, which would roll them back first: a round
/// trip for nothing, as nobody has dropped anything half-way.
pub(super) struct Kept {
    most: usize,
    /// `None`: the pool is closed, and all go back to it.
    kept: Mutex<Option<Vec<Free>>>,
}

/// Since when it is free.
type Free = (Instant, PoolConnection<Postgres>);

impl Kept {
    /// A quarter of a pool: the rest is there for whoever asks the pool.
    fn of(connections: u32) -> Self {
        Self {
            most: connections as usize / 4,
            kept: Mutex::new(Some(Vec::new())),
        }
    }

    /// One that was in use a moment ago.
    pub(super) fn take(&self) -> Option<PoolConnection<Postgres>> {
        let (since, conn) = self.kept.lock().ok()?.as_mut()?.pop()?;
        (since.elapsed() < FRESH).then_some(conn)
    }

    /// Keeps one whose transaction is over.
    pub(super) fn put(&self, conn: PoolConnection<Postgres>) {
        if let Ok(mut kept) = self.kept.lock()
            && let Some(kept) = kept.as_mut().filter(|kept| kept.len() < self.most)
        {
            kept.push((clock::monotonic(), conn));
        }
    }

    /// Gives all back to the pool, now and from now on.
    pub(super) fn close(&self) {
        if let Ok(mut kept) = self.kept.lock() {
            kept.take();
        }
    }
}

fn session_options(url: &str) -> Result<PgConnectOptions, ConnectError> {
    let options = PgConnectOptions::from_str(url).map_err(ConnectError::Address)?;
    let options = options.application_name("tidegate").options([
        ("jit", "off"),
        // Tables that were empty when they were last counted and hold ten thousand rows now: what can be reached by a key is never
        // read as a whole instead, whatever the statistics say.
        ("random_page_cost", "1.1"),
        ("enable_seqscan", "off"),
        ("idle_in_transaction_session_timeout", "15s"),
        ("lock_timeout", LOCK_TIMEOUT),
        ("statement_timeout", "60s"),
        ("timezone", "UTC"),
        ("client_min_messages", "error"),
    ]);
    Ok(options.disable_statement_logging())
}
