//! `[[trigger]] on = "flow"`: a run that ends makes a run of each flow that waits for it, once.
//!
//! The transaction that ends a run leaves a row in `ended_run` where a flow waits for such an end (`locked/write.rs`); a scheduler makes the
//! followers of a row in one transaction with its removal. `followed` holds each follower, so that a repeat finds it.

use jiff::Timestamp;
use serde_json::Map;
use sqlx::PgConnection;
use uuid::Uuid;

use super::runs::{NewRun, Origin};
use super::{Result, Store, StoreError, flows, runs};
use crate::clock;
use crate::graph::Flow;
use crate::spec::params;

/// Ended runs that are looked at in one go.
const BATCH: i64 = 200;

impl Store {
    /// Makes the runs that follow those that ended. Answers how many.
    pub async fn follow_ended(&self, now: Timestamp) -> Result<usize> {
        let ended: Vec<Uuid> = sqlx::query_scalar("select run from ended_run order by run limit $1")
            .bind(BATCH)
            .fetch_all(self.pool())
            .await?;
        let mut made = 0;
        for run in ended {
            let store = self.clone();
            let followers = self.transact(move |conn| {
                let store = store.clone();
                Box::pin(async move { follow(&store, conn, run, now).await })
            });
            match followers.await {
                Ok(followers) => made += followers,
                Err(error) if error.is_passing() => return Err(error),
                // One that cannot be followed keeps no other waiting.
                Err(error) => {
                    tracing::error!(%run, error = crate::plugin::chain(&error), "a run cannot be followed");
                }
            }
        }
        Ok(made)
    }
}

async fn follow(store: &Store, conn: &mut PgConnection, source: Uuid, now: Timestamp) -> Result<usize> {
    let row: Option<(String, String, String)> = sqlx::query_as(
        "select e.flow, e.state, r.requester from ended_run e join run r on r.id = e.run
         where e.run = $1 for update of e skip locked",
    )
    .bind(source)
    .fetch_optional(&mut *conn)
    .await?;
    let Some((flow, state, requester)) = row else {
        return Ok(0);
    };
    let waiting: Vec<String> = sqlx::query_scalar(
        "select t.flow from flow_trigger t join flow f on f.name = t.flow
         where t.source = $1 and $2 = any(t.states) and f.removed_at is null
           and not exists (select from followed d where d.source = $3 and d.flow = t.flow) order by t.flow",
    )
    .bind(&flow)
    .bind(&state)
    .bind(source)
    .fetch_all(&mut *conn)
    .await?;
    for flow in &waiting {
        start(store, conn, (flow, source, &requester), now).await?;
    }
    sqlx::query("delete from ended_run where run = $1")
        .bind(source)
        .execute(conn)
        .await?;
    Ok(waiting.len())
}

/// Who asked for the run that ended asked for what follows it: nobody approves by a detour.
async fn start(
    store: &Store,
    conn: &mut PgConnection,
    (name, source, requester): (&str, Uuid, &str),
    now: Timestamp,
) -> Result<()> {
    let version = flows::current_version(conn, name).await?;
    let flow = store.definition(conn, &version).await?;
    let params = params::resolve(&flow, Map::new()).map_err(|_| StoreError::Corrupt {
        what: "trigger",
        why: format!("flow {name} has params without a default"),
    })?;
    let new = NewRun {
        id: clock::new_run_id(),
        flow: name.to_owned(),
        version: Some(version),
        trigger: "flow".to_owned(),
        requester: requester.to_owned(),
        tick: None,
        params,
    };
    runs::create(store, conn, (&new, &Origin::default()), now).await?;
    sqlx::query("insert into followed (source, flow, run) values ($1, $2, $3)")
        .bind(source)
        .bind(name)
        .bind(new.id.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Keeps what a flow waits for in step with its version.
pub(super) async fn replace(conn: &mut PgConnection, flow: &Flow) -> Result<()> {
    let name = flow.name.as_str();
    sqlx::query("delete from flow_trigger where flow = $1")
        .bind(name)
        .execute(&mut *conn)
        .await?;
    for trigger in &flow.triggers {
        sqlx::query("insert into flow_trigger (flow, source, states) values ($1, $2, $3)")
            .bind(name)
            .bind(trigger.flow.as_str())
            .bind(
                trigger
                    .states
                    .iter()
                    .map(|state| state.as_str())
                    .collect::<Vec<_>>(),
            )
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}
