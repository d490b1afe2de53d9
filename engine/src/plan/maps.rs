//! Maps: a task with `for_each` runs once for each item of a list.
//!
//! ```text
//! head   blocked ─► ready ─► running ─► waiting (items) ─────────────► succeeded | failed | rejected | cancelled
//!                               │ expanded                           ▲
//! items                         └─► blocked ─► ready ─► running ─► … ┘ the last one is over: the worst end wins
//! ```
//!
//! The *head* is the task run at the task's own position. Its attempt evaluates `when` and the list; then it holds no slot and no lease,
//! and its items come into being, in the same transaction, as task runs of the same run. With *n* tasks, item *k* of the head at
//! *h* has the position (*k* + 1) × *n* + *h*: whatever is kept by (run, position) is kept for items too, the graph stays that of the version, and a
//! position tells by itself whose it is.
//!
//! - What needs the task, and the run's end, look at the head only.
//! - The head counts as a task run counts its needs: `unmet` are the items that are not over, `seen` the ways in which the others ended.
//!   The end of an item touches the item, its head and, under `max_parallel`, the next item: ten thousand items stay linear.
//! - Under `max_parallel` items leave `blocked` in order, one for each that ends. A cursor ([`MapView`]) keeps the place, so that none is
//!   looked for twice; who plans loads, beside the [`frontier`](super::frontier), as many blocked items from there on as may end.
//! - An item that fails, out of attempts, fails the head when the others are over; it stops none of them.
//! - A cancelled run cancels the items that are idle at once; the head follows the last one that runs.
//! - In a retry, items that had succeeded for the same value are carried over when the map expands.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use super::{PlanError, Planner, Step, TaskView};
use crate::id::{Epoch, TaskIdx};
use crate::state::Reason;
use crate::state::run::{End, Ends, RunState};
use crate::state::task_run::{TaskEvent, TaskState};

/// What the planner keeps of a map under `max_parallel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MapView {
    /// No item below this map index is blocked any more.
    pub cursor: u32,
}

/// The attempt that a task run succeeded with in the run that this one retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Its fencing token.
    pub epoch: Epoch,
    /// Its number.
    pub attempt: u32,
}

/// Items that are carried over when their map expands, by position.
pub type CarriedItems = BTreeMap<TaskIdx, Carried>;

/// Transitions that are still to be taken.
pub(super) type Open = VecDeque<(TaskIdx, TaskEvent, Option<Timestamp>)>;

pub(super) const CARRIED: TaskState = TaskState::Succeeded {
    reason: Some(Reason::Carried),
};

impl Planner<'_> {
    /// Brings the items of a head that has just expanded into being.
    pub(super) fn expand(&mut self, head: TaskIdx, count: u32) -> Result<(), PlanError> {
        let mut open_items = 0;
        let mut seen = Ends::default();
        for item in 0..count {
            let idx = self.graph.item_at(head, item);
            let carried = self.carried.get(&idx).copied();
            let mut view = TaskView::blocked(1);
            if let Some(Carried { epoch, attempt }) = carried {
                (view.state, view.epoch, view.attempt) = (CARRIED, epoch, attempt);
                seen = seen.with(CARRIED, false);
                self.plan.steps.push(Step {
                    idx,
                    event: TaskEvent::Carried,
                    due: None,
                });
            } else {
                open_items += 1;
            }
            self.tasks.insert(idx, view);
        }
        self.run.open += open_items;
        let view = self.tasks.get_mut(&head).ok_or(PlanError::Beyond(head))?;
        (view.unmet, view.seen) = (open_items, seen);
        if open_items == 0 {
            return self.step(head, TaskEvent::Succeeded, None);
        }
        let at_once = self.graph.task(head).max_parallel.unwrap_or(count);
        for idx in self.release(head, at_once as usize) {
            self.step(idx, TaskEvent::Unblocked, None)?;
        }
        Ok(())
    }

    /// The next items that may leave `blocked`; the cursor moves past them.
    fn release(&mut self, head: TaskIdx, count: usize) -> Vec<TaskIdx> {
        let cursor = self.maps.entry(head).or_default();
        let from = self.graph.item_at(head, cursor.cursor);
        let blocked = |(idx, view): &(&TaskIdx, &TaskView)| {
            self.graph.head(**idx) == head && view.state == TaskState::Blocked
        };
        let next = self.tasks.range(from..).filter(blocked).map(|(idx, _)| *idx);
        let next: Vec<TaskIdx> = next.take(count).collect();
        if let Some(item) = next.last().and_then(|last| self.graph.item(*last)) {
            cursor.cursor = item + 1;
        }
        next
    }

    /// Tells the head of a map that one of its items is over.
    pub(super) fn tell_head(
        &mut self,
        item: TaskIdx,
        end: TaskState,
        open: &mut Open,
    ) -> Result<(), PlanError> {
        let idx = self.graph.head(item);
        let head = self.tasks.get_mut(&idx).ok_or(PlanError::Beyond(idx))?;
        head.unmet = head.unmet.saturating_sub(1);
        head.seen = head.seen.with(end, false);
        if head.unmet == 0 {
            let ends = head.seen;
            open.push_back((idx, self.end_of_map(ends), None));
        } else if self.graph.task(idx).max_parallel.is_some() && self.run.state != RunState::Cancelling {
            let next = self.release(idx, 1).into_iter();
            open.extend(next.map(|next| (next, TaskEvent::Unblocked, None)));
        }
        Ok(())
    }

    fn end_of_map(&self, ends: Ends) -> TaskEvent {
        let stopped = TaskEvent::Cancelled {
            reason: self.run.reason.unwrap_or(Reason::Requested),
        };
        match ends.end() {
            End::Succeeded => TaskEvent::Succeeded,
            End::Cancelled => stopped,
            _ if self.run.state == RunState::Cancelling => stopped,
            End::Failed => TaskEvent::Failed {
                reason: Reason::ItemsFailed,
            },
            End::Rejected => TaskEvent::Rejected {
                reason: Reason::ItemsRejected,
            },
        }
    }
}
