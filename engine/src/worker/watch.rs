//! Waiting for work: a bell, and a look round for those that were not heard.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::pool::PoolConnection;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::clock;
use crate::store::{StoreError, claim};

/// How often a worker looks round, rung for or not.
pub(super) const POLL: Duration = Duration::from_secs(1);
/// How long a look may take.
const LOOK: Duration = Duration::from_secs(5);

/// Looks round on a connection of its own: an idle worker costs the database one small question a second.
#[derive(Default)]
pub(super) struct Round {
    own: Option<PgConnection>,
}

impl Round {
    /// Until there may be something to claim, or `stop`.
    pub(super) async fn wait(&mut self, shared: &Shared, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = shared.wake.notified() => return,
                () = clock::sleep(POLL.mul_f64(0.75 + clock::random() / 2.0)) => {}
            }
            // Trouble is told by whoever claims.
            if self.sees_work(shared).await.unwrap_or(true) {
                return;
            }
        }
    }

    /// In a task of its own: one that is given up never leaves a connection half-way.
    async fn sees_work(&mut self, shared: &Shared) -> Result<bool, StoreError> {
        let (pool, own) = (shared.store.pool().clone(), self.own.take());
        let queues = shared.config.queues.clone();
        let work = tokio::spawn(async move {
            let mut conn = match own {
                Some(conn) => conn,
                None => PoolConnection::detach(pool.acquire().await?),
            };
            let due = claim::is_any_due(&mut conn, &queues, clock::now()).await?;
            Ok::<_, StoreError>((conn, due))
        });
        let done = tokio::time::timeout(LOOK, work).await;
        let done = done.map_err(|_| StoreError::Broken("no answer from the database".to_owned()))?;
        let (conn, due) = done.map_err(|e| StoreError::Broken(e.to_string()))??;
        self.own = Some(conn);
        Ok(due)
    }
}
