//! Retrying a run: a new run on the same version that keeps what had succeeded.
//!
//! A task run is carried with the epoch of the attempt that succeeded, so that its outputs, artifacts and gate results can be told apart
//! from those of attempts that did not. An approval is never carried: whoever stands behind a gate that did not open asks anew.
//!
//! With other params nothing is known to be as it was, so nothing is carried, unless the retry names a task to go on from: then what
//! does not rest on that task is kept on the word of whoever asks. Who edits is the requester of the new run; who asked for
//! the old one stays one, too (`has_asked_for`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::orders::{Order, Placed};
use super::runs::{Created, NewRun, Origin};
use super::{Result, Store, StoreError, maybe_instant, runs};
use crate::graph::{Flow, Graph};
use crate::id::{RunId, TaskIdx, VersionHash};
use crate::plan::{self, Carried, Kept};
use crate::rollback;
use crate::spec::params;
use crate::state::task_run::TaskState;

/// Which run is retried, and how.
#[derive(Debug, Clone)]
pub struct Again {
    /// The run.
    pub run: RunId,
    /// The task from which on everything runs again, whether or not it had succeeded.
    pub from: Option<String>,
    /// Params that get another value.
    pub params: Map<String, Value>,
}

/// Copies what the carried task runs of `$2` left to run `$1`; `$3` are their positions.
const COPIES: [&str; 4] = [
    "insert into task_output (run, idx, epoch, outputs)
     select $1, idx, epoch, outputs from task_output where run = $2 and idx = any($3)",
    "insert into artifact (run, idx, epoch, name, uri, size, sha256, at)
     select $1, a.idx, a.epoch, a.name, a.uri, a.size, a.sha256, a.at from artifact a
     join task_run t on t.run = a.run and t.idx = a.idx and t.epoch = a.epoch where a.run = $2 and a.idx = any($3)",
    "insert into gate_result (run, idx, epoch, opening, rules, approval, at)
     select $1, g.idx, g.epoch, g.opening, g.rules, g.approval, g.at from gate_result g
     join task_run t on t.run = g.run and t.idx = g.idx and t.epoch = g.epoch where g.run = $2 and g.idx = any($3)",
    "insert into map_item (run, idx, item)
     select $1, idx, item from map_item where run = $2 and idx = any($3) on conflict do nothing",
];

/// Notes the items of maps (`$4`, of `$3` tasks) that had succeeded in run `$2`: run `$1` may carry them over when it expands the map.
const OFFERS: &str = "insert into map_item (run, idx, item, done_epoch, done_attempt)
     select $1, i.idx, i.item, t.epoch, t.attempt from map_item i
     join task_run t on t.run = i.run and t.idx = i.idx
     where i.run = $2 and i.idx % $3 = any($4) and t.state = 'succeeded'";

pub(super) async fn retry(
    store: &Store,
    conn: &mut PgConnection,
    (order, again): (&Order, &Again),
    now: Timestamp,
) -> Result<Placed> {
    let row = sqlx::query(
        "select flow, version, state::text as state, params, scheduled_for, finished_at from run where id = $1",
    )
    .bind(again.run.0)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else {
        return Ok(Placed::NoRun);
    };
    // Whether it may still go back is judged anew, and so is who asks for what reason.
    if row.try_get::<String, _>("flow")? == rollback::FLOW {
        return Ok(Placed::BuiltIn);
    }
    let state: String = row.try_get("state")?;
    let plain = again.from.is_none() && again.params.is_empty();
    if maybe_instant(&row, "finished_at")?.is_none() || (state == "succeeded" && plain) {
        return Ok(Placed::NotRetried { state });
    }
    let version = VersionHash(row.try_get("version")?);
    let flow = store.definition(conn, &version).await?;
    let from = match again
        .from
        .as_deref()
        .map(|name| flow.graph.find(name).ok_or(name))
    {
        None => None,
        Some(Ok(from)) => Some(from),
        Some(Err(name)) => return Ok(no_task(&flow, name)),
    };
    let before: Json<Map<String, Value>> = row.try_get("params")?;
    let params = match edited(&flow, (&before.0, &again.params)) {
        Ok(params) => params,
        Err(problems) => return Ok(Placed::Params(problems)),
    };
    let same = params
        .iter()
        .all(|(name, value)| before.0.get(name) == Some(value));
    let kept = if same || from.is_some() {
        kept(conn, (again.run, &flow.graph), from).await?
    } else {
        Kept::default()
    };
    let new = NewRun {
        id: order.id,
        flow: row.try_get("flow")?,
        version: Some(version),
        trigger: "retry".to_owned(),
        requester: order.actor.clone(),
        tick: None,
        params,
    };
    create(store, conn, (&new, &row, again.run), (&flow.graph, &kept, now)).await
}

fn no_task(flow: &Flow, name: &str) -> Placed {
    let known = flow.graph.tasks().iter().map(|task| task.name.to_string());
    Placed::NoTask {
        name: name.to_owned(),
        known: known.collect(),
    }
}

fn edited(
    flow: &Flow,
    (before, edits): (&Map<String, Value>, &Map<String, Value>),
) -> std::result::Result<BTreeMap<String, Value>, Vec<params::ParamProblem>> {
    if edits.is_empty() {
        return Ok(before.clone().into_iter().collect());
    }
    let mut all = before.clone();
    all.extend(edits.clone());
    params::resolve(flow, all)
}

async fn create(
    store: &Store,
    conn: &mut PgConnection,
    (new, row, of): (&NewRun, &PgRow, RunId),
    (graph, kept, now): (&Graph, &Kept, Timestamp),
) -> Result<Placed> {
    let origin = Origin {
        retry_of: Some(of),
        scheduled_for: maybe_instant(row, "scheduled_for")?,
        carried: carried(conn, of, (graph, kept)).await?,
        ..Origin::default()
    };
    if runs::create(store, conn, (new, &origin), now).await? != Created::Existed {
        let positions: Vec<i32> = origin.carried.keys().map(|idx| *idx as i32).collect();
        copy(conn, &positions, (of, new.id)).await?;
        let maps: Vec<i32> = kept.maps.iter().map(|idx| *idx as i32).collect();
        sqlx::query(OFFERS)
            .bind(new.id.0)
            .bind(of.0)
            .bind(graph.size() as i32)
            .bind(maps)
            .execute(conn)
            .await?;
    }
    Ok(Placed::Run {
        id: new.id,
        created: true,
    })
}

async fn kept(conn: &mut PgConnection, (run, graph): (RunId, &Graph), from: Option<TaskIdx>) -> Result<Kept> {
    let rows: Vec<(i32, String, Option<String>)> =
        sqlx::query_as("select idx, state::text, reason from task_run where run = $1 and idx < $2")
            .bind(run.0)
            .bind(graph.size() as i32)
            .fetch_all(conn)
            .await?;
    let mut ends = BTreeMap::new();
    for (idx, word, reason) in rows {
        let state = TaskState::parse(&word, reason.as_deref()).ok_or(StoreError::Corrupt {
            what: "task run state",
            why: word,
        })?;
        ends.insert(idx as TaskIdx, state);
    }
    Ok(plan::kept(graph, &ends, from))
}

/// The attempts that what is kept succeeded with, items included.
async fn carried(
    conn: &mut PgConnection,
    run: RunId,
    (graph, kept): (&Graph, &Kept),
) -> Result<BTreeMap<TaskIdx, Carried>> {
    let rows: Vec<(i32, i64, i32)> = sqlx::query_as(
        "select idx, epoch, attempt from task_run
         where run = $1 and idx % $2 = any($3) and state = 'succeeded' order by idx",
    )
    .bind(run.0)
    .bind(graph.size() as i32)
    .bind(kept.tasks.iter().map(|idx| *idx as i32).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    let carried = |(idx, epoch, attempt): (i32, i64, i32)| {
        let attempt = attempt as u32;
        (idx as TaskIdx, Carried { epoch, attempt })
    };
    Ok(rows.into_iter().map(carried).collect())
}

/// Copies what carried task runs left from one run to another.
pub(super) async fn copy(
    conn: &mut PgConnection,
    positions: &[i32],
    (from, to): (RunId, RunId),
) -> Result<()> {
    for sql in COPIES {
        sqlx::query(sql)
            .bind(to.0)
            .bind(from.0)
            .bind(positions)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}
