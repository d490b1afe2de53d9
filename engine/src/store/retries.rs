//! Retrying a run: a new run on the same version that keeps what had succeeded.
//!
//! A task run is carried with the epoch of the attempt that succeeded, so that its outputs, artifacts and gate results can be told apart
//! from those of attempts that did not. An approval is never carried: whoever stands behind a gate that did not open asks anew.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::orders::{Order, Placed};
use super::runs::{Carried, Created, NewRun, Origin};
use super::{Result, Store, maybe_instant, runs};
use crate::id::{RunId, TaskIdx, VersionHash};

/// Copies what the carried task runs of `$2` left to run `$1`; `$3` are their positions.
const COPIES: [&str; 3] = [
    "insert into task_output (run, idx, epoch, outputs)
     select $1, idx, epoch, outputs from task_output where run = $2 and idx = any($3)",
    "insert into artifact (run, idx, epoch, name, uri, size, sha256, at)
     select $1, a.idx, a.epoch, a.name, a.uri, a.size, a.sha256, a.at from artifact a
     join task_run t on t.run = a.run and t.idx = a.idx and t.epoch = a.epoch where a.run = $2 and a.idx = any($3)",
    "insert into gate_result (run, idx, epoch, opening, rules, approval, at)
     select $1, g.idx, g.epoch, g.opening, g.rules, g.approval, g.at from gate_result g
     join task_run t on t.run = g.run and t.idx = g.idx and t.epoch = g.epoch where g.run = $2 and g.idx = any($3)",
];

pub(super) async fn retry(
    store: &Store,
    conn: &mut PgConnection,
    (order, of): (&Order, RunId),
    now: Timestamp,
) -> Result<Placed> {
    let row = sqlx::query(
        "select flow, version, state::text as state, params, scheduled_for, finished_at from run where id = $1",
    )
    .bind(of.0)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else {
        return Ok(Placed::NoRun);
    };
    let state: String = row.try_get("state")?;
    if maybe_instant(&row, "finished_at")?.is_none() || state == "succeeded" {
        return Ok(Placed::NotRetried { state });
    }
    let Json(params) = row.try_get::<Json<BTreeMap<String, Value>>, _>("params")?;
    let new = NewRun {
        id: order.id,
        flow: row.try_get("flow")?,
        version: Some(VersionHash(row.try_get("version")?)),
        trigger: "retry".to_owned(),
        requester: order.actor.clone(),
        tick: None,
        params,
    };
    let origin = Origin {
        retry_of: Some(of),
        scheduled_for: maybe_instant(&row, "scheduled_for")?,
        carried: succeeded(conn, of).await?,
        ..Origin::default()
    };
    if runs::create(store, conn, (&new, &origin), now).await? != Created::Existed {
        copy(conn, &origin, (of, order.id)).await?;
    }
    Ok(Placed::Run {
        id: order.id,
        created: true,
    })
}

async fn succeeded(conn: &mut PgConnection, run: RunId) -> Result<BTreeMap<TaskIdx, Carried>> {
    let rows: Vec<(i32, i64, i32)> = sqlx::query_as(
        "select idx, epoch, attempt from task_run where run = $1 and state = 'succeeded' order by idx",
    )
    .bind(run.0)
    .fetch_all(conn)
    .await?;
    let carried = |(idx, epoch, attempt): (i32, i64, i32)| {
        let attempt = attempt as u32;
        (idx as TaskIdx, Carried { epoch, attempt })
    };
    Ok(rows.into_iter().map(carried).collect())
}

async fn copy(conn: &mut PgConnection, origin: &Origin, (from, to): (RunId, RunId)) -> Result<()> {
    let positions: Vec<i32> = origin.carried.keys().map(|idx| *idx as i32).collect();
    for sql in COPIES {
        sqlx::query(sql)
            .bind(to.0)
            .bind(from.0)
            .bind(&positions)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}
