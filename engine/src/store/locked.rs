//! Runs under their row locks: load a slice, plan on it, write what changed. Everything that moves a run goes through here.

mod items;
mod load;
pub(super) mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

#[cfg(test)]
pub(super) use load::{LOAD_TASKS, LOCK_SLICES};
pub use load::{Slices, lock_all, lock_frontiers, lock_slices};
pub use write::{write_all, write_new};

use super::bell::Rings;
use super::lately::Left;
use super::{Result, Store, StoreError};
use crate::clock;
use crate::graph::Flow;
use crate::id::{Epoch, RunId, TaskIdx};
use crate::plan::{self, CarriedItems, MapView, Outcome, Plan, PlanError, RunView, Slice, Step, TaskView};
use crate::state::Reason;
use crate::state::run::RunEvent;
use crate::state::task_run::TaskEvent;

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
    maps: BTreeMap<TaskIdx, MapView>,
    carried: CarriedItems,
    next_seq: i64,
    journal: Vec<Record>,
    /// How many transitions each task run took in this transaction.
    taken: BTreeMap<TaskIdx, usize>,
    ready: BTreeMap<TaskIdx, Timestamp>,
    opened: BTreeMap<TaskIdx, Uuid>,
    leases: BTreeMap<TaskIdx, Uuid>,
    slots: BTreeMap<TaskIdx, i32>,
    /// What successes hand on, by the epoch that made it.
    outputs: BTreeMap<TaskIdx, (Epoch, Value)>,
    /// It goes before everything else.
    pub urgent: bool,
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
        Ok(lock_all(store, conn, &[id]).await?.pop())
    }

    /// The same, of a run that nobody else has locked: never waits. Its definition is read anew.
    pub(super) async fn lock_if_free(conn: &mut PgConnection, id: RunId) -> Result<Option<Self>> {
        load::lock_if_free(conn, id).await
    }

    /// A run that this transaction has just inserted.
    pub fn new(id: RunId, flow: Arc<Flow>, view: RunView, next_seq: i64) -> Self {
        Self {
            id,
            flow,
            view,
            tasks: BTreeMap::new(),
            before: BTreeMap::new(),
            maps: BTreeMap::new(),
            carried: CarriedItems::new(),
            next_seq,
            journal: Vec::new(),
            taken: BTreeMap::new(),
            ready: BTreeMap::new(),
            opened: BTreeMap::new(),
            leases: BTreeMap::new(),
            slots: BTreeMap::new(),
            outputs: BTreeMap::new(),
            urgent: false,
        }
    }

    /// A run as this process left it, which nobody has locked.
    pub(super) fn as_left(id: RunId, flow: Arc<Flow>, left: Left) -> Self {
        let mut run = Self::new(id, flow, left.view, left.next_seq);
        run.before = left.tasks.clone();
        run.tasks = left.tasks;
        run.urgent = left.urgent;
        run
    }

    /// Loads the task runs of a slice that are not loaded yet.
    pub async fn load(&mut self, conn: &mut PgConnection, slice: BTreeSet<TaskIdx>) -> Result<()> {
        let slices = Slices::from([(self.id, slice)]);
        load::load_slices(conn, std::slice::from_mut(self), &slices).await
    }

    /// Loads all task runs, items too.
    pub async fn load_all(&mut self, conn: &mut PgConnection) -> Result<()> {
        let rows = sqlx::query(
            "select idx, state::text as state, reason, unmet, seen, epoch, attempt, lost
             from task_run where run = $1",
        )
        .bind(self.id.0)
        .fetch_all(conn)
        .await?;
        self.take_in(&rows)
    }

    fn take_in(&mut self, rows: &[PgRow]) -> Result<()> {
        for row in rows {
            let idx = row.try_get::<i32, _>("idx")? as TaskIdx;
            if !self.tasks.contains_key(&idx) {
                let view = load::task_view(row)?;
                self.before.insert(idx, view.clone());
                self.tasks.insert(idx, view);
            }
        }
        Ok(())
    }

    /// Items that are carried over where a map expands in this transaction.
    pub(super) fn carry(&mut self, items: CarriedItems) {
        self.carried.extend(items);
    }

    /// Those of them that belong to a map.
    pub(super) fn carried_items(&self, head: TaskIdx) -> impl Iterator<Item = TaskIdx> {
        let graph = &self.flow.graph;
        self.carried
            .keys()
            .copied()
            .filter(move |idx| graph.head(*idx) == head)
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
        // A claim changes nobody but whom it claims.
        let (claimed, others): (Vec<_>, Vec<_>) = outcomes
            .iter()
            .partition(|(_, outcome)| *outcome == Outcome::Claimed);
        let mut slice = plan::frontier(&flow.graph, others.iter().map(|(idx, _)| *idx));
        slice.extend(claimed.iter().map(|(idx, _)| *idx));
        self.load(conn, slice).await?;
        self.load_next_items(conn, outcomes).await?;
        let saved = (self.view.clone(), self.tasks.clone(), self.maps.clone());
        let first = self.plan(outcomes, now);
        let plan = match first {
            Err(PlanError::Beyond(_)) => {
                (self.view, self.tasks, self.maps) = saved;
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

    /// Plans what follows from `outcomes` by what is loaded.
    pub(super) fn advance_loaded(
        &mut self,
        outcomes: &[(TaskIdx, Outcome)],
        (details, now): (&Details, Timestamp),
    ) -> Result<(), PlanError> {
        let plan = self.plan(outcomes, now)?;
        self.record(&plan, details);
        Ok(())
    }

    fn plan(&mut self, outcomes: &[(TaskIdx, Outcome)], now: Timestamp) -> Result<Plan, PlanError> {
        let slice = Slice {
            graph: &self.flow.graph,
            run: &mut self.view,
            tasks: &mut self.tasks,
            maps: &mut self.maps,
            carried: &self.carried,
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
            maps: &mut self.maps,
            carried: &self.carried,
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
            maps: &mut self.maps,
            carried: &self.carried,
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
        let taken = self.taken.entry(step.idx).or_default();
        let nth = *taken;
        *taken += 1;
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

    /// Notes the slot of its pool that a task run claimed here holds.
    pub fn hold(&mut self, idx: TaskIdx, slot: i32) {
        self.slots.insert(idx, slot);
    }

    /// Notes what a task run that succeeded here hands on.
    pub fn hand_on(&mut self, idx: TaskIdx, (epoch, outputs): (Epoch, Value)) {
        self.outputs.insert(idx, (epoch, outputs));
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

    /// When the first of what waits for an instant is due.
    pub(super) fn due_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.ready.values().copied().filter(|due| *due > now).min()
    }

    /// The number of the event after those recorded here.
    pub(super) fn next_seq(&self) -> i64 {
        self.next_seq + self.journal.len() as i64
    }

    /// Who is to look again at what changes here.
    pub(super) fn rings(&self) -> Rings {
        let mut rings = Rings::default();
        if !self.journal.is_empty() {
            rings = rings | Rings::CHANGED;
        }
        // What waits in `ready`, or for a slot that is free again.
        if !self.ready.is_empty() || !self.freed_slots().is_empty() {
            rings = rings | Rings::WORKERS;
        }
        // What waits or is over leaves room for another run of its flow; what is to stop has sub-runs that are to.
        let leaves_room = |kind: &str| {
            matches!(
                RunEvent::parse(kind),
                Some(RunEvent::Finished(_) | RunEvent::Paused | RunEvent::CancelRequested)
            )
        };
        if self
            .journal
            .iter()
            .any(|record| record.idx.is_empty() && leaves_room(record.kind))
        {
            rings = rings | Rings::SCHEDULER;
        }
        rings
    }

    /// Whether this transaction ended the run.
    pub fn has_ended(&self) -> bool {
        let ending = |r: &Record| matches!(RunEvent::parse(r.kind), Some(RunEvent::Finished(_)));
        self.journal.iter().any(ending)
    }
}

/// The planner's word for a task run that a worker may take.
pub fn is_claimable(task: &TaskView) -> bool {
    task.state.apply(TaskEvent::Claimed).is_ok()
}
