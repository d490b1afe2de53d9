//! What a scheduler does. Each duty says when it has something to do and how often it may; all are safe to repeat.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::clock;
use crate::plugin::chain;
use crate::store::glance::Glance;
use crate::store::{Result, Store};

/// Schedules that are fired in one transaction.
const TOGETHER: usize = 50;
/// Transactions at once.
const AT_ONCE: usize = 4;
/// How long one may keep a place among them.
const ONE: Duration = Duration::from_secs(5);

type Act = Arc<dyn Fn(Store, Timestamp) -> BoxFuture<'static, Result<usize>> + Send + Sync>;

/// Something to do, again and again.
pub(super) struct Duty {
    name: &'static str,
    /// Not more often than this.
    every: Duration,
    wanted: fn(&Glance) -> bool,
    act: Act,
    begun: Option<Instant>,
    task: Option<JoinHandle<()>>,
    more: Arc<AtomicBool>,
}

/// How often what is seen to be needed is done at most.
const PROMPT: Duration = Duration::ZERO;
const SECONDS: fn(u64) -> Duration = Duration::from_secs;

/// All duties of a scheduler.
pub(super) fn all(id: Uuid, retention: Duration) -> Vec<Duty> {
    let more = Arc::new(AtomicBool::new(false));
    let noticed = Arc::clone(&more);
    let fire = Duty::new("fire", (PROMPT, |seen| seen.due), move |store, now| {
        fire_all(store, now, Arc::clone(&noticed))
    });
    vec![
        Duty { more, ..fire },
        Duty::new("reap", (PROMPT, |seen| seen.expired), |store, now| async move {
            store.reap(now).await
        }),
        Duty::new("admit", (PROMPT, |seen| seen.queued), |store, now| async move {
            store.admit_queued(now).await
        }),
        Duty::new("follow", (PROMPT, |seen| seen.ended), |store, now| async move {
            store.follow_ended(now).await
        }),
        Duty::new(
            "tend sub-runs",
            (PROMPT, |seen| seen.nested),
            |store, now| async move { store.tend_sub_runs(now).await },
        ),
        Duty::new(
            "time out",
            (SECONDS(1), |seen| seen.running),
            |store, now| async move { store.time_out_runs(now).await },
        ),
        Duty::new(
            "tell overdue",
            (SECONDS(5), |seen| seen.running),
            |store, now| async move { store.tell_overdue(now).await },
        ),
        Duty::new("expire", (PROMPT, |seen| seen.late), |store, now| async move {
            store.expire_approvals(now).await
        }),
        Duty::new(
            "supersede",
            (SECONDS(10), |seen| seen.asking),
            |store, now| async move { store.supersede_approvals(now).await },
        ),
        Duty::new(
            "remind",
            (SECONDS(30), |seen| seen.asking),
            |store, now| async move { store.remind_approvals(now).await },
        ),
        Duty::new("count", (SECONDS(5), |_| true), |store, _| async move {
            store.count_up().await
        }),
        Duty::new("beat", (SECONDS(5), |_| true), move |store, _| async move {
            store.beat(id).await.map(|()| 0)
        }),
        Duty::new(
            "make partitions",
            (SECONDS(3_600), |_| true),
            |store, now| async move { store.ensure_partitions(now).await.map(|()| 0) },
        ),
        Duty::new(
            "drop partitions",
            (SECONDS(3_600), |_| true),
            move |store, now| async move { store.drop_old_partitions(retention, now).await },
        ),
        Duty::new("sweep", (SECONDS(3_600), |_| true), |store, now| async move {
            store.sweep(now).await
        }),
    ]
}

impl Duty {
    fn new<F>(
        name: &'static str,
        (every, wanted): (Duration, fn(&Glance) -> bool),
        act: impl Fn(Store, Timestamp) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<usize>> + Send + 'static,
    {
        Self {
            name,
            every,
            wanted,
            act: Arc::new(move |store, now| Box::pin(act(store, now))),
            begun: None,
            task: None,
            more: Arc::default(),
        }
    }

    /// Begins it when it is wanted, its time has come and it is not still at it.
    pub(super) fn begin(&mut self, store: &Store, (seen, now): (&Glance, Timestamp)) {
        if self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        self.task = None;
        let early = self.begun.is_some_and(|begun| begun.elapsed() < self.every);
        self.more.store(false, Ordering::Relaxed);
        if early || !(self.wanted)(seen) {
            return;
        }
        self.begun = Some(clock::monotonic());
        let (name, work) = (self.name, (self.act)(store.clone(), now));
        self.task = Some(tokio::spawn(async move {
            match work.await {
                Ok(0) => {}
                Ok(count) => tracing::debug!(duty = name, count, "done"),
                Err(error) => tracing::warn!(
                    duty = name,
                    error = chain(&error),
                    "a duty of the scheduler failed"
                ),
            }
        }));
    }

    /// Waits for what was begun. A panic is told by the runtime and costs this duty one turn.
    pub(super) async fn finish(&mut self) {
        if let Some(task) = &mut self.task {
            let _ = task.await;
            self.task = None;
        }
    }

    /// It left something for a moment later.
    pub(super) fn wants_more(&self) -> bool {
        self.more.load(Ordering::Relaxed)
    }
}

/// Fires all schedules that have something due, some in a transaction, a few transactions at once. One that does not come to an end
/// loses its place to the next; its transaction goes on by itself.
async fn fire_all(store: Store, now: Timestamp, more: Arc<AtomicBool>) -> Result<usize> {
    let due = store.due_schedules(now).await?;
    let firing = futures::stream::iter(due.chunks(TOGETHER).map(<[_]>::to_vec)).map(|some| {
        let store = store.clone();
        async move {
            let first = some
                .first()
                .map_or(String::new(), |(flow, name)| format!("{flow}/{name}"));
            match tokio::time::timeout(ONE, store.fire_some(some, now)).await {
                Ok(Ok(fired)) => (fired.runs, fired.busy),
                Ok(Err(error)) => {
                    tracing::warn!(schedule = first, error = chain(&error), "firing schedules failed");
                    (0, true)
                }
                Err(_) => (0, true),
            }
        }
    });
    let done: Vec<(usize, bool)> = firing.buffer_unordered(AT_ONCE).collect().await;
    more.store(done.iter().any(|(_, again)| *again), Ordering::Relaxed);
    Ok(done.iter().map(|(runs, _)| runs).sum())
}
