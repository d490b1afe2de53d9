//! The planner: what follows from what just happened in a run. Pure; the store loads a slice, asks, and commits the answer.
//!
//! A task run carries two numbers about its needs: how many are unfinished (`unmet`) and the ways in which the others ended
//! (`seen`, a set of bits). So the end of a task touches its dependents only, and a fan-in of ten thousand stays linear.
//!
//! The slice ([`frontier`]) holds the task runs that something happened to and their dependents; when an end spreads further
//! (skips cascade), [`PlanError::Beyond`] asks for more and the caller plans again with [`closure`].

mod again;
mod maps;
mod news;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::graph::{Graph, OnWorkerLost};
use crate::id::TaskIdx;
use crate::state::Reason;
use crate::state::run::{End, Ends, RunEvent, RunState};
use crate::state::task_run::{TaskEvent, TaskState};
use maps::Open;

pub use again::{Kept, kept};
pub use maps::{Carried, CarriedItems, MapView};
pub use news::{Outcome, Plan, PlanError, RunView, Step, TaskView};

/// How many times a task run may lose its worker before it fails; user attempts are not spent on it.
pub const LOST_WORKER_BUDGET: u32 = 3;

/// Positions to load before planning: what something happened to, and who needs it; of an item, its head.
pub fn frontier(graph: &Graph, touched: impl IntoIterator<Item = TaskIdx>) -> BTreeSet<TaskIdx> {
    let mut slice = BTreeSet::new();
    for idx in touched {
        slice.insert(idx);
        slice.insert(graph.head(idx));
        slice.extend(graph.dependents(idx));
    }
    slice
}

/// Positions to load when ends spread: everything downstream.
pub fn closure(graph: &Graph, touched: impl IntoIterator<Item = TaskIdx>) -> BTreeSet<TaskIdx> {
    let mut slice = BTreeSet::new();
    let mut open: Vec<TaskIdx> = touched.into_iter().collect();
    while let Some(idx) = open.pop() {
        if slice.insert(idx) {
            open.push(graph.head(idx));
            open.extend(graph.dependents(idx));
        }
    }
    slice
}

/// The slice of a run that a plan reads and changes.
#[derive(Debug)]
pub struct Slice<'a> {
    /// The run's graph.
    pub graph: &'a Graph,
    /// The run.
    pub run: &'a mut RunView,
    /// The loaded task runs.
    pub tasks: &'a mut BTreeMap<TaskIdx, TaskView>,
    /// Maps under `max_parallel` whose items are loaded.
    pub maps: &'a mut BTreeMap<TaskIdx, MapView>,
    /// Items to carry over, of maps that expand now.
    pub carried: &'a CarriedItems,
    /// The instant of the transaction.
    pub now: Timestamp,
}

/// Plans what follows from `outcomes`. `random` gives numbers in [0, 1) for the jitter of retries.
///
/// On `Err` the views are spoilt: load again.
pub fn advance(
    slice: Slice<'_>,
    outcomes: &[(TaskIdx, Outcome)],
    random: &mut dyn FnMut() -> f64,
) -> Result<Plan, PlanError> {
    let mut planner = Planner::new(slice);
    for &(idx, outcome) in outcomes {
        planner.take(idx, outcome, random)?;
    }
    planner.settle()
}

/// Plans the start of a queued run: the slice holds all its task runs.
pub fn start(slice: Slice<'_>) -> Result<Plan, PlanError> {
    let mut planner = Planner::new(slice);
    planner.run_event(RunEvent::Started)?;
    let roots: Vec<TaskIdx> = planner
        .tasks
        .iter()
        .filter(|(_, task)| task.state == TaskState::Blocked && task.unmet == 0)
        .map(|(&idx, _)| idx)
        .collect();
    for idx in roots {
        let event = planner.first_event(idx);
        planner.step(idx, event, None)?;
    }
    planner.settle()
}

/// Plans the cancellation of a run: the slice holds all its task runs. What runs is left to its workers.
pub fn cancel(slice: Slice<'_>, reason: Reason) -> Result<Plan, PlanError> {
    let mut planner = Planner::new(slice);
    if planner.run.state == RunState::Cancelling {
        return Ok(planner.plan);
    }
    planner.run_event(RunEvent::CancelRequested)?;
    planner.run.reason = Some(reason);
    // The head of a map follows its items.
    let items = TaskState::Waiting {
        reason: Reason::Items,
    };
    let stays = |state: TaskState| state.is_terminal() || state == TaskState::Running || state == items;
    let idle: Vec<TaskIdx> = planner
        .tasks
        .iter()
        .filter(|(_, task)| !stays(task.state))
        .map(|(&idx, _)| idx)
        .collect();
    for idx in idle {
        planner.step(idx, TaskEvent::Cancelled { reason }, None)?;
    }
    planner.settle()
}

/// A new run's views: all blocked, but for what is `carried` over from the run it retries, items among it.
pub fn create(graph: &Graph, carried: &BTreeSet<TaskIdx>) -> (RunView, BTreeMap<TaskIdx, TaskView>, Plan) {
    let mut tasks: BTreeMap<TaskIdx, TaskView> = (0..)
        .zip(graph.tasks())
        .map(|(idx, task)| (idx, TaskView::blocked(task.needs.len() as u32)))
        .collect();
    let mut run = RunView {
        state: RunState::Queued,
        reason: None,
        open: tasks.len() as u32,
        active: 0,
        seen: Ends::default(),
    };
    let mut plan = Plan::default();
    for &idx in carried {
        let done = maps::CARRIED;
        if graph.item(idx).is_none() {
            run.open -= 1;
            run.seen = run.seen.with(done, false);
        }
        tasks.entry(idx).or_insert_with(|| TaskView::blocked(1)).state = done;
        plan.steps.push(Step {
            idx,
            event: TaskEvent::Carried,
            due: None,
        });
        for next in graph.dependents(idx) {
            if let Some(task) = tasks.get_mut(next) {
                task.unmet -= 1;
                task.seen = task.seen.with(done, false);
            }
        }
    }
    (run, tasks, plan)
}

struct Planner<'a> {
    graph: &'a Graph,
    run: &'a mut RunView,
    tasks: &'a mut BTreeMap<TaskIdx, TaskView>,
    maps: &'a mut BTreeMap<TaskIdx, MapView>,
    carried: &'a CarriedItems,
    now: Timestamp,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(slice: Slice<'a>) -> Self {
        Self {
            graph: slice.graph,
            run: slice.run,
            tasks: slice.tasks,
            maps: slice.maps,
            carried: slice.carried,
            now: slice.now,
            plan: Plan::default(),
        }
    }

    fn take(
        &mut self,
        idx: TaskIdx,
        outcome: Outcome,
        random: &mut dyn FnMut() -> f64,
    ) -> Result<(), PlanError> {
        let task = self.tasks.get_mut(&idx).ok_or(PlanError::Beyond(idx))?;
        match outcome {
            Outcome::Claimed => {
                task.attempt += 1;
                task.epoch += 1;
            }
            Outcome::Lost => task.lost += 1,
            Outcome::Asked
            | Outcome::Parked { .. }
            | Outcome::Released
            | Outcome::Unneeded
            | Outcome::Expanded { .. } => {
                task.attempt = task.attempt.saturating_sub(1);
            }
            _ => {}
        }
        let (event, due) = self.event_of(idx, outcome, random)?;
        self.step(idx, event, due)?;
        match (outcome, event) {
            (Outcome::Expanded { count }, TaskEvent::Expanded) => self.expand(idx, count),
            _ => Ok(()),
        }
    }

    fn event_of(
        &self,
        idx: TaskIdx,
        outcome: Outcome,
        random: &mut dyn FnMut() -> f64,
    ) -> Result<(TaskEvent, Option<Timestamp>), PlanError> {
        let task = self.tasks.get(&idx).ok_or(PlanError::Beyond(idx))?;
        let stopping = (self.run.state == RunState::Cancelling).then(|| TaskEvent::Cancelled {
            reason: self.run.reason.unwrap_or(Reason::Requested),
        });
        let event = match outcome {
            Outcome::Claimed => TaskEvent::Claimed,
            Outcome::Succeeded => TaskEvent::Succeeded,
            Outcome::Cached => TaskEvent::Cached,
            Outcome::Approved => TaskEvent::Approved,
            Outcome::Woken => TaskEvent::Woken,
            Outcome::Rejected { reason } => TaskEvent::Rejected { reason },
            Outcome::ExpiredAsFailure => TaskEvent::Failed {
                reason: Reason::Expired,
            },
            Outcome::Unneeded => stopping.unwrap_or(TaskEvent::Skipped {
                reason: Reason::ConditionFalse,
            }),
            Outcome::Expanded { .. } => stopping.unwrap_or(TaskEvent::Expanded),
            Outcome::Asked => stopping.unwrap_or(TaskEvent::Asked),
            Outcome::Parked { reason, until } => {
                return Ok((stopping.unwrap_or(TaskEvent::Parked { reason }), until));
            }
            Outcome::Released => stopping.unwrap_or(TaskEvent::Released),
            Outcome::Stopped => stopping.unwrap_or(TaskEvent::Cancelled {
                reason: Reason::Requested,
            }),
            Outcome::Lost => stopping.unwrap_or_else(|| self.after_loss(idx, task)),
            Outcome::FailedUntil { reason, until } => match stopping {
                Some(event) => event,
                None => {
                    let (event, due) = self.after_failure(idx, (reason, true), random);
                    return Ok((event, due.map(|due| due.max(until))));
                }
            },
            Outcome::Failed { reason, again } => match stopping {
                Some(event) => event,
                None => return Ok(self.after_failure(idx, (reason, again), random)),
            },
        };
        Ok((event, Some(self.now)))
    }

    fn after_loss(&self, idx: TaskIdx, task: &TaskView) -> TaskEvent {
        let keep = self.graph.task(idx).on_worker_lost == OnWorkerLost::Retry;
        if keep && task.lost <= LOST_WORKER_BUDGET {
            TaskEvent::Released
        } else {
            TaskEvent::Failed {
                reason: Reason::WorkerLost,
            }
        }
    }

    fn after_failure(
        &self,
        idx: TaskIdx,
        (reason, again): (Reason, bool),
        random: &mut dyn FnMut() -> f64,
    ) -> (TaskEvent, Option<Timestamp>) {
        let policy = &self.graph.task(idx).retry;
        let spent = self.tasks.get(&idx).map_or(0, TaskView::spent);
        if !again || spent >= policy.attempts {
            return (TaskEvent::Failed { reason }, None);
        }
        let pause = policy.pause(spent, random());
        let due = self.now.checked_add(pause).unwrap_or(Timestamp::MAX);
        (TaskEvent::RetryPlanned, Some(due))
    }

    fn step(&mut self, idx: TaskIdx, event: TaskEvent, due: Option<Timestamp>) -> Result<(), PlanError> {
        let mut open = Open::from([(idx, event, due)]);
        while let Some((idx, event, due)) = open.pop_front() {
            match self.transit(Step { idx, event, due })? {
                None => {}
                Some(end) if self.graph.item(idx).is_some() => self.tell_head(idx, end, &mut open)?,
                Some(end) => self.tell_dependents(idx, end, &mut open)?,
            }
        }
        Ok(())
    }

    /// Applies one transition and keeps the run's counters; answers the end state when it is one.
    fn transit(&mut self, step: Step) -> Result<Option<TaskState>, PlanError> {
        let task = self.tasks.get_mut(&step.idx).ok_or(PlanError::Beyond(step.idx))?;
        let before = task.state;
        let after = before.apply(step.event)?;
        task.state = after;
        self.run.active = self.run.active + u32::from(after.is_active()) - u32::from(before.is_active());
        let due = after.comes_due().then(|| step.due.unwrap_or(self.now));
        self.plan.steps.push(Step { due, ..step });
        if !after.is_terminal() {
            return Ok(None);
        }
        self.run.open -= 1;
        if self.graph.item(step.idx).is_none() {
            let tolerated = self.graph.task(step.idx).continue_on_failure;
            self.run.seen = self.run.seen.with(after, tolerated);
        }
        Ok(Some(after))
    }

    fn tell_dependents(&mut self, idx: TaskIdx, end: TaskState, open: &mut Open) -> Result<(), PlanError> {
        let tolerated = self.graph.task(idx).continue_on_failure;
        for &next in self.graph.dependents(idx) {
            let task = self.tasks.get_mut(&next).ok_or(PlanError::Beyond(next))?;
            if task.state != TaskState::Blocked {
                continue;
            }
            task.unmet -= 1;
            task.seen = task.seen.with(end, tolerated);
            if task.unmet > 0 || self.run.state == RunState::Cancelling {
                continue;
            }
            let event = task
                .seen
                .obstacle(self.graph.task(next).run_if)
                .map_or(TaskEvent::Unblocked, |reason| TaskEvent::Skipped { reason });
            open.push_back((next, event, None));
        }
        Ok(())
    }

    /// What happens to a task that waits for nothing when its run starts. All its needs may have been carried over, and what was not
    /// to run for their ends does not run this time either.
    fn first_event(&self, idx: TaskIdx) -> TaskEvent {
        let task = self.graph.task(idx);
        let needs = self.tasks.get(&idx).filter(|_| !task.needs.is_empty());
        needs
            .and_then(|view| view.seen.obstacle(task.run_if))
            .map_or(TaskEvent::Unblocked, |reason| TaskEvent::Skipped { reason })
    }

    fn run_event(&mut self, event: RunEvent) -> Result<(), PlanError> {
        self.run.state = self.run.state.apply(event)?;
        self.plan.run_events.push(event);
        Ok(())
    }

    /// The run's own transition, once its task runs are where they are.
    fn settle(mut self) -> Result<Plan, PlanError> {
        if self.run.open == 0 && !self.run.state.is_terminal() {
            let end = self.run.seen.end();
            // A stop that came too late to stop anything is no reason.
            self.run.reason = self.run.reason.filter(|_| end != End::Succeeded);
            self.run_event(RunEvent::Finished(end))?;
        } else if self.run.state == RunState::Running && self.run.active == 0 {
            self.run_event(RunEvent::Paused)?;
        } else if self.run.state == RunState::Waiting && self.run.active > 0 {
            self.run_event(RunEvent::Resumed)?;
        }
        Ok(self.plan)
    }
}

/// When a run that is `running` since `started` and has spent `waited` waiting for people must end.
pub fn deadline(started: Timestamp, waited: Duration, timeout: Duration) -> Timestamp {
    started.checked_add(waited + timeout).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
