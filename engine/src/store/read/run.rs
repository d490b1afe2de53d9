//! One run: its task runs and all that belongs to them, its events, its curves.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::{PgConnection, Row};

use super::super::{Result, Store, StoreError, day_of, instant, maybe_instant, notices, pg};
use super::runs::{COLUMNS, summary};
use super::{items, json, sub_runs};
use crate::graph::Flow;
use crate::id::{RunId, TaskIdx, VersionHash};
use crate::view::{Artifact, Event, FlowDetail, GateResult, MetricSeries, Run, SubRun, TaskRun, Wait};

/// What belongs to task runs beside their rows, by position.
#[derive(Default)]
struct Extras {
    messages: BTreeMap<TaskIdx, String>,
    outputs: BTreeMap<TaskIdx, Value>,
    artifacts: BTreeMap<TaskIdx, Vec<Artifact>>,
    gates: BTreeMap<TaskIdx, GateResult>,
    waits: BTreeMap<TaskIdx, Vec<Wait>>,
    sub_runs: BTreeMap<TaskIdx, Vec<SubRun>>,
}

impl Extras {
    async fn load(conn: &mut PgConnection, (run, flow): (RunId, &Flow), shown: &[i32]) -> Result<Self> {
        Ok(Self {
            messages: messages(conn, run).await?,
            outputs: outputs(conn, run, shown).await?,
            artifacts: artifacts(conn, run, shown).await?,
            gates: gates(conn, run).await?,
            waits: waits(conn, run).await?,
            sub_runs: sub_runs::made_by(conn, (run, flow), shown).await?,
        })
    }

    /// Puts them where they belong. A task that ended since its row was read keeps its outputs for the next look.
    fn join(mut self, tasks: &mut [TaskRun]) {
        for task in tasks {
            task.message = self.messages.remove(&task.idx);
            task.outputs = self
                .outputs
                .remove(&task.idx)
                .filter(|_| task.state == "succeeded");
            task.artifacts = self.artifacts.remove(&task.idx).unwrap_or_default();
            task.gate = self.gates.remove(&task.idx);
            task.sub_runs = self.sub_runs.remove(&task.idx).unwrap_or_default();
            task.waits = self.waits.remove(&task.idx).unwrap_or_default();
        }
    }
}

impl Store {
    /// One run with its task runs; `None`: no such run.
    pub async fn run(&self, id: RunId, now: Timestamp) -> Result<Option<Run>> {
        let mut conn = self.pool().acquire().await?;
        let sql = format!(
            "select {COLUMNS}, r.params from run r join flow_version v on v.hash = r.version where r.id = $2"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(pg(now))
            .bind(id.0)
            .fetch_optional(&mut *conn)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let flow = self
            .definition(&mut conn, &VersionHash(row.try_get("version")?))
            .await?;
        let mut tasks = task_runs(&mut conn, (id, &flow), Rows::Shown).await?;
        // What belongs to attempts is not looked for where there was none: a run that was asked for a moment ago.
        if tasks.iter().any(|task| task.epoch > 0) {
            fill(&mut conn, (id, &flow), &mut tasks).await?;
        }
        Ok(Some(Run {
            summary: summary(&row, (&flow, now))?,
            params: json(&row, "params")?,
            tasks,
            notices: notices::of_run(&mut conn, id).await?,
        }))
    }

    /// Events of a run after `seq`, oldest first.
    pub async fn events(&self, run: RunId, after: i64) -> Result<Vec<Event>> {
        let mut conn = self.pool().acquire().await?;
        let Some(flow) = self.flow_of(&mut conn, run).await? else {
            return Ok(Vec::new());
        };
        let rows = sqlx::query(
            "select seq, kind, idx, at, data from event where day = $1 and run = $2 and seq > $3 order by seq",
        )
        .bind(day_of(run))
        .bind(run.0)
        .bind(after)
        .fetch_all(&mut *conn)
        .await?;
        let event = |row: &sqlx::postgres::PgRow| -> Result<Event> {
            let idx: Vec<i32> = row.try_get("idx")?;
            Ok(Event {
                seq: row.try_get("seq")?,
                kind: row.try_get("kind")?,
                tasks: idx.iter().map(|idx| name_of(&flow, *idx)).collect(),
                at: instant(row, "at")?,
                data: row.try_get("data")?,
            })
        };
        rows.iter().map(event).collect()
    }

    /// Series of numbers that the tasks of a run recorded, of each one's newest attempt that recorded any.
    pub async fn metrics(&self, run: RunId) -> Result<Vec<MetricSeries>> {
        let mut conn = self.pool().acquire().await?;
        let Some(flow) = self.flow_of(&mut conn, run).await? else {
            return Ok(Vec::new());
        };
        let rows: Vec<(i32, String, Vec<i64>, Vec<f64>)> = sqlx::query_as(
            "select m.idx, m.name, array_agg(m.step order by m.step), array_agg(m.value order by m.step) from metric m
             join (select idx, max(epoch) as epoch from metric where run = $1 group by idx) n
               on n.idx = m.idx and n.epoch = m.epoch
             where m.run = $1 group by m.idx, m.name order by m.idx, m.name",
        )
        .bind(run.0)
        .fetch_all(&mut *conn)
        .await?;
        let series = |(idx, name, steps, values): (i32, String, Vec<i64>, Vec<f64>)| MetricSeries {
            task: name_of(&flow, idx),
            name,
            points: steps.into_iter().zip(values).collect(),
        };
        Ok(rows.into_iter().map(series).collect())
    }

    /// The sealed flow of the version that a run is pinned to; `None`: no such run.
    pub async fn flow_of_run(&self, run: RunId) -> Result<Option<std::sync::Arc<Flow>>> {
        let mut conn = self.pool().acquire().await?;
        self.flow_of(&mut conn, run).await
    }

    /// The same with what lists show of the flow; `None`: no such run, or its flow was removed.
    pub async fn flow_detail_of_run(&self, run: RunId, now: Timestamp) -> Result<Option<FlowDetail>> {
        let Some(flow) = self.flow_of_run(run).await? else {
            return Ok(None);
        };
        let known = self.flow(flow.name.as_str(), now).await?;
        Ok(known.map(|(summary, _)| FlowDetail::new(summary, &flow)))
    }

    /// The sealed flow that a run is pinned to; `None`: no such run.
    pub(in crate::store) async fn flow_of(
        &self,
        conn: &mut PgConnection,
        run: RunId,
    ) -> Result<Option<std::sync::Arc<Flow>>> {
        let version: Option<String> = sqlx::query_scalar("select version from run where id = $1")
            .bind(run.0)
            .fetch_optional(&mut *conn)
            .await?;
        match version {
            Some(version) => Ok(Some(self.definition(conn, &VersionHash(version)).await?)),
            None => Ok(None),
        }
    }
}

/// The name of a task by its position.
pub(super) fn name_of(flow: &Flow, idx: i32) -> String {
    flow.graph.label(idx as TaskIdx)
}

/// Adds to task runs what belongs to them beside their rows.
pub(super) async fn fill(
    conn: &mut PgConnection,
    (run, flow): (RunId, &Flow),
    tasks: &mut [TaskRun],
) -> Result<()> {
    let shown: Vec<i32> = tasks.iter().map(|task| task.idx as i32).collect();
    Extras::load(conn, (run, flow), &shown).await?.join(tasks);
    items::join(conn, (run, flow), tasks).await
}

/// Items of a map that a run's view shows: those first that say something, running ones and those that went wrong.
const ITEMS: i64 = 100;

/// Which task runs are read.
#[derive(Clone, Copy)]
pub(super) enum Rows {
    /// All tasks, and of each map as many items as a view has room for.
    Shown,
    /// Items of one map from a position on.
    Items {
        head: TaskIdx,
        from: TaskIdx,
        limit: i64,
    },
}

/// Task runs, each map's items behind it.
pub(super) async fn task_runs(
    conn: &mut PgConnection,
    (run, flow): (RunId, &Flow),
    which: Rows,
) -> Result<Vec<TaskRun>> {
    let mapped = flow.graph.tasks().iter().any(|task| task.for_each.is_some());
    let picked = match which {
        Rows::Shown if !mapped => "select t.* from task_run t where t.run = $1",
        Rows::Shown => {
            "select t.* from (
               select t.*, row_number() over (partition by t.idx % $2, t.idx < $2
                 order by t.state in ('blocked', 'succeeded', 'skipped'), t.idx) as nth
               from task_run t where t.run = $1) t
             where t.idx < $2 or t.nth <= $3"
        }
        Rows::Items { .. } => {
            "select t.* from task_run t where t.run = $1 and t.idx % $2 = $4 and t.idx >= $5 order by t.idx limit $3"
        }
    };
    let sql = format!(
        "select t.idx, t.state::text as state, t.reason, t.attempt, t.lost, t.epoch, t.started_at, t.finished_at,
                case when t.state in ('backoff', 'waiting') then
                  (select d.at from ready d where d.run = t.run and d.idx = t.idx) end as due_at,
                case when t.state = 'running' then
                  (select l.progress from lease l where l.run = t.run and l.idx = t.idx) end as progress,
                case when t.state = 'running' then
                  (select w.name from lease l join worker w on w.id = l.worker
                   where l.run = t.run and l.idx = t.idx) end as worker,
                (select h.origin from cache_hit h where h.run = t.run and h.idx = t.idx) as cached_from
         from ({picked}) t
         order by t.idx % $2, t.idx"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql));
    let query = query.bind(run.0).bind(flow.graph.size() as i32);
    let query = match which {
        Rows::Shown if !mapped => query,
        Rows::Shown => query.bind(ITEMS),
        Rows::Items { head, from, limit } => query.bind(limit).bind(head as i32).bind(from as i32),
    };
    let rows = query.fetch_all(conn).await?;
    rows.iter().map(|row| task_run(row, flow)).collect()
}

/// A task run's own row; what belongs to it beside comes later.
fn task_run(row: &sqlx::postgres::PgRow, flow: &Flow) -> Result<TaskRun> {
    let idx = row.try_get::<i32, _>("idx")? as TaskIdx;
    let task = flow.graph.task(idx);
    let lost: i32 = row.try_get("lost")?;
    Ok(TaskRun {
        idx,
        name: flow.graph.label(idx),
        map_index: flow.graph.item(idx),
        item: None,
        items: None,
        uses: task.uses.clone(),
        description: task.description.clone(),
        needs: task
            .needs
            .iter()
            .map(|need| name_of(flow, *need as i32))
            .collect(),
        state: row.try_get("state")?,
        reason: row.try_get("reason")?,
        attempt: row.try_get::<i32, _>("attempt")? as u32,
        attempts: task.retry.attempts + lost as u32,
        epoch: row.try_get("epoch")?,
        started_at: maybe_instant(row, "started_at")?,
        finished_at: maybe_instant(row, "finished_at")?,
        due_at: maybe_instant(row, "due_at")?,
        message: None,
        progress: row.try_get("progress")?,
        worker: row.try_get("worker")?,
        cached_from: row.try_get("cached_from")?,
        sub_runs: Vec::new(),
        outputs: None,
        artifacts: Vec::new(),
        gated: task.gate.is_some(),
        gate: None,
        waits: Vec::new(),
    })
}

/// What the newest attempt that did not succeed said, where no later one succeeded.
async fn messages(conn: &mut PgConnection, run: RunId) -> Result<BTreeMap<TaskIdx, String>> {
    let rows: Vec<(String, Option<String>)> = sqlx::query_as(
        "select d.key, d.value->>'message' from event e, jsonb_each(e.data->'detail') d
         where e.day = $1 and e.run = $2 and e.data ? 'detail' and d.value ? 'message' order by e.seq",
    )
    .bind(day_of(run))
    .bind(run.0)
    .fetch_all(&mut *conn)
    .await?;
    let mut said: BTreeMap<TaskIdx, String> = BTreeMap::new();
    for (idx, message) in rows {
        if let (Ok(idx), Some(message)) = (idx.parse(), message) {
            said.insert(idx, message);
        }
    }
    let succeeded: Vec<i32> = sqlx::query_scalar(
        "select idx from task_run where run = $1 and state = 'succeeded' and idx = any($2)",
    )
    .bind(run.0)
    .bind(said.keys().map(|idx| *idx as i32).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    for idx in succeeded {
        said.remove(&(idx as TaskIdx));
    }
    Ok(said)
}

async fn outputs(conn: &mut PgConnection, run: RunId, shown: &[i32]) -> Result<BTreeMap<TaskIdx, Value>> {
    let rows: Vec<(i32, Value)> =
        sqlx::query_as("select idx, outputs from handed_on where run = $1 and idx = any($2)")
            .bind(run.0)
            .bind(shown)
            .fetch_all(conn)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(idx, value)| (idx as TaskIdx, value))
        .collect())
}

/// Files of accepted attempts only: what a lost one left behind is nobody's.
async fn artifacts(
    conn: &mut PgConnection,
    run: RunId,
    shown: &[i32],
) -> Result<BTreeMap<TaskIdx, Vec<Artifact>>> {
    let rows: Vec<(i32, String, String, i64, String)> = sqlx::query_as(
        "select a.idx, a.name, a.uri, a.size, a.sha256 from artifact a
         join task_run t on t.run = a.run and t.idx = a.idx and t.epoch = a.epoch
         where a.run = $1 and a.idx = any($2) order by a.idx, a.name",
    )
    .bind(run.0)
    .bind(shown)
    .fetch_all(conn)
    .await?;
    let mut all: BTreeMap<TaskIdx, Vec<Artifact>> = BTreeMap::new();
    for (idx, name, uri, size, sha256) in rows {
        let artifact = Artifact {
            name,
            uri,
            size,
            sha256,
        };
        all.entry(idx as TaskIdx).or_default().push(artifact);
    }
    Ok(all)
}

/// How long people were asked.
async fn waits(conn: &mut PgConnection, run: RunId) -> Result<BTreeMap<TaskIdx, Vec<Wait>>> {
    let rows = sqlx::query("select idx, asked_at, closed_at from approval where run = $1 order by asked_at")
        .bind(run.0)
        .fetch_all(conn)
        .await?;
    let mut all: BTreeMap<TaskIdx, Vec<Wait>> = BTreeMap::new();
    for row in &rows {
        let wait = Wait {
            from: instant(row, "asked_at")?,
            until: maybe_instant(row, "closed_at")?,
        };
        all.entry(row.try_get::<i32, _>("idx")? as TaskIdx)
            .or_default()
            .push(wait);
    }
    Ok(all)
}

/// What the gates came to, the last time each was reached.
async fn gates(conn: &mut PgConnection, run: RunId) -> Result<BTreeMap<TaskIdx, GateResult>> {
    let rows = sqlx::query(
        "select distinct on (g.idx) g.idx, g.opening, g.rules, g.approval, a.state::text as approval_state
         from gate_result g left join approval a on a.id = g.approval
         where g.run = $1 order by g.idx, g.epoch desc",
    )
    .bind(run.0)
    .fetch_all(conn)
    .await?;
    let mut all = BTreeMap::new();
    for row in &rows {
        let rules = serde_json::from_value(json(row, "rules")?).map_err(|e| StoreError::Corrupt {
            what: "gate result",
            why: e.to_string(),
        })?;
        let result = GateResult {
            opening: row.try_get("opening")?,
            rules,
            approval: row.try_get("approval")?,
            approval_state: row.try_get("approval_state")?,
        };
        all.insert(row.try_get::<i32, _>("idx")? as TaskIdx, result);
    }
    Ok(all)
}
