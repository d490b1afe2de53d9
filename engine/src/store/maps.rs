//! What maps keep beside their task runs: the values that items run for, what a retry carries over of them, and the lists that their
//! outputs make. The protocol is told in `plan/maps.rs`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use sqlx::PgConnection;
use uuid::Uuid;

use super::claim::Claim;
use super::locked::LockedRun;
use super::{Result, clean, retries};
use crate::graph::Graph;
use crate::id::{RunId, TaskIdx};
use crate::plan::{Carried, CarriedItems};

/// The items of a map that had succeeded, for the same value, in the run that this one retries.
pub(super) async fn carried(
    conn: &mut PgConnection,
    (run, head): (&LockedRun, TaskIdx),
    items: &[Value],
) -> Result<CarriedItems> {
    let rows: Vec<(i32, Value, i64, i32)> = sqlx::query_as(
        "select idx, item, done_epoch, done_attempt from map_item
         where run = $1 and idx >= $2 and idx % $2 = $3 and done_epoch is not null",
    )
    .bind(run.id.0)
    .bind(run.flow.graph.size() as i32)
    .bind(head as i32)
    .fetch_all(conn)
    .await?;
    let same = |(idx, item, epoch, attempt): (i32, Value, i64, i32)| {
        let idx = idx as TaskIdx;
        let now = items.get(run.flow.graph.item(idx)? as usize)?;
        let attempt = attempt as u32;
        (clean(now.clone()) == item).then_some((idx, Carried { epoch, attempt }))
    };
    Ok(rows.into_iter().filter_map(same).collect())
}

/// Keeps what the items of a map that has expanded run for, and copies what the carried ones of them left.
pub(super) async fn keep(
    conn: &mut PgConnection,
    (run, head): (&LockedRun, TaskIdx),
    items: &[Value],
) -> Result<()> {
    let graph = &run.flow.graph;
    let positions: Vec<i32> = (0..items.len() as u32)
        .map(|item| graph.item_at(head, item) as i32)
        .collect();
    sqlx::query("delete from map_item where run = $1 and idx >= $2 and idx % $3 = $4")
        .bind(run.id.0)
        .bind(graph.item_at(head, items.len() as u32) as i32)
        .bind(graph.size() as i32)
        .bind(head as i32)
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "insert into map_item (run, idx, item) select $1, idx, item from unnest($2::int[], $3::jsonb[]) as u(idx, item)
         on conflict (run, idx) do update set item = excluded.item",
    )
    .bind(run.id.0)
    .bind(&positions)
    .bind(items.iter().map(|item| clean(item.clone())).collect::<Vec<_>>())
    .execute(&mut *conn)
    .await?;
    let carried: Vec<i32> = run.carried_items(head).map(|idx| idx as i32).collect();
    if carried.is_empty() {
        return Ok(());
    }
    let from: Option<Uuid> = sqlx::query_scalar("select retry_of from run where id = $1")
        .bind(run.id.0)
        .fetch_one(&mut *conn)
        .await?;
    match from {
        Some(from) => retries::copy(conn, &carried, (RunId(from), run.id)).await,
        None => Ok(()),
    }
}

/// What these items run for.
pub(super) async fn items(
    conn: &mut PgConnection,
    places: &BTreeSet<(RunId, TaskIdx)>,
) -> Result<BTreeMap<(RunId, TaskIdx), Value>> {
    if places.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (run, idx): (Vec<Uuid>, Vec<i32>) = places.iter().map(|(run, idx)| (run.0, *idx as i32)).unzip();
    let rows: Vec<(Uuid, i32, Value)> = sqlx::query_as(
        "select i.run, i.idx, i.item from unnest($1::uuid[], $2::int[]) as u(run, idx)
         join map_item i on i.run = u.run and i.idx = u.idx",
    )
    .bind(run)
    .bind(idx)
    .fetch_all(conn)
    .await?;
    let placed = |(run, idx, item)| ((RunId(run), idx as TaskIdx), item);
    Ok(rows.into_iter().map(placed).collect())
}

/// Which outputs of a map are asked for; `None`: all of them.
pub(super) type Wanted = Option<BTreeSet<String>>;

/// The outputs of the map `name` that an attempt may refer to.
pub(super) fn wanted(claim: &Claim, name: &str) -> Wanted {
    let task = claim.task();
    let shown = task.gate.iter().any(|gate| {
        let mut evidence = gate.evidence.iter();
        evidence.any(|shown| shown.as_str() == name)
    });
    let references = match claim.item() {
        Some(_) => task.item_references(),
        None => task.references(),
    };
    let mine = references
        .iter()
        .filter(|reference| reference.key(0) == Some("tasks") && reference.key(1) == Some(name));
    let keys: Option<BTreeSet<String>> = mine
        .map(|reference| reference.key(2).map(str::to_owned))
        .collect();
    keys.filter(|_| !shown)
}

/// The outputs of a map: of each the list of what the items handed on, in order, null where one handed on nothing. `None`: it was
/// never expanded.
pub(super) async fn collected(
    conn: &mut PgConnection,
    (run, graph, head): (RunId, &Graph, TaskIdx),
    wanted: &Wanted,
) -> Result<Option<Value>> {
    let (size, head) = (graph.size() as i32, head as i32);
    let keys: Vec<String> = match wanted {
        Some(keys) => keys.iter().cloned().collect(),
        None => {
            sqlx::query_scalar(
                "select distinct jsonb_object_keys(outputs) from task_output
                 where run = $1 and idx >= $2 and idx % $2 = $3 and jsonb_typeof(outputs) = 'object'",
            )
            .bind(run.0)
            .bind(size)
            .bind(head)
            .fetch_all(&mut *conn)
            .await?
        }
    };
    let lists: Vec<(String, Value)> = sqlx::query_as(
        "select k.key, jsonb_agg(o.outputs -> k.key order by t.idx) from task_run t
         left join task_output o on o.run = t.run and o.idx = t.idx
         cross join unnest($4::text[]) as k(key)
         where t.run = $1 and t.idx >= $2 and t.idx % $2 = $3 group by k.key",
    )
    .bind(run.0)
    .bind(size)
    .bind(head)
    .bind(&keys)
    .fetch_all(&mut *conn)
    .await?;
    if lists.is_empty() && !has_succeeded(conn, run, head).await? {
        return Ok(None);
    }
    let mut all: Map<String, Value> = keys
        .into_iter()
        .map(|key| (key, Value::Array(Vec::new())))
        .collect();
    all.extend(lists);
    Ok(Some(Value::Object(all)))
}

async fn has_succeeded(conn: &mut PgConnection, run: RunId, idx: i32) -> Result<bool> {
    let found: Option<bool> =
        sqlx::query_scalar("select state = 'succeeded' from task_run where run = $1 and idx = $2")
            .bind(run.0)
            .bind(idx)
            .fetch_optional(conn)
            .await?;
    Ok(found.unwrap_or(false))
}
