//! The scribe: takes in what the attempts of this worker say, and writes it down in batches. No attempt ever waits for it.
//!
//! ```text
//! emit ─► pages of the attempt ─► every 250 ms, or at a bell: one transaction for all attempts, fenced
//!              │ no room (PostgreSQL is away): dropped, and a mark says how much
//! end of the attempt ─► close: the tail of a long log follows, all is flushed, then the report goes out
//! ```
//! A line gets its number when it is taken into a batch. A batch whose fate is unknown is sent again as it was; one that
//! PostgreSQL refuses for good is given up, its numbers go to the lines after it. So numbers have no gaps.

mod pages;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use self::pages::Pages;
use super::lock;
use crate::clock;
use crate::plugin::{Emission, chain};
use crate::store::Store;
use crate::store::effects::{Batch, Progress};
use crate::store::leases::{Holder, LEASE};

/// How long something said waits at most before it is written.
const EVERY: Duration = Duration::from_millis(250);
/// Bytes that wait to be written, of all attempts; beyond, what is said is dropped.
const SPOOL_CAP: usize = 32 << 20;
/// Bytes of a batch, about.
const BATCH_CAP: usize = 4 << 20;

/// Takes in and writes down.
#[derive(Default)]
pub(super) struct Scribe {
    attempts: Mutex<BTreeMap<Holder, Pages>>,
    bell: Notify,
}

impl Scribe {
    /// Begins to listen to an attempt.
    pub(super) fn open(&self, holder: Holder) {
        lock(&self.attempts).insert(holder, Pages::default());
    }

    /// Takes in what an attempt says; of one that is not open, nothing.
    pub(super) fn take_in(&self, holder: Holder, emission: Emission, now: Timestamp) {
        let mut attempts = lock(&self.attempts);
        let room = attempts.values().map(Pages::waiting).sum::<usize>() < SPOOL_CAP;
        if let Some(pages) = attempts.get_mut(&holder) {
            pages.take_in(emission, room, now);
            if pages.waiting() > BATCH_CAP / 4 {
                self.bell.notify_one();
            }
        }
    }

    /// Ends an attempt's log when all of it is written, at the latest when its lease must be over.
    pub(super) async fn close(&self, holder: Holder, now: Timestamp) {
        let (told, done) = oneshot::channel();
        {
            let mut attempts = lock(&self.attempts);
            match attempts.get_mut(&holder) {
                // Most light tasks never say a word: nothing is written, nobody is waited for.
                Some(pages) if pages.is_blank() => drop(attempts.remove(&holder)),
                Some(pages) => {
                    pages.close(told, now);
                    self.bell.notify_one();
                }
                None => {}
            }
            if !attempts.contains_key(&holder) {
                return;
            }
        }
        let _ = tokio::time::timeout(LEASE, done).await;
        self.forget(holder);
    }

    /// Forgets an attempt and what it said: its lease is gone.
    pub(super) fn forget(&self, holder: Holder) {
        lock(&self.attempts).remove(&holder);
    }

    fn next_batch(&self) -> Batch {
        let mut batch = Batch::default();
        let mut room = BATCH_CAP;
        for (holder, pages) in lock(&self.attempts).iter_mut() {
            room = room.saturating_sub(pages.hand_out(*holder, &mut batch));
            if room == 0 {
                break;
            }
        }
        batch
    }

    fn next_progress(&self) -> Vec<Progress> {
        let now = clock::monotonic();
        let mut attempts = lock(&self.attempts);
        let due = attempts.iter_mut().filter_map(|(holder, pages)| {
            let (done, total) = pages.progress_due(now)?;
            Some(Progress {
                holder: *holder,
                done,
                total,
            })
        });
        due.collect()
    }

    /// Lets go of the attempts that are finished with, and of those that lost their lease.
    fn settle(&self, batch: &Batch, fate: &Fate) {
        lock(&self.attempts).retain(|holder, pages| {
            let lost = match fate {
                Fate::Written(held) => pages.is_out() && !held.contains(holder),
                Fate::GivenUp => {
                    pages.take_back(*holder, batch);
                    false
                }
            };
            !lost && !pages.come_back()
        });
    }
}

/// What became of a batch.
enum Fate {
    /// Of these attempts it is written; the others hold no lease.
    Written(BTreeSet<Holder>),
    /// PostgreSQL will never take it.
    GivenUp,
}

/// Writes until the worker is over, and then once more.
pub(super) async fn write(scribe: Arc<Scribe>, store: Store, over: CancellationToken) {
    loop {
        let last = over.is_cancelled();
        write_out(&scribe, &store, &over).await;
        if last {
            return;
        }
        tokio::select! {
            () = over.cancelled() => {}
            () = scribe.bell.notified() => {}
            () = clock::sleep(EVERY) => {}
        }
    }
}

async fn write_out(scribe: &Scribe, store: &Store, over: &CancellationToken) {
    loop {
        let batch = Arc::new(scribe.next_batch());
        let fate = if batch.is_empty() {
            Some(Fate::Written(BTreeSet::new()))
        } else {
            write_batch(store, &batch, over).await
        };
        let Some(fate) = fate else { return };
        scribe.settle(&batch, &fate);
        if batch.is_empty() || matches!(fate, Fate::GivenUp) {
            break;
        }
    }
    let progress = scribe.next_progress();
    if !progress.is_empty()
        && let Err(error) = store.write_progress(&progress).await
    {
        tracing::debug!(error = chain(&error), "progress could not be written");
    }
}

/// Writes a batch, again and again while the trouble is passing. `None`: the worker is over.
async fn write_batch(store: &Store, batch: &Arc<Batch>, over: &CancellationToken) -> Option<Fate> {
    loop {
        let error = match store.write_batch(Arc::clone(batch)).await {
            Ok(held) => return Some(Fate::Written(held)),
            Err(error) => error,
        };
        if !error.is_passing() {
            tracing::error!(
                error = chain(&error),
                "what tasks said could not be written and is dropped"
            );
            return Some(Fate::GivenUp);
        }
        if over.is_cancelled() {
            return None;
        }
        tracing::warn!(
            error = chain(&error),
            "what tasks say cannot be written now; trying again"
        );
        clock::sleep(EVERY).await;
    }
}
