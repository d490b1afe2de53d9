//! What time and newer runs do to approvals. The scheduler calls these; each may run anywhere, any number of times at once.

use jiff::Timestamp;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::approvals::{self, Close, Closing};
use super::notices::{self, Telling};
use super::{Result, Store, pg};
use crate::graph::Moment;
use crate::id::{RunId, VersionHash};

/// Approvals that one sweep looks at.
const BATCH: i64 = 200;

/// Open approvals at whose gate a newer run of the flow has been. Positions can be compared within one version only; across
/// versions the gate's task is found by its name.
const OVERTAKEN: &str = "select a.id from approval a join run own on own.id = a.run
     where a.state = 'open' and exists (
       select from run newer
       join gate_result g on g.run = newer.id
       join flow_version v on v.hash = newer.version
       where newer.flow = a.flow and newer.id > a.run
         and case when newer.version = own.version then g.idx = a.idx
                  else v.definition -> 'graph' -> g.idx ->> 'name' = a.task end)
     order by a.id limit $1";

/// Tells those who were told of the question, in the transaction that notes the reminder.
async fn remind(store: &Store, conn: &mut PgConnection, now: Timestamp) -> Result<usize> {
    let rows: Vec<(Uuid, Uuid, String, String)> = sqlx::query_as(
        "update approval a set reminded_at = $1 from run r
         where r.id = a.run and a.state = 'open' and coalesce(a.reminded_at, a.asked_at) + a.remind <= $1
           and a.expires_at > clock_timestamp()
         returning a.id, a.run, a.task, r.version",
    )
    .bind(pg(now))
    .fetch_all(&mut *conn)
    .await?;
    for (id, run, task, version) in &rows {
        let flow = store.definition(conn, &VersionHash(version.clone())).await?;
        let telling = Telling {
            flow: &flow,
            run: RunId(*run),
            moment: Moment::Waiting,
            which: format!(" {id} reminded {now}"),
            body: json!({ "approval": id, "task": task, "reminder": true }),
        };
        notices::tell(conn, telling, now).await?;
    }
    Ok(rows.len())
}

impl Store {
    /// Closes open approvals whose time is over: `rejected` or `failed`, reason `expired`, as their gate says. Answers how many.
    pub async fn expire_approvals(&self, now: Timestamp) -> Result<usize> {
        let ids = sqlx::query_scalar(
            "select id from approval where state = 'open' and expires_at <= clock_timestamp() order by id limit $1",
        )
        .bind(BATCH)
        .fetch_all(self.pool())
        .await?;
        self.close_all(ids, Close::Expired, now).await
    }

    /// Closes open approvals of runs that a newer run of the flow overtook at the same gate. Answers how many.
    pub async fn supersede_approvals(&self, now: Timestamp) -> Result<usize> {
        let ids = sqlx::query_scalar(OVERTAKEN)
            .bind(BATCH)
            .fetch_all(self.pool())
            .await?;
        self.close_all(ids, Close::Superseded, now).await
    }

    /// Brings up again what has been open for its `remind`, and each time that passes anew. Answers how many.
    pub async fn remind_approvals(&self, now: Timestamp) -> Result<usize> {
        let store = self.clone();
        self.transact(move |conn| {
            let store = store.clone();
            Box::pin(async move { remind(&store, conn, now).await })
        })
        .await
    }

    async fn close_all(&self, ids: Vec<Uuid>, how: Close, now: Timestamp) -> Result<usize> {
        let mut closed = 0;
        for id in ids {
            match self.close_one(id, how, now).await {
                Ok(done) => closed += usize::from(done),
                Err(error) if error.is_passing() => return Err(error),
                // One that cannot be closed keeps no other open.
                Err(error) => {
                    tracing::error!(approval = %id, error = crate::plugin::chain(&error), "an approval cannot be closed");
                }
            }
        }
        Ok(closed)
    }

    /// Each in a transaction of its own, so that locks of several runs are never held together.
    async fn close_one(&self, id: Uuid, how: Close, now: Timestamp) -> Result<bool> {
        let store = self.clone();
        self.transact(move |conn| {
            let store = store.clone();
            Box::pin(async move {
                let Some((run, held)) = approvals::lock(&store, conn, id).await? else {
                    return Ok(false);
                };
                let closing = match how {
                    Close::Expired => Closing::expiry(&run, &held),
                    _ => Closing::by_newer_run(),
                };
                approvals::close((run, &held), conn, closing, now).await
            })
        })
        .await
    }
}
