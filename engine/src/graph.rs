//! The sealed flow: what a checked flow file becomes, what a run is pinned to, what the planner walks.
//!
//! A [`Graph`] is acyclic by construction: the only ways to get one are [`Graph::new`] and deserialising, which goes
//! through it.

mod cycle;
mod flow;
mod items;
mod notify;
mod placement;
mod sub_flow;
mod task;

use serde::{Deserialize, Serialize};

use crate::id::{TaskIdx, TaskName};

pub use cycle::{find_cycle, find_cycles};
pub use flow::{
    DomDow, EndState, Flow, FlowTrigger, Missed, Overlap, ParamKind, ParamSpec, ScheduleSpec, Sender, Webhook,
};
pub use items::MAX_ITEMS;
pub use notify::{Moment, Notify};
pub use placement::{DEFAULT_QUEUE, EVERY_QUEUE, MOST_URGENT, Placement};
pub use sub_flow::{MOST_NESTED, SUB_FLOW, sub_flow};
pub use task::{CachePolicy, OnWorkerLost, RunIf, Task};

/// The tasks of a flow and who needs whom. Acyclic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Task>", into = "Vec<Task>")]
pub struct Graph {
    tasks: Vec<Task>,
    dependents: Vec<Vec<TaskIdx>>,
}

/// Why tasks form no graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// The tasks of a cycle, each needing the next, the first repeated at the end.
    #[error("cycle: {}", .0.iter().map(TaskName::as_str).collect::<Vec<_>>().join(" → "))]
    Cycle(Vec<TaskName>),
    /// A need points past the last task.
    #[error("task {0} needs a task that does not exist")]
    Dangling(TaskName),
}

impl Graph {
    /// Seals the tasks. Linear in tasks and edges.
    pub fn new(tasks: Vec<Task>) -> Result<Self, GraphError> {
        let count = tasks.len();
        let mut dependents = vec![Vec::new(); count];
        for (idx, task) in tasks.iter().enumerate() {
            for &need in &task.needs {
                let slot = dependents
                    .get_mut(need as usize)
                    .ok_or_else(|| GraphError::Dangling(task.name.clone()))?;
                slot.push(idx as TaskIdx);
            }
        }
        let needs: Vec<&[TaskIdx]> = tasks.iter().map(|t| t.needs.as_slice()).collect();
        if let Some(path) = find_cycle(&needs) {
            let names = path.iter().map(|&i| tasks[i as usize].name.clone()).collect();
            return Err(GraphError::Cycle(names));
        }
        Ok(Self { tasks, dependents })
    }

    /// All tasks, in file order; a task's position is its [`TaskIdx`].
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// The task of a position, or of an item's. Panics when there are no tasks.
    pub fn task(&self, idx: TaskIdx) -> &Task {
        &self.tasks[self.head(idx) as usize]
    }

    /// The tasks that need `idx`. Nothing needs an item: its head stands for all of them.
    pub fn dependents(&self, idx: TaskIdx) -> &[TaskIdx] {
        self.dependents.get(idx as usize).map_or(&[], Vec::as_slice)
    }

    /// Position of a task by name.
    pub fn find(&self, name: &str) -> Option<TaskIdx> {
        self.tasks
            .iter()
            .position(|t| t.name.as_str() == name)
            .map(|i| i as TaskIdx)
    }

    /// Depth of each task: 0 for roots, else one more than the deepest need. For drawing.
    pub fn layers(&self) -> Vec<usize> {
        let mut unmet: Vec<usize> = self.tasks.iter().map(|t| t.needs.len()).collect();
        let mut depth = vec![0; self.tasks.len()];
        let mut open: Vec<TaskIdx> = (0..self.tasks.len() as TaskIdx)
            .filter(|&i| unmet[i as usize] == 0)
            .collect();
        while let Some(idx) = open.pop() {
            for &next in self.dependents(idx) {
                let next_depth = depth[idx as usize] + 1;
                depth[next as usize] = depth[next as usize].max(next_depth);
                unmet[next as usize] -= 1;
                if unmet[next as usize] == 0 {
                    open.push(next);
                }
            }
        }
        depth
    }
}

impl TryFrom<Vec<Task>> for Graph {
    type Error = GraphError;
    fn try_from(tasks: Vec<Task>) -> Result<Self, GraphError> {
        Self::new(tasks)
    }
}

impl From<Graph> for Vec<Task> {
    fn from(graph: Graph) -> Self {
        graph.tasks
    }
}
