//! The items of maps: how many there are, what each runs for, and those that a run's view has no room for.

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::{PgConnection, Row};

use super::super::{Result, Store, StoreError};
use super::run::{self, Rows};
use crate::graph::Flow;
use crate::id::{RunId, TaskIdx};
use crate::view::{Page, TaskRun};

impl Store {
    /// The items of a map in their order, after map index `after`; `NotFound` for a run or a task with items that does not exist.
    pub async fn items(
        &self,
        (run, task): (RunId, &str),
        after: Option<u32>,
        limit: usize,
    ) -> Result<Page<TaskRun>> {
        let mut conn = self.pool().acquire().await?;
        let absent = |what, name: &str| StoreError::NotFound {
            what,
            name: name.to_owned(),
        };
        let flow = self.flow_of(&mut conn, run).await?;
        let flow = flow.ok_or_else(|| absent("run", &run.to_string()))?;
        let head = flow.graph.find(task);
        let head = head.filter(|head| flow.graph.task(*head).for_each.is_some());
        let head = head.ok_or_else(|| absent("task with items", task))?;
        let from = after
            .map_or(0, |after| after.saturating_add(1))
            .min(crate::graph::MAX_ITEMS);
        let rows = Rows::Items {
            head,
            from: flow.graph.item_at(head, from),
            limit: limit as i64 + 1,
        };
        let mut items = run::task_runs(&mut conn, (run, &flow), rows).await?;
        let more = items.len() > limit;
        items.truncate(limit);
        run::fill(&mut conn, (run, &flow), &mut items).await?;
        let next = items.last().and_then(|item| item.map_index).filter(|_| more);
        Ok(Page {
            items,
            next: next.map(|next| next.to_string()),
        })
    }
}

/// Adds what each item runs for, and to each map how many of its items are in which state.
pub(super) async fn join(
    conn: &mut PgConnection,
    (run, flow): (RunId, &Flow),
    tasks: &mut [TaskRun],
) -> Result<()> {
    if flow.graph.tasks().iter().all(|task| task.for_each.is_none()) {
        return Ok(());
    }
    let mut counts = counts(conn, (run, flow)).await?;
    let mut values = values(conn, run, tasks).await?;
    for task in tasks {
        match task.map_index {
            Some(_) => task.item = values.remove(&task.idx),
            None => task.items = counts.remove(&task.idx),
        }
    }
    Ok(())
}

type Counts = BTreeMap<String, i64>;

async fn counts(conn: &mut PgConnection, (run, flow): (RunId, &Flow)) -> Result<BTreeMap<TaskIdx, Counts>> {
    let rows = sqlx::query(
        "select idx % $2 as head, state::text as state, count(*) as count from task_run
         where run = $1 and idx >= $2 group by 1, 2",
    )
    .bind(run.0)
    .bind(flow.graph.size() as i32)
    .fetch_all(conn)
    .await?;
    let mut all: BTreeMap<TaskIdx, Counts> = BTreeMap::new();
    for row in &rows {
        let head = row.try_get::<i32, _>("head")? as TaskIdx;
        let of_map = all.entry(head).or_default();
        of_map.insert(row.try_get("state")?, row.try_get("count")?);
    }
    Ok(all)
}

async fn values(conn: &mut PgConnection, run: RunId, tasks: &[TaskRun]) -> Result<BTreeMap<TaskIdx, Value>> {
    let items = tasks.iter().filter(|task| task.map_index.is_some());
    let rows: Vec<(i32, Value)> =
        sqlx::query_as("select idx, item from map_item where run = $1 and idx = any($2)")
            .bind(run.0)
            .bind(items.map(|task| task.idx as i32).collect::<Vec<_>>())
            .fetch_all(conn)
            .await?;
    let placed = |(idx, item)| (idx as TaskIdx, item);
    Ok(rows.into_iter().map(placed).collect())
}
