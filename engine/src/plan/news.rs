//! What the planner is told and what it answers.

use jiff::Timestamp;

use crate::graph::EndState;
use crate::id::{Epoch, TaskIdx};
use crate::state::run::{Ends, RunEvent, RunState};
use crate::state::task_run::{TaskEvent, TaskState};
use crate::state::{IllegalTransition, Reason};

/// What the planner knows of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunView {
    /// Its state.
    pub state: RunState,
    /// Why it was told to stop, while `cancelling` and after.
    pub reason: Option<Reason>,
    /// Task runs that are not terminal.
    pub open: u32,
    /// Those of them that move by themselves.
    pub active: u32,
    /// How the others ended.
    pub seen: Ends,
}

/// What the planner knows of a task run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskView {
    /// Its state.
    pub state: TaskState,
    /// Needs that are not terminal; of a map that has expanded, items.
    pub unmet: u32,
    /// How the others ended.
    pub seen: Ends,
    /// Fencing token of its last claim.
    pub epoch: Epoch,
    /// Attempts begun.
    pub attempt: u32,
    /// Attempts that ended with the loss of the worker.
    pub lost: u32,
}

impl TaskView {
    /// Attempts that count against the retries: begun, and not ended by the loss of a worker.
    pub fn spent(&self) -> u32 {
        self.attempt.saturating_sub(self.lost)
    }

    /// One that waits for so many to end.
    pub fn blocked(unmet: u32) -> Self {
        Self {
            state: TaskState::Blocked,
            unmet,
            seen: Ends::default(),
            epoch: 0,
            attempt: 0,
            lost: 0,
        }
    }
}

/// What happened to a task run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// A worker claims it.
    Claimed,
    /// The attempt succeeded.
    Succeeded,
    /// An earlier attempt on the same inputs had succeeded, and its outputs are taken.
    Cached,
    /// The attempt failed; `again` when another could go better.
    Failed { reason: Reason, again: bool },
    /// Its `when` is false. Not an attempt: the plugin never started.
    Unneeded,
    /// Its list has so many items, for each of which it runs. Not an attempt either.
    Expanded { count: u32 },
    /// The attempt failed, and another could go better from `until` on.
    FailedUntil { reason: Reason, until: Timestamp },
    /// Its gate asks people. Not an attempt: the plugin never started.
    Asked,
    /// Its gate closed.
    Rejected { reason: Reason },
    /// People opened its gate.
    Approved,
    /// Its plugin has nothing to do until an instant, or until it is woken. Not an attempt.
    Parked {
        reason: Reason,
        until: Option<Timestamp>,
    },
    /// What it was parked for, without an instant, has come.
    Woken,
    /// Nobody decided in time and the gate says that this is a failure.
    ExpiredAsFailure,
    /// Its worker died or hung.
    Lost,
    /// Its worker gave it back untouched.
    Released,
    /// The attempt stopped because it was told to.
    Stopped,
}

impl Outcome {
    /// A task run ends as the run did that it made. Another try makes another run.
    pub fn of_sub_run(end: EndState) -> Self {
        let reason = Reason::SubRun;
        match end {
            EndState::Rejected => Self::Rejected { reason },
            EndState::Cancelled => Self::Stopped,
            EndState::Failed | EndState::Succeeded => Self::Failed { reason, again: true },
        }
    }

    /// The task run hands outputs on.
    pub fn hands_on(self) -> bool {
        matches!(self, Self::Succeeded | Self::Cached)
    }
}

/// One transition that the planner decided on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Whose.
    pub idx: TaskIdx,
    /// Which.
    pub event: TaskEvent,
    /// When it may be claimed, for events that lead to a state that comes due.
    pub due: Option<Timestamp>,
}

/// What follows; the views given to the planner hold the state after it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Transitions of task runs, in order.
    pub steps: Vec<Step>,
    /// Transitions of the run, after those.
    pub run_events: Vec<RunEvent>,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// What happened cannot happen in that state: the caller's news are stale.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// The end of this task spreads beyond the slice.
    #[error("task {0} is outside the loaded slice")]
    Beyond(TaskIdx),
}
