//! The heart: renews the worker's leases on a connection of its own and ends what it no longer holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use sqlx::PgConnection;
use sqlx::pool::PoolConnection;
use tokio_util::sync::CancellationToken;

use super::{Shared, Stop, lock};
use crate::clock;
use crate::id::{Epoch, RunId, TaskIdx};
use crate::plugin::chain;
use crate::store::leases::{HEARTBEAT, Held, LEASE, MARGIN, renew};
use crate::store::{Store, StoreError};

/// Beats until the worker is over.
pub(super) async fn beat(shared: Arc<Shared>, over: CancellationToken) {
    let mut renewed = clock::monotonic();
    let mut own: Option<PgConnection> = None;
    while !over.is_cancelled() {
        // Measured before the renewal is sent: the lease ends no earlier than this plus its length.
        let sent = clock::monotonic();
        match renew_once(&shared, own.take()).await {
            Ok((conn, held)) => {
                own = Some(conn);
                renewed = sent;
                settle(&shared, &held);
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
