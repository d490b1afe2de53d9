//! Runs under their row locks: load a slice, plan on it, write what changed. Everything that moves a run goes through here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{Result, Store, StoreError, clean, day_of, pg};
use crate::clock;
use crate::graph::Flow;
use crate::id::{RunId, TaskIdx, VersionHash};
use crate::plan::{self, Outcome, Plan, PlanError, RunView, Slice, Step, TaskView};
use crate::state::Reason;
use crate::state::run::{Ends, RunEvent, RunState};
use crate::state::task_run::{TaskEvent, TaskState};

/// One run whose row is locked by this transaction.
#[derive(Debug)]
pub struct LockedRun {
    /// Its identity.
    pub id: RunId,
    /// Its sealed flow.
    pub flow: Arc<Flow>,
    /// Its counters, as they will be written.
    pub view: RunView,
    /// The loaded task runs, as they will be written.
    pub tasks: BTreeMap<TaskIdx, TaskView>,
    before: BTreeMap<TaskIdx, TaskView>,
    next_seq: i64,
    journal: Vec<Record>,
    steps: Vec<(TaskIdx, usize)>,
    ready: BTreeMap<TaskIdx, Timestamp>,
    opened: BTreeMap<TaskIdx, Uuid>,
    leases: BTreeMap<TaskIdx, Uuid>,
}

/// An event about to be written: one row for all task runs that took the same transition.
#[derive(Debug)]
struct Record {
    kind: &'static str,
    reason: Option<Reason>,
    nth: usize,
    idx: Vec<TaskIdx>,
    detail: Map<String, Value>,
}

/// What comes with a transition into its event: error, epoch, worker.
pub type Details = BTreeMap<TaskIdx, Value>;

impl LockedRun {
    /// Locks a run and loads its head. `None`: no such run.
    pub async fn lock(store: &Store, conn: &mut PgConnection, id: RunId) -> Result<Option<Self>> {
        let row = sqlx::query(
            "select version, state::text as state, reason, open, active, seen, next_seq
             from run where id = $1 for no key update",
        )
        .bind(id.0)
        .fetch_optional(&mut *conn)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let flow = store
            .definition(conn, &VersionHash(row.try_get("version")?))
            .await?;
        let next_seq = row.try_get("next_seq")?;
        Ok(Some(Self::new(id, flow, run_view(&row)?, next_seq)))
    }

    /// A run that this transaction has just inserted.
    pub fn new(id: RunId, flow: Arc<Flow>, view: RunView, next_seq: i64) -> Self {
        Self {
            id,
            flow,
            view,
            tasks: BTreeMap::new(),
            before: BTreeMap::new(),
            next_seq,
            journal: Vec::new(),
            steps: Vec::new(),
            ready: BTreeMap::new(),
            opened: BTreeMap::new(),
            leases: BTreeMap::new(),
        }
    }

    /// Loads the task runs of a slice that are not loaded yet.
    pub async fn load(&mut self, conn: &mut PgConnection, slice: BTreeSet<TaskIdx>) -> Result<()> {
        let missing: Vec<i32> = slice
            .into_iter()
            .filter(|idx| !self.tasks.contains_key(idx))
            .map(|idx| idx as i32)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query(
            "select idx, state::text as state, reason, unmet, seen, epoch, attempt, lost
             from task_run where run = $1 and idx = any($2)",
        )
        .bind(self.id.0)
        .bind(&missing)
        .fetch_all(conn)
        .await?;
        for row in &rows {
            let idx = row.try_get::<i32, _>("idx")? as TaskIdx;
            let view = task_view(row)?;
            self.before.insert(idx, view.clone());
            self.tasks.insert(idx, view);
        }
        Ok(())
    }

    /// Loads all task runs.
    pub async fn load_all(&mut self, conn: &mut PgConnection) -> Result<()> {
        let all = (0..self.flow.graph.tasks().len() as TaskIdx).collect();
        self.load(conn, all).await
    }

    /// Plans what follows from `outcomes`, loading more when ends spread. `Stale` when an outcome is no longer possible.
    pub async fn advance(
        &mut self,
        conn: &mut PgConnection,
        outcomes: &[(TaskIdx, Outcome)],
        (details, now): (&Details, Timestamp),
    ) -> Result<()> {
        let flow = Arc::clone(&self.flow);
        let touched = || outcomes.iter().map(|(idx, _)| *idx);
        self.load(conn, plan::frontier(&flow.graph, touched())).await?;
        let saved = (self.view.clone(), self.tasks.clone());
        let first = self.plan(outcomes, now);
        let plan = match first {
            Err(PlanError::Beyond(_)) => {
                (self.view, self.tasks) = saved;
                self.load(conn, plan::closure(&flow.graph, touched())).await?;
                self.plan(outcomes, now)
            }
            other => other,
        };
        let plan = plan.map_err(|error| match error {
            PlanError::Illegal(_) => StoreError::Stale,
            other => StoreError::Plan(other),
        })?;
        self.record(&plan, details);
        Ok(())
    }

    fn plan(&mut self, outcomes: &[(TaskIdx, Outcome)], now: Timestamp) -> Result<Plan, PlanError> {
        let slice = Slice {
            graph: &self.flow.graph,
            run: &mut self.view,
            tasks: &mut self.tasks,
            now,
        };
        plan::advance(slice, outcomes, &mut clock::random)
    }

    /// Starts a queued run; all its task runs must be loaded.
    pub fn start(&mut self, now: Timestamp) -> Result<()> {
        let slice = Slice {
            graph: &self.flow.graph,
            run: &mut self.view,
            tasks: &mut self.tasks,
            now,
        };
        let plan = plan::start(slice)?;
        self.record(&plan, &Details::new());
        Ok(())
    }

    /// Cancels the run; all its task runs must be loaded.
    pub fn cancel(&mut self, reason: Reason, now: Timestamp) -> Result<()> {
        let slice = Slice {
            graph: &self.flow.graph,
            run: &mut self.view,
            tasks: &mut self.tasks,
            now,
        };
        let plan = plan::cancel(slice, reason)?;
        self.record(&plan, &Details::new());
        Ok(())
    }

    /// Takes a plan's steps into the journal.
    pub fn record(&mut self, plan: &Plan, details: &Details) {
        for step in &plan.steps {
            self.record_step(*step, details.get(&step.idx));
        }
        for event in &plan.run_events {
            self.push(Record {
                kind: event.as_str(),
                reason: self.view.reason,
                nth: usize::MAX,
                idx: Vec::new(),
                detail: Map::new(),
            });
        }
    }

    fn record_step(&mut self, step: Step, detail: Option<&Value>) {
        match step.due {
            Some(due) => self.ready.insert(step.idx, due),
            None => self.ready.remove(&step.idx),
        };
        let nth = self.steps.iter().filter(|(idx, _)| *idx == step.idx).count();
        if nth > 0 || !self.steps.iter().any(|(idx, _)| *idx == step.idx) {
            self.steps.push((step.idx, nth));
        }
        let (kind, reason) = (step.event.as_str(), step.event.reason());
        let same = |r: &Record| r.kind == kind && r.reason == reason && r.nth == nth;
        let at = self.journal.iter().rposition(same).unwrap_or_else(|| {
            self.push(Record {
                kind,
                reason,
                nth,
                idx: Vec::new(),
                detail: Map::new(),
            });
            self.journal.len() - 1
        });
        let record = &mut self.journal[at];
        record.idx.push(step.idx);
        if let Some(detail) = detail {
            record.detail.insert(step.idx.to_string(), detail.clone());
        }
    }

    fn push(&mut self, record: Record) {
        self.journal.push(record);
    }

    /// Grants the lease of a task run that this transaction claimed to a worker.
    pub fn grant(&mut self, idx: TaskIdx, worker: Uuid) {
        self.ready.remove(&idx);
        self.leases.insert(idx, worker);
    }

    /// Notes the approval that opened a task run's gate.
    pub fn opened_by(&mut self, idx: TaskIdx, approval: Uuid) {
        self.opened.insert(idx, approval);
    }

    /// Task runs that may be claimed at `now` by what this transaction did.
    pub fn fresh(&self, now: Timestamp) -> Vec<TaskIdx> {
        self.ready
            .iter()
            .filter(|(_, due)| **due <= now)
            .map(|(idx, _)| *idx)
            .collect()
    }

    /// Writes all that changed.
    pub async fn write(self, conn: &mut PgConnection, now: Timestamp) -> Result<()> {
        self.write_tasks(conn, now).await?;
        self.write_ready(conn).await?;
        self.write_leases(conn).await?;
        self.void_approvals(conn, now).await?;
        self.write_events(conn, now).await?;
        self.write_run(conn, now).await
    }

    async fn write_tasks(&self, conn: &mut PgConnection, now: Timestamp) -> Result<()> {
        let changed: Vec<(TaskIdx, &TaskView)> = self
            .tasks
            .iter()
            .filter(|(idx, view)| self.before.get(idx) != Some(view) || self.opened.contains_key(idx))
            .map(|(idx, view)| (*idx, view))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let pick = |f: &dyn Fn(&TaskView) -> Option<String>| -> Vec<Option<String>> {
            changed.iter().map(|(_, t)| f(t)).collect()
        };
        let insert = self.before.is_empty();
        let sql = if insert { INSERT_TASKS } else { UPDATE_TASKS };
        sqlx::query(sql)
            .bind(self.id.0)
            .bind(changed.iter().map(|(idx, _)| *idx as i32).collect::<Vec<_>>())
            .bind(pick(&|t| Some(t.state.as_str().to_owned())))
            .bind(pick(&|t| t.state.reason().map(|r| r.as_str().to_owned())))
            .bind(changed.iter().map(|(_, t)| t.unmet as i32).collect::<Vec<_>>())
            .bind(changed.iter().map(|(_, t)| t.seen.0).collect::<Vec<_>>())
            .bind(changed.iter().map(|(_, t)| t.epoch).collect::<Vec<_>>())
            .bind(changed.iter().map(|(_, t)| t.attempt as i32).collect::<Vec<_>>())
            .bind(changed.iter().map(|(_, t)| t.lost as i32).collect::<Vec<_>>())
            .bind(
                changed
                    .iter()
                    .map(|(idx, _)| self.opened.get(idx).copied())
                    .collect::<Vec<_>>(),
            )
            .bind(pg(now))
            .execute(conn)
            .await?;
        Ok(())
    }

    async fn write_ready(&self, conn: &mut PgConnection) -> Result<()> {
        if !self.ready.is_empty() {
            let (idx, at): (Vec<i32>, Vec<jiff_sqlx::Timestamp>) =
                self.ready.iter().map(|(idx, at)| (*idx as i32, pg(*at))).unzip();
            sqlx::query(
                "insert into ready (queue, priority, at, run, idx)
                 select 'default', 0, at, $1, idx from unnest($2::int[], $3::timestamptz[]) as u(idx, at)
                 on conflict (run, idx) do nothing",
            )
            .bind(self.id.0)
            .bind(idx)
            .bind(at)
            .execute(&mut *conn)
            .await?;
        }
        // A claimer may hold a row: it finds the task run no longer claimable under the run's lock and drops it.
        let gone = self.left(&[TaskState::Ready, TaskState::Backoff], false);
        if gone.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "delete from ready where ctid = any(array(
               select ctid from ready where run = $1 and idx = any($2) order by idx for update skip locked))",
        )
        .bind(self.id.0)
        .bind(gone)
        .execute(conn)
        .await?;
        Ok(())
    }

    async fn write_leases(&self, conn: &mut PgConnection) -> Result<()> {
        let ended = self.left(&[TaskState::Running], true);
        if !ended.is_empty() {
            sqlx::query(
                "delete from lease where ctid = any(array(
                   select ctid from lease where run = $1 and idx = any($2) order by idx for update))",
            )
            .bind(self.id.0)
            .bind(ended)
            .execute(&mut *conn)
            .await?;
        }
        if self.leases.is_empty() {
            return Ok(());
        }
        let idx: Vec<i32> = self.leases.keys().map(|idx| *idx as i32).collect();
        let epoch: Vec<i64> = self
            .leases
            .keys()
            .map(|idx| self.tasks.get(idx).map_or(0, |t| t.epoch))
            .collect();
        let worker: Vec<Uuid> = self.leases.values().copied().collect();
        sqlx::query(
            "insert into lease (run, idx, epoch, worker, until)
             select $1, idx, epoch, worker, clock_timestamp() + $5 * interval '1 millisecond'
             from unnest($2::int[], $3::bigint[], $4::uuid[]) as u(idx, epoch, worker)",
        )
        .bind(self.id.0)
        .bind(idx)
        .bind(epoch)
        .bind(worker)
        .bind(super::leases::LEASE.as_millis() as f64)
        .execute(conn)
        .await?;
        Ok(())
    }

    /// Closes what still asks for task runs that no longer wait: nobody decided, their run was stopped.
    async fn void_approvals(&self, conn: &mut PgConnection, now: Timestamp) -> Result<()> {
        let waits = TaskState::Waiting {
            reason: Reason::Approval,
        };
        let gone = self.left(&[waits], false);
        if gone.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "update approval set state = 'void', closed_at = $3
             where run = $1 and idx = any($2) and state = 'open'",
        )
        .bind(self.id.0)
        .bind(gone)
        .bind(pg(now))
        .execute(conn)
        .await?;
        Ok(())
    }

    /// Task runs that were in one of `states` and are no longer (or, claimed anew in this transaction, are again).
    fn left(&self, states: &[TaskState], renewed: bool) -> Vec<i32> {
        let moved = |idx: &TaskIdx, before: &TaskView| {
            self.tasks
                .get(idx)
                .is_some_and(|now| now.state != before.state || (renewed && now.epoch != before.epoch))
        };
        self.before
            .iter()
            .filter(|(idx, before)| states.contains(&before.state) && moved(idx, before))
            .map(|(idx, _)| *idx as i32)
            .collect()
    }

    async fn write_events(&self, conn: &mut PgConnection, now: Timestamp) -> Result<()> {
        if self.journal.is_empty() {
            return Ok(());
        }
        let seq: Vec<i64> = (self.next_seq..).take(self.journal.len()).collect();
        let kind: Vec<&str> = self.journal.iter().map(|r| r.kind).collect();
        let idx: Vec<String> = self.journal.iter().map(|r| array_literal(&r.idx)).collect();
        let data: Vec<Option<Value>> = self.journal.iter().map(Record::data).collect();
        sqlx::query(
            "insert into event (day, run, seq, kind, idx, at, data)
             select $1, $2, seq, kind, idx::int[], $7, data
             from unnest($3::bigint[], $4::text[], $5::text[], $6::jsonb[]) as u(seq, kind, idx, data)",
        )
        .bind(day_of(self.id))
        .bind(self.id.0)
        .bind(seq)
        .bind(kind)
        .bind(idx)
        .bind(data)
        .bind(pg(now))
        .execute(conn)
        .await?;
        Ok(())
    }

    async fn write_run(&self, conn: &mut PgConnection, now: Timestamp) -> Result<()> {
        sqlx::query(
            "update run set state = $2::run_state, reason = $3, open = $4, active = $5, seen = $6,
               next_seq = next_seq + $7,
               started_at = case when $2 <> 'queued' then coalesce(started_at, $8) end,
               finished_at = case when $9 then $8 end,
               waited = waited + case when waiting_since is not null and $2 <> 'waiting'
                                      then $8 - waiting_since else '0' end,
               waiting_since = case when $2 = 'waiting' then coalesce(waiting_since, $8) end
             where id = $1",
        )
        .bind(self.id.0)
        .bind(self.view.state.as_str())
        .bind(self.view.reason.map(Reason::as_str))
        .bind(self.view.open as i32)
        .bind(self.view.active as i32)
        .bind(self.view.seen.0)
        .bind(self.journal.len() as i64)
        .bind(pg(now))
        .bind(self.view.state.is_terminal())
        .execute(&mut *conn)
        .await?;
        if self.view.state.is_terminal() {
            sqlx::query("delete from active_run where run = $1")
                .bind(self.id.0)
                .execute(conn)
                .await?;
        }
        Ok(())
    }

    /// Whether this transaction ended the run.
    pub fn has_ended(&self) -> bool {
        let ending = |r: &Record| matches!(RunEvent::parse(r.kind), Some(RunEvent::Finished(_)));
        self.journal.iter().any(ending)
    }
}

impl Record {
    fn data(&self) -> Option<Value> {
        let mut fields = Map::new();
        if let Some(reason) = self.reason {
            fields.insert("reason".to_owned(), json!(reason));
        }
        if !self.detail.is_empty() {
            fields.insert("detail".to_owned(), Value::Object(self.detail.clone()));
        }
        (!fields.is_empty()).then(|| clean(Value::Object(fields)))
    }
}

fn array_literal(idx: &[TaskIdx]) -> String {
    let numbers: Vec<String> = idx.iter().map(ToString::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}

const UPDATE_TASKS: &str =
    "update task_run t set state = u.state::task_state, reason = u.reason, unmet = u.unmet, seen = u.seen,
       epoch = u.epoch, attempt = u.attempt, lost = u.lost,
       opened_by = case when u.state <> 'waiting' then coalesce(u.opened_by, t.opened_by) end,
       started_at = case when u.state = 'running' then coalesce(t.started_at, $11) else t.started_at end,
       finished_at = case when u.state in ('succeeded', 'failed', 'rejected', 'skipped', 'cancelled') then $11 end
     from unnest($2::int[], $3::text[], $4::text[], $5::int[], $6::smallint[], $7::bigint[], $8::int[], $9::int[],
                 $10::uuid[]) as u(idx, state, reason, unmet, seen, epoch, attempt, lost, opened_by)
     where t.run = $1 and t.idx = u.idx";

const INSERT_TASKS: &str =
    "insert into task_run (run, idx, state, reason, unmet, seen, epoch, attempt, lost, opened_by, finished_at)
     select $1, idx, state::task_state, reason, unmet, seen, epoch, attempt, lost, opened_by,
       case when state in ('succeeded', 'failed', 'rejected', 'skipped', 'cancelled') then $11 end
     from unnest($2::int[], $3::text[], $4::text[], $5::int[], $6::smallint[], $7::bigint[], $8::int[], $9::int[],
                 $10::uuid[]) as u(idx, state, reason, unmet, seen, epoch, attempt, lost, opened_by)";

fn corrupt(what: &'static str, why: impl Into<String>) -> StoreError {
    StoreError::Corrupt {
        what,
        why: why.into(),
    }
}

fn run_view(row: &PgRow) -> Result<RunView> {
    let word: String = row.try_get("state")?;
    let reason: Option<String> = row.try_get("reason")?;
    Ok(RunView {
        state: RunState::parse(&word).ok_or_else(|| corrupt("run state", word))?,
        reason: reason.as_deref().and_then(Reason::parse),
        open: row.try_get::<i32, _>("open")? as u32,
        active: row.try_get::<i32, _>("active")? as u32,
        seen: Ends(row.try_get("seen")?),
    })
}

fn task_view(row: &PgRow) -> Result<TaskView> {
    let word: String = row.try_get("state")?;
    let reason: Option<String> = row.try_get("reason")?;
    Ok(TaskView {
        state: TaskState::parse(&word, reason.as_deref()).ok_or_else(|| corrupt("task run state", word))?,
        unmet: row.try_get::<i32, _>("unmet")? as u32,
        seen: Ends(row.try_get("seen")?),
        epoch: row.try_get("epoch")?,
        attempt: row.try_get::<i32, _>("attempt")? as u32,
        lost: row.try_get::<i32, _>("lost")? as u32,
    })
}

/// The planner's word for a task run that a worker may take.
pub fn is_claimable(task: &TaskView) -> bool {
    task.state.apply(TaskEvent::Claimed).is_ok()
}
