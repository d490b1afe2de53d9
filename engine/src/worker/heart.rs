//! The heart: renews the worker's leases on a connection of its own, ends what it no longer holds, and gives back what it holds
//! without knowing: where the answer to a claim was lost, its leases would be renewed for ever and nobody would run its task runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use sqlx::PgConnection;
use sqlx::pool::PoolConnection;
use tokio_util::sync::CancellationToken;

use super::{Shared, Stop, lock};
use crate::clock;
use crate::id::{Epoch, RunId, TaskIdx};
use crate::plan::Outcome;
use crate::plugin::chain;
use crate::store::advance::Report;
use crate::store::leases::{HEARTBEAT, Held, LEASE, MARGIN, renew};
use crate::store::{Store, StoreError};

/// Beats until the worker is over.
pub(super) async fn beat(shared: Arc<Shared>, over: CancellationToken) {
    let mut renewed = clock::monotonic();
    let mut own: Option<PgConnection> = None;
    let mut strays = BTreeSet::new();
    while !over.is_cancelled() {
        // Measured before the renewal is sent: the lease ends no earlier than this plus its length.
        let sent = clock::monotonic();
        match renew_once(&shared, own.take()).await {
            Ok((conn, held)) => {
                own = Some(conn);
                renewed = sent;
                settle(&shared, &held);
                let seen = unknown(&shared, &held);
                // Twice in a row: what is claimed begins within a moment.
                seen.intersection(&strays)
                    .for_each(|stray| give_back(&shared, *stray));
                strays = seen;
            }
            Err(error) => tracing::warn!(error = chain(&error), "renewing the leases failed"),
        }
        fence_if_late(&shared, renewed);
        tokio::select! {
            () = over.cancelled() => {}
            () = clock::sleep(if own.is_some() { HEARTBEAT } else { HEARTBEAT / 10 }) => {}
        }
    }
}

/// One renewal in a task of its own, given up before the margin is reached; the connection comes back when it is sound.
async fn renew_once(
    shared: &Arc<Shared>,
    own: Option<PgConnection>,
) -> Result<(PgConnection, Vec<Held>), StoreError> {
    let (pool, worker) = (shared.store.pool().clone(), shared.id);
    let work = tokio::spawn(async move {
        let mut conn = match own {
            Some(conn) => conn,
            None => PoolConnection::detach(pool.acquire().await?),
        };
        let held = renew(&mut conn, worker).await?;
        Ok((conn, held))
    });
    match tokio::time::timeout(HEARTBEAT, work).await {
        Ok(done) => done.map_err(|e| StoreError::Broken(e.to_string()))?,
        Err(_) => Err(StoreError::Broken("no answer within a heartbeat".to_owned())),
    }
}

/// Ends what is no longer ours and passes on the wish to cancel.
fn settle(shared: &Shared, held: &[Held]) {
    let held: BTreeMap<_, _> = held.iter().map(|h| ((h.run, h.idx), h)).collect();
    for (key, attempt) in lock(&shared.running).iter() {
        match held.get(key) {
            Some(lease) if lease.epoch == attempt.epoch => {
                if lease.cancelling {
                    attempt.stop.pull(Stop::Requested);
                }
            }
            _ => {
                let question = ask_before_killing(shared.store.clone(), *key, attempt.epoch);
                let stop = attempt.stop.clone();
                tokio::spawn(async move {
                    if question.await {
                        stop.pull(Stop::Fenced);
                    }
                });
            }
        }
    }
}

/// An attempt by its run, its position and its epoch.
type Key = (RunId, TaskIdx, Epoch);

/// Leases of attempts that neither run here nor are about to.
fn unknown(shared: &Shared, held: &[Held]) -> BTreeSet<Key> {
    let (running, beginning) = (lock(&shared.running), lock(&shared.beginning));
    let keys = held.iter().map(|held| (held.run, held.idx, held.epoch));
    keys.filter(|&(run, idx, epoch)| {
        let runs = running
            .get(&(run, idx))
            .is_some_and(|attempt| attempt.epoch == epoch);
        !runs && !beginning.contains(&(run, idx, epoch))
    })
    .collect()
}

fn give_back(shared: &Shared, (run, idx, epoch): Key) {
    tracing::warn!(%run, idx, epoch, "a lease is held here for an attempt that never began: it is given back");
    let report = Report {
        run,
        idx,
        epoch,
        outcome: Outcome::Released,
        outputs: None,
        message: Some("the answer to its claim was lost".to_owned()),
        items: None,
        gate: None,
        cached: None,
    };
    drop(shared.reports.send(report));
}

/// A lease that is missing from a renewal is lost, or was granted after it: only the table knows.
async fn ask_before_killing(store: Store, (run, idx): (RunId, TaskIdx), epoch: Epoch) -> bool {
    let known: Result<Option<i64>, _> =
        sqlx::query_scalar("select epoch from lease where run = $1 and idx = $2")
            .bind(run.0)
            .bind(idx as i32)
            .fetch_optional(store.pool())
            .await;
    known.is_ok_and(|held| held != Some(epoch))
}

/// Without a renewal by lease − margin, everything stops: somebody else may start it soon.
fn fence_if_late(shared: &Shared, renewed: Instant) {
    if renewed.elapsed() + MARGIN < LEASE {
        return;
    }
    for attempt in lock(&shared.running).values() {
        attempt.stop.pull(Stop::Fenced);
    }
}
