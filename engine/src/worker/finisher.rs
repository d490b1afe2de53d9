//! The finisher: gathers the reports that came while the last transaction ran, and commits them as one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::clock;
use crate::store::Store;
use crate::store::advance::Report;

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
        commit(&shared, std::mem::take(&mut batch), &over).await;
    }
}

/// Commits a batch, again and again while the trouble is passing: results are not thrown away because PostgreSQL restarts.
async fn commit(shared: &Arc<Shared>, batch: Vec<Report>, over: &CancellationToken) {
    let claimer = (!shared.draining.load(Ordering::Acquire)).then(|| shared.claimer(batch.len()));
    loop {
        match shared
            .store
            .advance(batch.clone(), claimer.clone(), clock::now())
            .await
        {
            Ok(done) => {
                batch.iter().for_each(|r| shared.forget((r.run, r.idx, r.epoch)));
                done.handed.into_iter().for_each(|claim| shared.begin(claim));
                shared.wake.notify_one();
                if done.gated {
                    supersede(shared.store.clone());
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
