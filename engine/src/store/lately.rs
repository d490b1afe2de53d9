//! What this process knows of the runs that it moved lately: their flows, which never change, and how it left them.
//!
//! What is remembered may be out of date: whoever builds on it must write under the condition that the run's next event still has
//! the number that it had here. Every change of a run or of its task runs is an event.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::locked::LockedRun;
use crate::graph::Flow;
use crate::id::{RunId, TaskIdx};
use crate::plan::{RunView, TaskView};

/// Runs that are kept in memory.
const MOST: usize = 4096;
/// Task runs that are kept of one.
const MOST_TASKS: usize = 64;

/// Runs by their ids: the oldest come first.
#[derive(Default)]
pub(super) struct Lately(Mutex<BTreeMap<RunId, Known>>);

struct Known {
    flow: Arc<Flow>,
    left: Option<Left>,
}

/// How a run was left by the transaction that moved it last.
#[derive(Debug)]
pub(super) struct Left {
    /// Number of its next event.
    pub next_seq: i64,
    /// Its counters.
    pub view: RunView,
    /// It goes before everything else.
    pub urgent: bool,
    /// Task runs that are not over, as far as they were loaded.
    pub tasks: BTreeMap<TaskIdx, TaskView>,
}

impl Left {
    /// How a run is left whose changes are written. `None`: it is over, or too wide to be kept.
    pub(super) fn of(run: &LockedRun) -> Option<Self> {
        let open = run.tasks.iter().filter(|(_, task)| !task.state.is_terminal());
        let open = open.take(MOST_TASKS + 1);
        let tasks: BTreeMap<TaskIdx, TaskView> = open.map(|(idx, task)| (*idx, task.clone())).collect();
        (!run.view.state.is_terminal() && tasks.len() <= MOST_TASKS).then(|| Self {
            next_seq: run.next_seq(),
            view: run.view.clone(),
            urgent: run.urgent,
            tasks,
        })
    }
}

impl Lately {
    /// The flow of a run.
    pub(super) fn flow(&self, run: RunId) -> Option<Arc<Flow>> {
        let known = self.0.lock().ok()?;
        known.get(&run).map(|known| Arc::clone(&known.flow))
    }

    /// Remembers the flow of a run.
    pub(super) fn meet(&self, run: RunId, flow: &Arc<Flow>) {
        if let Ok(mut all) = self.0.lock()
            && !all.contains_key(&run)
        {
            if all.len() >= MOST {
                all.pop_first();
            }
            let flow = Arc::clone(flow);
            all.insert(run, Known { flow, left: None });
        }
    }

    /// Remembers how a run was left.
    pub(super) fn leave(&self, run: RunId, left: Option<Left>) {
        if let Ok(mut all) = self.0.lock()
            && let Some(known) = all.get_mut(&run)
        {
            // Of two that were moved here at once the later counts.
            let newer = |left: &Left| {
                known
                    .left
                    .as_ref()
                    .is_none_or(|kept| kept.next_seq < left.next_seq)
            };
            if left.as_ref().is_none_or(newer) {
                known.left = left;
            }
        }
    }

    /// How a run was left, for whoever moves it on; forgotten until it is left again.
    pub(super) fn take(&self, run: RunId) -> Option<(Arc<Flow>, Left)> {
        let mut all = self.0.lock().ok()?;
        let known = all.get_mut(&run)?;
        let left = known.left.take()?;
        Some((Arc::clone(&known.flow), left))
    }
}
