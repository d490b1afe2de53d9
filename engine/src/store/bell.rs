//! Wake-ups. A bell says "look again", never what is there: who misses one finds the same a poll later.
//!
//! ```text
//! a transaction notes what it made possible ─► commit ─► ring here ─► workers, scheduler, watchers of changes
//!                                                          └─► outbox ─(at most every 20 ms)─► empty NOTIFY
//! another process ─► NOTIFY ─► listener ─► ring here
//! ```
//! A process that is over with its verb ([`Store::call_out`]) has no outbox that somebody empties: it calls out after each commit, and goes on then.
//!
//! NOTIFY never rides in a transaction that does work: PostgreSQL takes a lock of the whole cluster for its commit. It may be off
//! ([`Store::link`] not called) and may fail; nothing but time is lost.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgListener;
use sqlx::{PgConnection, PgExecutor};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Store;
use crate::clock;

/// How long wake-ups for other processes are gathered after one that went out.
const GATHER: Duration = Duration::from_millis(20);
/// How long to wait before a lost connection is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Who is to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rings(u8);

impl Rings {
    /// People who watch: something looks different now.
    pub const CHANGED: Self = Self(1);
    /// Workers: something may be claimed now.
    pub const WORKERS: Self = Self(2);
    /// The scheduler: a schedule is another one, or a flow has room for a run.
    pub const SCHEDULER: Self = Self(4);
    const ALL: Self = Self(7);

    const CHANNELS: [(&'static str, Self); 3] = [
        ("tidegate_changed", Self::CHANGED),
        ("tidegate_workers", Self::WORKERS),
        ("tidegate_scheduler", Self::SCHEDULER),
    ];

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn of_channel(channel: &str) -> Self {
        let known = Self::CHANNELS.iter().find(|(name, _)| *name == channel);
        known.map_or(Self::default(), |(_, rings)| *rings)
    }
}

impl std::ops::BitOr for Rings {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

tokio::task_local! {
    static NOTED: Cell<Rings>;
}

/// Runs a transaction's work; answers also what it noted.
pub(super) async fn noting<T>(work: impl Future<Output = T>) -> (T, Rings) {
    let work = async {
        let value = work.await;
        (value, NOTED.with(Cell::get))
    };
    NOTED.scope(Cell::default(), work).await
}

/// Notes, inside a transaction, who is to look again once it is committed.
pub(super) fn note(rings: Rings) {
    // Outside of `Store::transact` there is nobody to ring for; the poll finds it.
    let _ = NOTED.try_with(|noted| noted.set(noted.get() | rings));
}

/// The bells of one process.
#[derive(Debug)]
pub struct Bell {
    workers: Arc<Notify>,
    scheduler: Arc<Notify>,
    changes: watch::Sender<u64>,
    outbox: AtomicU8,
    post: Notify,
    /// What is left for other processes goes out at once.
    calls_out: AtomicBool,
    /// Backend that our own NOTIFYs come from, whose echo is not ours to hear.
    own: AtomicU32,
}

impl Default for Bell {
    fn default() -> Self {
        Self {
            workers: Arc::default(),
            scheduler: Arc::default(),
            changes: watch::Sender::new(0),
            outbox: AtomicU8::new(0),
            post: Notify::new(),
            calls_out: AtomicBool::new(false),
            own: AtomicU32::new(0),
        }
    }
}

impl Bell {
    /// Rings here, and leaves word for other processes.
    pub(super) fn ring(&self, rings: Rings) {
        if rings == Rings::default() {
            return;
        }
        self.ring_here(rings);
        self.outbox.fetch_or(rings.0, Ordering::AcqRel);
        self.post.notify_one();
    }

    fn ring_here(&self, rings: Rings) {
        if rings.has(Rings::WORKERS) {
            self.workers.notify_one();
        }
        if rings.has(Rings::SCHEDULER) {
            self.scheduler.notify_one();
        }
        if rings != Rings::default() {
            self.changes.send_modify(|count| *count += 1);
        }
    }
}

impl Store {
    /// Rung when something may have become ready: what a worker waits for.
    pub fn workers_bell(&self) -> Arc<Notify> {
        Arc::clone(&self.bell.workers)
    }

    /// Rung when a schedule changed or a flow got room: what a scheduler waits for.
    pub fn scheduler_bell(&self) -> Arc<Notify> {
        Arc::clone(&self.bell.scheduler)
    }

    /// A number that grows with each change that people may see, made here or, after [`Store::link`], elsewhere.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.bell.changes.subscribe()
    }

    /// From now on other processes are woken by each transaction here before it is answered: for one that is soon over.
    pub fn call_out(&self) {
        self.bell.calls_out.store(true, Ordering::Release);
    }

    /// Rings after a commit.
    pub(super) async fn ring(&self, rings: Rings) {
        self.bell.ring(rings);
        if !self.bell.calls_out.load(Ordering::Acquire) {
            return;
        }
        let left = Rings(self.bell.outbox.swap(0, Ordering::AcqRel));
        if left != Rings::default()
            && let Err(error) = say(self.pool(), left).await
        {
            tracing::debug!(%error, "a wake-up did not reach the other processes");
        }
    }

    /// Joins the bells of other processes on this database, until `stop`. Without it wake-ups stay in this process.
    pub fn link(&self, stop: CancellationToken) {
        tokio::spawn(announce(self.clone(), stop.clone()));
        tokio::spawn(listen(self.clone(), stop));
    }
}

/// Passes wake-ups on to other processes, on a connection of its own.
async fn announce(store: Store, stop: CancellationToken) {
    let mut own = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = store.bell.post.notified() => {}
        }
        let rings = Rings(store.bell.outbox.swap(0, Ordering::AcqRel));
        if rings == Rings::default() {
            continue;
        }
        own = match post(&store, own.take(), rings).await {
            Ok(conn) => Some(conn),
            Err(error) => {
                tracing::debug!(%error, "a wake-up did not reach the other processes");
                None
            }
        };
        // The first one goes at once; those that follow it closely go together.
        clock::sleep(GATHER).await;
    }
}

async fn post(store: &Store, own: Option<PgConnection>, rings: Rings) -> sqlx::Result<PgConnection> {
    let mut conn = match own {
        Some(conn) => conn,
        None => connect(store).await?,
    };
    say(&mut conn, rings).await?;
    Ok(conn)
}

async fn say<'c>(conn: impl PgExecutor<'c>, rings: Rings) -> sqlx::Result<()> {
    let channels = Rings::CHANNELS.iter().filter(|(_, of)| rings.has(*of));
    let channels: Vec<&str> = channels.map(|(name, _)| *name).collect();
    sqlx::query("select pg_notify(channel, '') from unnest($1::text[]) as channel")
        .bind(channels)
        .execute(conn)
        .await?;
    Ok(())
}

async fn connect(store: &Store) -> sqlx::Result<PgConnection> {
    let mut conn = PoolConnection::detach(store.pool().acquire().await?);
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut conn)
        .await?;
    store.bell.own.store(pid.cast_unsigned(), Ordering::Release);
    Ok(conn)
}

/// Hears other processes.
async fn listen(store: Store, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(error) = hear(&store, &stop).await {
            tracing::debug!(%error, "other processes cannot be heard");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = clock::sleep(AGAIN) => {}
        }
    }
}

async fn hear(store: &Store, stop: &CancellationToken) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(store.pool()).await?;
    listener
        .listen_all(Rings::CHANNELS.iter().map(|(name, _)| *name))
        .await?;
    store.bell.ring_here(Rings::ALL);
    loop {
        let heard = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            heard = listener.try_recv() => heard?,
        };
        match heard {
            // The connection was lost, and with it whatever was said meanwhile.
            None => store.bell.ring_here(Rings::ALL),
            Some(call) if call.process_id() == store.bell.own.load(Ordering::Acquire) => {}
            Some(call) => store.bell.ring_here(Rings::of_channel(call.channel())),
        }
    }
}
