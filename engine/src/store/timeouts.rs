//! Runs that take longer than their flow allows. Time spent waiting for people does not count.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::locked::LockedRun;
use super::{Result, Store, instant};
use crate::id::{RunId, VersionHash};
use crate::plan;
use crate::state::Reason;

/// Runs that move; all of them, or one.
const MOVING: &str = "select r.id, r.version, r.started_at, extract(epoch from r.waited)::float8 as waited
     from active_run a join run r on r.id = a.run
     where r.state = 'running' and ($1::uuid is null or a.run = $1) order by r.id";

impl Store {
    /// Stops runs that took their `timeout`: they end `failed`, reason `timeout`. Answers how many.
    pub async fn time_out_runs(&self, now: Timestamp) -> Result<usize> {
        let mut stopped = 0;
        for run in self.late_runs(now).await? {
            stopped += usize::from(self.time_out(run, now).await?);
        }
        Ok(stopped)
    }

    async fn late_runs(&self, now: Timestamp) -> Result<Vec<RunId>> {
        let mut conn = self.pool().acquire().await?;
        let rows = sqlx::query(MOVING)
            .bind(None::<uuid::Uuid>)
            .fetch_all(&mut *conn)
            .await?;
        let mut late = Vec::new();
        for row in &rows {
            if is_late(self, &mut conn, (row, now)).await? {
                late.push(RunId(row.try_get("id")?));
            }
        }
        Ok(late)
    }

    /// Looks again under the run's lock: it may wait for people by now.
    async fn time_out(&self, id: RunId, now: Timestamp) -> Result<bool> {
        let store = self.clone();
        self.transact(move |conn| {
            let store = store.clone();
            Box::pin(async move {
                let Some(mut run) = LockedRun::lock(&store, conn, id).await? else {
                    return Ok(false);
                };
                let row = sqlx::query(MOVING).bind(id.0).fetch_optional(&mut *conn).await?;
                let Some(row) = row else { return Ok(false) };
                if !is_late(&store, conn, (&row, now)).await? {
                    return Ok(false);
                }
                run.load_all(conn).await?;
                run.cancel(Reason::Timeout, now)?;
                run.write(conn, now).await?;
                Ok(true)
            })
        })
        .await
    }
}

async fn is_late(store: &Store, conn: &mut PgConnection, (row, now): (&PgRow, Timestamp)) -> Result<bool> {
    let version = VersionHash(row.try_get("version")?);
    let Some(timeout) = store.definition(conn, &version).await?.timeout else {
        return Ok(false);
    };
    let waited = Duration::try_from_secs_f64(row.try_get("waited")?).unwrap_or_default();
    Ok(plan::deadline(instant(row, "started_at")?, waited, timeout) <= now)
}
