//! What a retry keeps of the run that it retries.
//!
//! A task run is carried over when it succeeded and all that it rests on stays as it was: nothing before it runs again. What was skipped
//! stays as it was when all before it does; it is not carried but skipped anew, for the same reason. A failure that was
//! tolerated runs again like any other, and so does what went on without it.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::Graph;
use crate::id::TaskIdx;
use crate::state::task_run::TaskState;

/// What stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// Tasks that are carried over, a map with all its items.
    pub tasks: BTreeSet<TaskIdx>,
    /// Maps that run again on what they ran on before: items that succeeded are carried over where the list still has them.
    pub maps: BTreeSet<TaskIdx>,
}

/// What stays of a run that ended so; from `from` on everything runs again.
pub fn kept(graph: &Graph, ends: &BTreeMap<TaskIdx, TaskState>, from: Option<TaskIdx>) -> Kept {
    let again = from.map_or_else(BTreeSet::new, |from| super::closure(graph, [from]));
    let mut order: Vec<(usize, TaskIdx)> = graph.layers().into_iter().zip(0..).collect();
    order.sort_unstable();
    let (mut kept, mut settled) = (Kept::default(), BTreeSet::new());
    for (_, idx) in order {
        let task = graph.task(idx);
        if again.contains(&idx) || !task.needs.iter().all(|need| settled.contains(need)) {
            continue;
        }
        match ends.get(&idx) {
            Some(TaskState::Succeeded { .. }) => {
                kept.tasks.insert(idx);
                settled.insert(idx);
            }
            Some(TaskState::Skipped { .. }) => drop(settled.insert(idx)),
            _ if task.for_each.is_some() => drop(kept.maps.insert(idx)),
            _ => {}
        }
    }
    kept
}
