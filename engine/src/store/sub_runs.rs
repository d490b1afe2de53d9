//! Runs that task runs make and wait for (`uses = "flow"`).
//!
//! ```text
//! attempt ─ sub_run ─┬─ none yet, or the last one ended badly before this try ─► make it: run, row of `sub_run`, one transaction
//!                    └─ there ─► not over: the attempt parks (`sub_run`) · over: the attempt ends like it
//! the run ends ─► the same transaction wakes its parent, if nobody else has locked that ─┐
//! every second, and after each end: tend ─► what was not woken is, what lost its parent is stopped
//! ```
//!
//! A parent is locked after its sub-run only where that needs no wait, so no circle of locks can close. The version is the one that
//! is current when the run is made: that of a flow that was applied in between, and another for a retry of the parent.

mod make;

use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::leases::Holder;
use super::locked::{Details, LockedRun, write_all};
use super::{Result, Store, StoreError, maps};
use crate::clock;
use crate::graph::EndState;
use crate::id::{RunId, TaskIdx, VersionHash};
use crate::plan::Outcome;
use crate::plugin::{HostError, SubAnswer, SubFlow, SubRun};
use crate::state::Reason;

/// Runs that are looked at in one go.
const BATCH: i64 = 200;

/// Task runs of a run that wait for a run that is over.
const WAITS_IN_VAIN: &str = "select t.idx from task_run t
     where t.run = $1 and t.state = 'waiting' and t.reason = 'sub_run'
       and exists (select from sub_run s where s.parent = t.run and s.idx = t.idx)
       and not exists (select from sub_run s join active_run a on a.run = s.run where s.parent = t.run and s.idx = t.idx)
     order by t.idx";

/// Runs with such task runs.
const SLEEPERS: &str = "select distinct s.parent from active_run p join sub_run s on s.parent = p.run
     join task_run t on t.run = s.parent and t.idx = s.idx
     where t.state = 'waiting' and t.reason = 'sub_run'
       and not exists (select from sub_run o join active_run a on a.run = o.run where o.parent = s.parent and o.idx = s.idx)
     order by s.parent limit $1";

/// Runs that nobody waits for any more: the run or the task run that made them is over, or is being stopped.
const ORPHANS: &str = "select s.run from active_run a join sub_run s on s.run = a.run
     join run c on c.id = s.run join run p on p.id = s.parent
     join task_run t on t.run = s.parent and t.idx = s.idx
     where c.state <> 'cancelling'
       and (p.state = 'cancelling' or p.finished_at is not null or t.finished_at is not null)
     order by s.run limit $1";

impl Store {
    /// The run that this try of a task run has made, or makes now.
    pub async fn sub_run(&self, holder: Holder, wanted: SubFlow, now: Timestamp) -> Result<SubAnswer> {
        let (store, id) = (self.clone(), clock::new_run_id());
        self.transact(move |conn| {
            let (store, wanted) = (store.clone(), wanted.clone());
            Box::pin(async move {
                let maker = make::Maker::load(conn, holder).await?;
                if let Some(known) = newest(&store, conn, (&maker, &wanted)).await? {
                    return Ok(SubAnswer::Run(known));
                }
                make::make(&store, conn, (&maker, &wanted, id), now).await
            })
        })
        .await
    }

    /// Wakes what waits for a run that is over, stops what nobody waits for. Answers how many.
    pub async fn tend_sub_runs(&self, now: Timestamp) -> Result<usize> {
        let sleepers: Vec<Uuid> = sqlx::query_scalar(SLEEPERS)
            .bind(BATCH)
            .fetch_all(self.pool())
            .await?;
        let woken = sleepers.len();
        for run in sleepers {
            self.transact(move |conn| Box::pin(wake_all(conn, vec![run], now)))
                .await?;
        }
        Ok(woken + self.stop_orphans(now).await?)
    }

    /// Stops runs that nobody waits for, and what they wait for. Answers how many.
    pub(super) async fn stop_orphans(&self, now: Timestamp) -> Result<usize> {
        let mut stopped = 0;
        loop {
            let orphans: Vec<Uuid> = sqlx::query_scalar(ORPHANS)
                .bind(BATCH)
                .fetch_all(self.pool())
                .await?;
            let mut moved = false;
            for run in orphans {
                moved |= self.cancel_one(RunId(run), Reason::ParentEnded, now).await?;
                stopped += 1;
            }
            if !moved {
                return Ok(stopped);
            }
        }
    }
}

/// Wakes what waits in these runs for a run that is over. A run that somebody else has locked is left to the scheduler.
pub(super) async fn wake_all(conn: &mut PgConnection, runs: Vec<Uuid>, now: Timestamp) -> Result<()> {
    for run in runs {
        let Some(mut run) = LockedRun::lock_if_free(conn, RunId(run)).await? else {
            continue;
        };
        let waiting: Vec<i32> = sqlx::query_scalar(WAITS_IN_VAIN)
            .bind(run.id.0)
            .fetch_all(&mut *conn)
            .await?;
        if waiting.is_empty() {
            continue;
        }
        let woken: Vec<(TaskIdx, Outcome)> = waiting
            .iter()
            .map(|idx| (*idx as TaskIdx, Outcome::Woken))
            .collect();
        run.advance(conn, &woken, (&Details::new(), now)).await?;
        Box::pin(write_all(conn, &[run], now)).await?;
    }
    Ok(())
}

/// The run that stands for a task run: the last one it made, unless that ended badly in an earlier try.
async fn newest(
    store: &Store,
    conn: &mut PgConnection,
    (maker, wanted): (&make::Maker, &SubFlow),
) -> Result<Option<SubRun>> {
    let row = sqlx::query(
        "select s.run, s.try, r.version, v.number, r.reason, r.state::text as state
         from sub_run s join run r on r.id = s.run join flow_version v on v.hash = r.version
         where s.parent = $1 and s.idx = $2 order by s.try desc limit 1",
    )
    .bind(maker.holder.run.0)
    .bind(maker.holder.idx as i32)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let state: String = row.try_get("state")?;
    let end: Option<EndState> = serde_json::from_value(Value::String(state)).ok();
    let went_wrong = end.is_some_and(|end| end != EndState::Succeeded);
    if went_wrong && row.try_get::<i32, _>("try")? < maker.attempt {
        return Ok(None);
    }
    let (run, version) = (RunId(row.try_get("run")?), VersionHash(row.try_get("version")?));
    let outputs = match end {
        Some(EndState::Succeeded) => outputs(store, conn, (run, &version), wanted).await?,
        _ => Map::new(),
    };
    Ok(Some(SubRun {
        run,
        version,
        number: row.try_get("number")?,
        made: false,
        end,
        reason: row.try_get("reason")?,
        outputs,
    }))
}

/// What the tasks of a run handed on, by name.
async fn outputs(
    store: &Store,
    conn: &mut PgConnection,
    (run, version): (RunId, &VersionHash),
    wanted: &SubFlow,
) -> Result<Map<String, Value>> {
    let flow = store.definition(conn, version).await?;
    let rows: Vec<(i32, Value)> =
        sqlx::query_as("select idx, outputs from handed_on where run = $1 and idx < $2")
            .bind(run.0)
            .bind(flow.graph.size() as i32)
            .fetch_all(&mut *conn)
            .await?;
    let mut plain: std::collections::BTreeMap<TaskIdx, Value> = rows
        .into_iter()
        .map(|(idx, outputs)| (idx as TaskIdx, outputs))
        .collect();
    let mut all = Map::new();
    for (idx, task) in (0..).zip(flow.graph.tasks()) {
        let name = task.name.as_str();
        if wanted
            .outputs
            .as_ref()
            .is_some_and(|names| names.iter().all(|asked| asked != name))
        {
            continue;
        }
        let handed_on = match task.for_each {
            Some(_) => maps::collected(conn, (run, &flow.graph, idx), &None).await?,
            None => plain.remove(&idx),
        };
        all.insert(name.to_owned(), handed_on.unwrap_or_default());
    }
    let missing = wanted
        .outputs
        .iter()
        .flatten()
        .find(|name| !all.contains_key(*name));
    match missing {
        Some(name) => Err(refused(format!("flow `{}` has no task `{name}`", wanted.flow))),
        None => Ok(all),
    }
}

fn refused(message: String) -> StoreError {
    HostError::Refused { message }.into()
}

#[cfg(test)]
mod tests;
