//! What attempts are rendered from, fetched for a whole batch of claims at once. All of it is immutable while they last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::claim::Claim;
use super::leases::Holder;
use super::maps::{self, Wanted};
use super::{Result, Store, StoreError, instant, maybe_instant};
use crate::gate::Gate;
use crate::graph::Flow;
use crate::id::{RunId, TaskIdx, VersionHash};

/// What all task runs of a run have in common.
#[derive(Debug, Clone)]
pub struct RunFacts {
    /// The run's flow version.
    pub version: VersionHash,
    /// The run's params.
    pub params: BTreeMap<String, Value>,
    /// Why it exists.
    pub trigger: String,
    /// Who asked for it.
    pub requester: String,
    /// Due instant of a scheduled run.
    pub scheduled_for: Option<Timestamp>,
    /// When it was created; of a retry, when the first try was: what is carried over was made as of then.
    pub created_at: Timestamp,
    /// Nothing that was made before may stand in for work.
    pub no_cache: bool,
}

/// What an attempt is rendered from.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Its run.
    pub facts: Arc<RunFacts>,
    /// The approval that opened the task run's gate.
    pub opened_by: Option<Uuid>,
    /// What the attempt remembers from when it was parked; null when it never was.
    pub memory: Value,
    /// Outputs of the needs that it refers to and of what its gate shows, by task name.
    pub outputs: BTreeMap<String, Value>,
    /// What it runs for, of an item.
    pub item: Option<Value>,
}

/// Outputs of task runs, as far as they are known.
pub type Outputs = BTreeMap<(RunId, TaskIdx), Value>;

impl Store {
    /// What one attempt is rendered from.
    pub async fn surroundings(&self, claim: &Claim) -> Result<Surroundings> {
        let known = Known::default();
        let mut all = self.surroundings_of(std::slice::from_ref(claim), known).await?;
        all.remove(&claim.holder()).ok_or_else(|| StoreError::NotFound {
            what: "run",
            name: claim.run.to_string(),
        })
    }

    /// What attempts are rendered from, with what is known already. A claim whose run is gone has no place in the answer.
    pub async fn surroundings_of(
        &self,
        claims: &[Claim],
        known: Known,
    ) -> Result<BTreeMap<Holder, Surroundings>> {
        let sources: Vec<BTreeSet<TaskIdx>> = claims.iter().map(sources).collect();
        let missing = Missing::of((claims, &sources), &known);
        let Known {
            mut facts,
            mut outputs,
        } = known;
        let (mut earlier, mut items) = (BTreeMap::new(), BTreeMap::new());
        if !missing.is_empty() {
            let mut conn = self.pool().acquire().await?;
            load_facts(&mut conn, &missing.runs, &mut facts).await?;
            load_outputs(&mut conn, &missing.outputs, &mut outputs).await?;
            earlier = load_earlier(&mut conn, &missing.again).await?;
            items = maps::items(&mut conn, &missing.items).await?;
            for ((run, head), list) in &missing.lists {
                let map = (*run, &list.flow.graph, *head);
                let found = maps::collected(&mut conn, map, &list.wanted).await?;
                outputs.extend(found.map(|found| ((*run, *head), found)));
            }
        }
        let around = claims.iter().zip(sources).filter_map(|(claim, sources)| {
            let Earlier { opened_by, memory } = earlier.remove(&(claim.run, claim.idx)).unwrap_or_default();
            let around = Surroundings {
                facts: Arc::clone(facts.get(&claim.run)?),
                opened_by,
                memory,
                outputs: named(claim, (&sources, &outputs)),
                item: items.get(&(claim.run, claim.idx)).cloned(),
            };
            Some((claim.holder(), around))
        });
        Ok(around.collect())
    }
}

/// What need not be fetched.
#[derive(Debug, Default)]
pub struct Known {
    /// Runs.
    pub facts: BTreeMap<RunId, Arc<RunFacts>>,
    /// Outputs that were reported a moment ago.
    pub outputs: Outputs,
}

/// What is to be fetched.
#[derive(Default)]
struct Missing {
    runs: BTreeSet<RunId>,
    outputs: BTreeSet<(RunId, TaskIdx)>,
    again: BTreeSet<(RunId, TaskIdx)>,
    items: BTreeSet<(RunId, TaskIdx)>,
    lists: BTreeMap<(RunId, TaskIdx), List>,
}

/// Outputs of a map.
struct List {
    flow: Arc<Flow>,
    wanted: Wanted,
}

impl Missing {
    fn of((claims, sources): (&[Claim], &[BTreeSet<TaskIdx>]), known: &Known) -> Self {
        let mut missing = Self::default();
        for (claim, sources) in claims.iter().zip(sources) {
            if !known.facts.contains_key(&claim.run) {
                missing.runs.insert(claim.run);
            }
            if claim.epoch > 1 {
                missing.again.insert((claim.run, claim.idx));
            }
            if claim.item().is_some() {
                missing.items.insert((claim.run, claim.idx));
            }
            for &idx in sources {
                let place = (claim.run, idx);
                if claim.flow.graph.task(idx).for_each.is_some() {
                    missing.list(claim, idx);
                } else if !known.outputs.contains_key(&place) {
                    missing.outputs.insert(place);
                }
            }
        }
        missing
    }

    fn list(&mut self, claim: &Claim, head: TaskIdx) {
        let name = &claim.flow.graph.task(head).name;
        let wanted = maps::wanted(claim, name.as_str());
        if wanted.as_ref().is_some_and(BTreeSet::is_empty) {
            return;
        }
        let list = self.lists.entry((claim.run, head)).or_insert_with(|| List {
            flow: Arc::clone(&claim.flow),
            wanted: Some(BTreeSet::new()),
        });
        list.wanted = match (list.wanted.take(), wanted) {
            (Some(mut all), Some(more)) => {
                all.extend(more);
                Some(all)
            }
            _ => None,
        };
    }

    fn is_empty(&self) -> bool {
        self.runs.is_empty()
            && self.outputs.is_empty()
            && self.again.is_empty()
            && self.items.is_empty()
            && self.lists.is_empty()
    }
}

/// Tasks whose outputs the attempt refers to: needs that a text of the task names, and what its gate shows.
fn sources(claim: &Claim) -> BTreeSet<TaskIdx> {
    let (task, graph) = (claim.task(), &claim.flow.graph);
    let references = match claim.item() {
        Some(_) => task.item_references(),
        None => task.references(),
    };
    let of_tasks = || {
        references
            .iter()
            .filter(|reference| reference.key(0) == Some("tasks"))
    };
    // One that does not say which may mean any.
    let all = of_tasks().any(|reference| reference.key(1).is_none());
    let names: BTreeSet<&str> = of_tasks().filter_map(|reference| reference.key(1)).collect();
    let shown = task.gate.iter().flat_map(Gate::shown);
    let mut sources: BTreeSet<TaskIdx> = shown.filter_map(|name| graph.find(name.as_str())).collect();
    if all || !names.is_empty() {
        let named = |idx: &&TaskIdx| all || names.contains(graph.task(**idx).name.as_str());
        sources.extend(task.needs.iter().filter(named));
    }
    sources
}

fn named(claim: &Claim, (sources, outputs): (&BTreeSet<TaskIdx>, &Outputs)) -> BTreeMap<String, Value> {
    let graph = &claim.flow.graph;
    let named = sources.iter().filter_map(|idx| {
        let value = outputs.get(&(claim.run, *idx))?;
        Some((graph.task(*idx).name.as_str().to_owned(), value.clone()))
    });
    named.collect()
}

async fn load_facts(
    conn: &mut PgConnection,
    runs: &BTreeSet<RunId>,
    facts: &mut BTreeMap<RunId, Arc<RunFacts>>,
) -> Result<()> {
    if runs.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query(
        "with recursive tries as (
           select id, created_at, retry_of from run where id = any($1)
           union all select t.id, r.created_at, r.retry_of from run r join tries t on r.id = t.retry_of)
         select r.id, r.version, r.params, r.trigger, r.requester, r.scheduled_for, r.no_cache,
           (select min(t.created_at) from tries t where t.id = r.id) as created_at
         from run r where r.id = any($1)",
    )
    .bind(runs.iter().map(|run| run.0).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    for row in &rows {
        let params: sqlx::types::Json<BTreeMap<String, Value>> = row.try_get("params")?;
        let of_run = RunFacts {
            version: VersionHash(row.try_get("version")?),
            params: params.0,
            trigger: row.try_get("trigger")?,
            requester: row.try_get("requester")?,
            scheduled_for: maybe_instant(row, "scheduled_for")?,
            created_at: instant(row, "created_at")?,
            no_cache: row.try_get("no_cache")?,
        };
        facts.insert(RunId(row.try_get("id")?), Arc::new(of_run));
    }
    Ok(())
}

fn columns(places: &BTreeSet<(RunId, TaskIdx)>) -> (Vec<Uuid>, Vec<i32>) {
    places.iter().map(|(run, idx)| (run.0, *idx as i32)).unzip()
}

async fn load_outputs(
    conn: &mut PgConnection,
    places: &BTreeSet<(RunId, TaskIdx)>,
    outputs: &mut Outputs,
) -> Result<()> {
    if places.is_empty() {
        return Ok(());
    }
    let (run, idx) = columns(places);
    let rows: Vec<(Uuid, i32, Value)> = sqlx::query_as(
        "select o.run, o.idx, o.outputs from unnest($1::uuid[], $2::int[]) as u(run, idx)
         join handed_on o on o.run = u.run and o.idx = u.idx",
    )
    .bind(run)
    .bind(idx)
    .fetch_all(conn)
    .await?;
    let placed = |(run, idx, value)| ((RunId(run), idx as TaskIdx), value);
    outputs.extend(rows.into_iter().map(placed));
    Ok(())
}

/// What an attempt before left for this one.
#[derive(Default)]
struct Earlier {
    opened_by: Option<Uuid>,
    memory: Value,
}

async fn load_earlier(
    conn: &mut PgConnection,
    places: &BTreeSet<(RunId, TaskIdx)>,
) -> Result<BTreeMap<(RunId, TaskIdx), Earlier>> {
    if places.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (run, idx) = columns(places);
    // A new try begins anew; one that follows the loss of a worker goes on.
    let rows: Vec<(Uuid, i32, Option<Uuid>, Option<Value>)> = sqlx::query_as(
        "select t.run, t.idx, t.opened_by, p.memory from unnest($1::uuid[], $2::int[]) as u(run, idx)
         join task_run t on t.run = u.run and t.idx = u.idx
         left join parking p on p.run = t.run and p.idx = t.idx and p.spent = t.attempt - t.lost - 1",
    )
    .bind(run)
    .bind(idx)
    .fetch_all(conn)
    .await?;
    let placed = |(run, idx, opened_by, memory): (Uuid, i32, Option<Uuid>, Option<Value>)| {
        let memory = memory.unwrap_or_default();
        ((RunId(run), idx as TaskIdx), Earlier { opened_by, memory })
    };
    Ok(rows.into_iter().map(placed).collect())
}
