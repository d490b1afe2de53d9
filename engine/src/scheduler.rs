//! The scheduler: makes runs of what is due, and does what nobody else comes to do.
//!
//! A loop around [`Scheduler::tick`]: one look at the database says which [`duties`] have something to do; each of them runs in a
//! task of its own, so that one that fails, panics or waits for a lock never stops the others. Any number of schedulers may run at
//! once: every duty is safe beside itself, in this process or another.

mod duties;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::PgConnection;
use sqlx::pool::PoolConnection;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::duties::Duty;
use crate::clock;
use crate::plugin::chain;
use crate::store::glance::{Glance, glance};
use crate::store::{Store, StoreError};

/// How long a duty is waited for before the others go on without it.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the look at the database may take.
const LOOK: Duration = Duration::from_secs(5);
/// How soon it looks again when it is rung for.
const BREATH: Duration = Duration::from_millis(25);
/// How soon to come back to a schedule that another scheduler is at.
const BUSY: Duration = Duration::from_millis(100);

/// How a scheduler is set up.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// How long it sleeps at most, woken or not.
    pub poll: Duration,
    /// How long events and logs are kept.
    pub retention: Duration,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            retention: Duration::from_secs(90 * 86_400),
        }
    }
}

/// Runs a scheduler until `stop`. `wake` is rung when a schedule changed or a flow got room, see [`Store::scheduler_bell`].
pub async fn run(
    config: SchedulerConfig,
    store: Store,
    wake: Arc<Notify>,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let mut scheduler = Scheduler::new(config, store);
    scheduler.begin().await;
    while !stop.is_cancelled() {
        let begun = clock::monotonic();
        let pause = scheduler.tick(clock::now()).await;
        // It was reckoned from when the tick began.
        let pause = pause.saturating_sub(begun.elapsed());
        tokio::select! {
            () = stop.cancelled() => {}
            // Hundreds of runs that end in a second are no reason for hundreds of looks.
            () = async {
                wake.notified().await;
                clock::sleep(BREATH.saturating_sub(begun.elapsed())).await;
            } => {}
            () = clock::sleep(pause) => {}
        }
    }
    scheduler.end().await
}

/// One scheduler.
pub struct Scheduler {
    id: Uuid,
    config: SchedulerConfig,
    store: Store,
    duties: Vec<Duty>,
    own: Option<PgConnection>,
}

impl Scheduler {
    /// A scheduler that has done nothing yet.
    pub fn new(config: SchedulerConfig, store: Store) -> Self {
        let id = clock::new_id();
        Self {
            id,
            duties: duties::all(id, config.retention),
            config,
            store,
            own: None,
        }
    }

    /// What is done once. Trouble with it is no reason not to begin: the duties repeat it.
    async fn begin(&self) {
        if let Err(error) = self.store.refresh_schedules().await {
            tracing::warn!(error = chain(&error), "the schedules could not be refreshed");
        }
    }

    /// Takes its name off the list of those who are alive.
    async fn end(self) -> Result<(), StoreError> {
        self.store.dismiss_scheduler(self.id).await
    }

    /// Does all that is to be done at `now`; answers how long there is nothing more to do, as far as can be known.
    pub async fn tick(&mut self, now: Timestamp) -> Duration {
        let seen = match self.look(now).await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(error = chain(&error), "the scheduler cannot see what is due");
                return self.jittered(self.config.poll);
            }
        };
        for duty in &mut self.duties {
            duty.begin(&self.store, (&seen, now));
        }
        let patience = tokio::time::timeout(PATIENCE, async {
            for duty in &mut self.duties {
                duty.finish().await;
            }
        });
        // Whoever is not done goes on by itself and is not begun again until it is.
        let _ = patience.await;
        self.pause(&seen, now)
    }

    fn pause(&self, seen: &Glance, now: Timestamp) -> Duration {
        let poll = self.jittered(self.config.poll);
        // Where nothing moves, only an edit that was not heard of can come before the next due instant.
        let poll = if seen.is_quiet() { poll * 2 } else { poll };
        let next = seen.next_at.map(|at| at.duration_since(now).unsigned_abs());
        let busy = self
            .duties
            .iter()
            .any(Duty::wants_more)
            .then(|| self.jittered(BUSY));
        [next, busy].into_iter().flatten().fold(poll, Duration::min)
    }

    fn jittered(&self, pause: Duration) -> Duration {
        pause.mul_f64(0.7 + 0.3 * clock::random())
    }

    /// One look, on a connection of its own, in a task of its own: a server that does not answer costs a few seconds.
    async fn look(&mut self, now: Timestamp) -> Result<Glance, StoreError> {
        let (pool, own) = (self.store.pool().clone(), self.own.take());
        let work = tokio::spawn(async move {
            let mut conn = match own {
                Some(conn) => conn,
                None => PoolConnection::detach(pool.acquire().await?),
            };
            let seen = glance(&mut conn, now).await?;
            Ok::<_, StoreError>((conn, seen))
        });
        let (conn, seen) = match tokio::time::timeout(LOOK, work).await {
            Ok(done) => done.map_err(|e| StoreError::Broken(e.to_string()))??,
            Err(_) => return Err(StoreError::Broken("no answer from the database".to_owned())),
        };
        self.own = Some(conn);
        Ok(seen)
    }
}
