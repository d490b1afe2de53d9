//! The finisher: gathers the reports that came while the last transaction ran, and commits them as one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::watch::POLL;
use super::{CROWD, GATHER, Room, Shared, lock};
use crate::clock;
use crate::plugin::Isolation;
use crate::store::advance::{Advanced, Report};
use crate::store::{Store, clean};

/// Reports in one transaction at most.
const BATCH: usize = 500;

/// Commits reports until the worker is over and no report is left.
pub(super) async fn collect(
    shared: Arc<Shared>,
    mut inbox: mpsc::UnboundedReceiver<Report>,
    over: CancellationToken,
) {
    let mut batch = Vec::new();
    loop {
        let count = tokio::select! {
            biased;
            count = inbox.recv_many(&mut batch, BATCH) => count,
            () = over.cancelled() => 0,
        };
        if count == 0 {
            return;
        }
        gather(&shared, &mut inbox, &mut batch).await;
        commit(&shared, std::mem::take(&mut batch).into(), &over).await;
    }
}

/// Where hundreds of inline attempts are under way, waits a moment for half of them: they are committed together, and while they are,
/// the other half runs.
async fn gather(shared: &Shared, inbox: &mut mpsc::UnboundedReceiver<Report>, batch: &mut Vec<Report>) {
    let half = shared.light_under_way() / 2;
    let until = clock::monotonic() + GATHER;
    while half >= CROWD && batch.len() < half {
        let left = until.saturating_duration_since(clock::monotonic());
        let more = tokio::time::timeout(left, inbox.recv_many(batch, BATCH - batch.len()));
        if more.await.unwrap_or_default() == 0 {
            return;
        }
    }
}

/// Commits a batch, again and again while the trouble is passing: results are not thrown away because PostgreSQL restarts.
async fn commit(shared: &Arc<Shared>, batch: Arc<[Report]>, over: &CancellationToken) {
    let claimer = (!shared.draining.load(Ordering::Acquire)).then(|| {
        let room = freed(shared, &batch);
        let mut claimer = shared.claimer(room);
        claimer.crowded.cut_short = shared.full.waits_for(room);
        claimer
    });
    loop {
        match shared
            .store
            .advance(Arc::clone(&batch), claimer.clone(), clock::now())
            .await
        {
            Ok(done) => {
                let (gated, due) = (done.gated, done.due);
                tell_refused(&batch, &done.accepted);
                go_on(shared, &batch, done).await;
                if shared.full.waits_for(shared.room()) {
                    shared.wake.notify_one();
                }
                if gated {
                    supersede(shared.store.clone());
                }
                if let Some(due) = due {
                    look_at(shared, due);
                }
                return;
            }
            Err(error) if error.is_passing() && !over.is_cancelled() => {
                tracing::warn!(
                    error = crate::plugin::chain(&error),
                    "reporting failed; trying again"
                );
            }
            Err(error) => {
                // Their leases end and others take over: at least once, never silently lost.
                tracing::error!(
                    error = crate::plugin::chain(&error),
                    "reports could not be committed"
                );
                batch.iter().for_each(|r| shared.forget((r.run, r.idx, r.epoch)));
                return;
            }
        }
    }
}

/// Looks again when something is due before the worker would look by itself: a pause of a tenth of a second is not one of a second.
fn look_at(shared: &Arc<Shared>, due: Timestamp) {
    let left = Duration::try_from(due.duration_since(clock::now())).unwrap_or_default();
    if left < POLL {
        let wake = Arc::clone(&shared.wake);
        tokio::spawn(async move {
            clock::sleep(left).await;
            wake.notify_one();
        });
    }
}

/// Says which reports changed nothing: their leases had ended, or they were counted before and only the answer was lost.
fn tell_refused(batch: &[Report], accepted: &[bool]) {
    for (report, _) in batch.iter().zip(accepted).filter(|(_, accepted)| !**accepted) {
        tracing::warn!(
            run = %report.run,
            idx = report.idx,
            epoch = report.epoch,
            "a report came too late, or for the second time: it changed nothing"
        );
    }
}

/// The room that a batch leaves behind.
fn freed(shared: &Shared, batch: &[Report]) -> Room {
    let running = lock(&shared.running);
    let mut room = Room::default();
    for report in batch {
        match running
            .get(&(report.run, report.idx))
            .map(|attempt| attempt.isolation)
        {
            Some(Isolation::Inline) => room.light += 1,
            Some(Isolation::Process | Isolation::Program) => room.slots += 1,
            None => {}
        }
    }
    room
}

/// Lets go of what is reported and begins what was handed over, which knows of its run and its needs what has just been said.
async fn go_on(shared: &Arc<Shared>, batch: &[Report], done: Advanced) {
    if !done.handed.is_empty() {
        let succeeded = |(r, counted): &(&Report, bool)| *counted && r.outcome.hands_on();
        let succeeded = batch.iter().zip(done.accepted).filter(succeeded);
        let outputs = succeeded.filter_map(|(r, _)| Some(((r.run, r.idx), clean(r.outputs.clone()?))));
        shared.begin_all(done.handed, outputs.collect()).await;
    }
    batch.iter().for_each(|r| shared.forget((r.run, r.idx, r.epoch)));
}

/// Closes what older runs still ask at a gate just reached; what fails here is left to the scheduler's sweep.
pub(super) fn supersede(store: Store) {
    tokio::spawn(async move {
        if let Err(error) = store.supersede_approvals(clock::now()).await {
            tracing::warn!(
                error = crate::plugin::chain(&error),
                "superseding older approvals failed"
            );
        }
    });
}
