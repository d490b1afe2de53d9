//! The sealed flow: what a checked flow file becomes, what a run is pinned to, what the planner walks.
//!
//! A [`Graph`] is acyclic by construction: the only ways to get one are [`Graph::new`] and deserialising, which goes
//! through it.

mod items;
mod placement;

use std::collections::BTreeMap;
use std::time::Duration;

use indexmap::IndexMap;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::gate::Gate;
use crate::id::{FlowName, ScheduleName, TaskIdx, TaskName};
use crate::plugin::Isolation;
use crate::retry::RetryPolicy;
use crate::template::{self, Reference};

pub use items::MAX_ITEMS;
pub use placement::{DEFAULT_QUEUE, EVERY_QUEUE, MOST_URGENT, Placement};

/// A flow after all checks: immutable, stored as JSON with its version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Name; equals the file's stem.
    pub name: FlowName,
    /// One line for people.
    pub description: Option<String>,
    /// Team or person answerable for it.
    pub owner: Option<String>,
    /// Free labels for filtering.
    pub tags: Vec<String>,
    /// Bound on the whole run, time in `waiting` apart.
    #[serde(with = "crate::duration::text_option")]
    pub timeout: Option<Duration>,
    /// A run that takes longer is `overdue`; nothing is stopped.
    #[serde(with = "crate::duration::text_option")]
    pub expected: Option<Duration>,
    /// What a tick does when `max_active` runs are already active.
    pub overlap: Overlap,
    /// How many runs may be active at once (queued and waiting ones do not count).
    pub max_active: u32,
    /// Cron schedules.
    pub schedules: Vec<ScheduleSpec>,
    /// Who is told what of its runs.
    #[serde(default)]
    pub notify: Vec<Notify>,
    /// Flows whose ended runs make runs of this one.
    #[serde(default)]
    pub triggers: Vec<FlowTrigger>,
    /// Declared params, in file order.
    pub params: IndexMap<String, ParamSpec>,
    /// Constants, `${TIDEGATE_VAR_X}` already replaced.
    pub vars: BTreeMap<String, Value>,
    /// Files that belong to the version: path relative to the flow file → text.
    pub files: BTreeMap<String, String>,
    /// The tasks and their edges.
    pub graph: Graph,
}

/// What a tick does at `max_active`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Record a skip.
    #[default]
    Skip,
    /// Queue behind the active run, one at most.
    Queue,
    /// Cancel the active runs and start.
    CancelPrevious,
    /// Start beside them.
    Allow,
}

/// What of a run a channel is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// When.
    pub on: Vec<Moment>,
    /// Name of a channel of the deployment.
    pub to: String,
}

/// A moment of a run that may be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// It ended `failed`.
    Failed,
    /// It ended `rejected`.
    Rejected,
    /// It ended `succeeded`.
    Succeeded,
    /// It ended `cancelled`.
    Cancelled,
    /// A gate asks people; told again at each `remind`.
    Waiting,
    /// It has taken longer than `expected`.
    Overdue,
}

impl Moment {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Failed,
        Self::Rejected,
        Self::Succeeded,
        Self::Cancelled,
        Self::Waiting,
        Self::Overdue,
    ];

    /// The moment's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Succeeded => "succeeded",
            Self::Cancelled => "cancelled",
            Self::Waiting => "waiting",
            Self::Overdue => "overdue",
        }
    }
}

impl Flow {
    /// The channels that are told of a moment, each once.
    pub fn told(&self, moment: Moment) -> Vec<&str> {
        let mut channels: Vec<&str> = self
            .notify
            .iter()
            .filter(|notify| notify.on.contains(&moment))
            .map(|notify| notify.to.as_str())
            .collect();
        channels.sort_unstable();
        channels.dedup();
        channels
    }
}

/// A cron rule of a flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduleSpec {
    /// Stable identity; `default` when the file names none.
    pub name: ScheduleName,
    /// The expression as written.
    pub cron: String,
    /// IANA zone.
    pub timezone: String,
    /// How day of month and day of week combine when both are given.
    pub dom_dow: Option<DomDow>,
    /// What becomes of ticks missed while nothing ran.
    pub missed: Missed,
    /// Ticks older than this are never made up for.
    #[serde(with = "crate::duration::text")]
    pub missed_window: Duration,
    /// Params of the runs it makes.
    pub params: BTreeMap<String, Value>,
}

/// A way in beside schedules: a run of another flow ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowTrigger {
    /// The other flow.
    pub flow: FlowName,
    /// How its run must have ended.
    pub states: Vec<EndState>,
}

/// How a run can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndState {
    /// All went well.
    Succeeded,
    /// A task failed.
    Failed,
    /// A gate said no.
    Rejected,
    /// It was stopped.
    Cancelled,
}

impl EndState {
    /// The state's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How day of month and day of week combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DomDow {
    /// Either fits (classic Unix).
    Or,
    /// Both fit.
    And,
}

/// Policy for ticks missed while no scheduler ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// None is made up for.
    Skip,
    /// The newest one.
    #[default]
    Latest,
    /// All, at most 100.
    All,
}

/// A declared param.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParamSpec {
    /// Type and its bounds.
    #[serde(flatten)]
    pub kind: ParamKind,
    /// Value when a run gives none; without one the param is required.
    pub default: Option<Value>,
    /// One line for people.
    pub description: Option<String>,
}

/// Type of a param, with the bounds that fit the type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ParamKind {
    /// Text.
    String,
    /// Whole number, bounds inclusive.
    Integer { min: Option<i64>, max: Option<i64> },
    /// Finite number, bounds inclusive.
    Number { min: Option<f64>, max: Option<f64> },
    /// `true` or `false`.
    Boolean,
    /// `"90s"`, `"15m"`, `"3h"`, `"30d"`.
    Duration,
    /// `2026-11-24`.
    Date,
    /// RFC 3339.
    Datetime,
    /// One of a list of texts.
    Enum { values: Vec<String> },
    /// JSON array.
    List,
    /// JSON object.
    Object,
}

/// A task of a flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Name within the flow.
    pub name: TaskName,
    /// Plugin it runs.
    pub uses: String,
    /// One line for people.
    pub description: Option<String>,
    /// Input of the plugin; strings may hold `{{ … }}`.
    pub with: Value,
    /// Tasks that must end before it, in graph order, without repeats; written and implied ones alike.
    pub needs: Vec<TaskIdx>,
    /// An expression, without braces; where it is false, the task is skipped.
    #[serde(default)]
    pub when: Option<String>,
    /// How its needs must have ended for it to run; else it is skipped.
    #[serde(default)]
    pub run_if: RunIf,
    /// Its failure counts neither for what needs it nor for the run's end.
    #[serde(default)]
    pub continue_on_failure: bool,
    /// The list whose items it runs for, one task run each: a literal one, or a text that yields one. See [`crate::plan`].
    #[serde(default)]
    pub for_each: Option<Value>,
    /// Items that may be under way at once.
    #[serde(default)]
    pub max_parallel: Option<u32>,
    /// When a failed attempt is tried again.
    pub retry: RetryPolicy,
    /// Bound on one attempt.
    #[serde(with = "crate::duration::text_option")]
    pub timeout: Option<Duration>,
    /// What must hold before it may run.
    pub gate: Option<Gate>,
    /// Environment of the program it starts; values may hold `{{ … }}`.
    pub env: BTreeMap<String, String>,
    /// What happens when its worker is lost.
    pub on_worker_lost: OnWorkerLost,
    /// Its queue, priority and pool.
    #[serde(default)]
    pub placement: Placement,
    /// Whether what it made of the same inputs before is taken.
    #[serde(default)]
    pub cache: Option<CachePolicy>,
    /// Where the plugin runs.
    pub isolation: Isolation,
    /// Files of the version that lie in the attempt's folder.
    pub files: Vec<String>,
}

impl Task {
    /// It runs inline and takes no slot of a worker.
    pub fn is_light(&self) -> bool {
        self.isolation == Isolation::Inline
    }

    /// What its templates refer to.
    pub fn references(&self) -> Vec<Reference> {
        let when = self
            .when
            .iter()
            .filter_map(|when| template::parse_expression(when).ok());
        let before = when.flat_map(|when| when.references);
        let for_each = self.for_each.iter().flat_map(template::references);
        let mut all = self.item_references();
        all.extend(before.chain(for_each));
        all
    }

    /// The same without what is evaluated before there are items.
    pub fn item_references(&self) -> Vec<Reference> {
        let gate = self.gate.iter().flat_map(Gate::texts);
        let texts = self.env.values().chain(gate);
        let texts = texts.flat_map(|text| template::references(&Value::String(text.clone())));
        template::references(&self.with)
            .into_iter()
            .chain(texts)
            .collect()
    }
}

/// How the needs of a task must have ended for it to run. All of them have ended when this is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum RunIf {
    /// Each succeeded.
    #[default]
    AllSucceeded,
    /// However they ended.
    AllDone,
    /// One failed, or was skipped because of a failure.
    AnyFailed,
    /// One succeeded.
    AnySucceeded,
}

/// How long what a task made stands in for making it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachePolicy {
    /// Since it was made.
    #[serde(with = "crate::duration::text")]
    pub ttl: Duration,
}

/// What happens to a task run whose worker is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum OnWorkerLost {
    /// Try again, from a budget of its own.
    #[default]
    Retry,
    /// Fail it.
    Fail,
}

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

/// One cycle among `needs` (each task's needs by position), first position repeated at the end.
pub fn find_cycle(needs: &[&[TaskIdx]]) -> Option<Vec<TaskIdx>> {
    find_cycles(needs).into_iter().next()
}

/// One cycle of each knot of tasks that need each other; each as in [`find_cycle`].
pub fn find_cycles(needs: &[&[TaskIdx]]) -> Vec<Vec<TaskIdx>> {
    let mut graph: DiGraph<(), (), u32> = DiGraph::with_capacity(needs.len(), needs.len());
    for _ in needs {
        graph.add_node(());
    }
    for (idx, list) in needs.iter().enumerate() {
        for &need in *list {
            graph.add_edge(NodeIndex::new(idx), NodeIndex::new(need as usize), ());
        }
    }
    let loops = |scc: &Vec<NodeIndex<u32>>| scc.len() > 1 || graph.contains_edge(scc[0], scc[0]);
    let knots = tarjan_scc(&graph).into_iter().filter(loops);
    knots
        .map(|knot| walk_cycle(needs, &knot.iter().map(|n| n.index() as TaskIdx).collect()))
        .collect()
}

/// Follows needs inside a strongly connected set until a task comes again.
fn walk_cycle(needs: &[&[TaskIdx]], knot: &std::collections::BTreeSet<TaskIdx>) -> Vec<TaskIdx> {
    let mut path: Vec<TaskIdx> = knot.first().copied().into_iter().collect();
    let mut seen: BTreeMap<TaskIdx, usize> = path.iter().map(|&t| (t, 0)).collect();
    while let Some(&last) = path.last() {
        let Some(&next) = needs[last as usize].iter().find(|n| knot.contains(n)) else {
            break;
        };
        if let Some(&start) = seen.get(&next) {
            let mut cycle = path.split_off(start);
            cycle.push(next);
            return cycle;
        }
        seen.insert(next, path.len());
        path.push(next);
    }
    path
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_cycle_is_named_by_its_path() {
        let needs: Vec<&[TaskIdx]> = vec![&[], &[3, 0], &[1], &[2]];
        let cycle = find_cycle(&needs).unwrap();
        assert_eq!(cycle.len(), 4);
        assert_eq!(cycle.first(), cycle.last());
        assert!(!cycle.contains(&0));
    }

    #[test]
    fn a_task_that_needs_itself_is_a_cycle_of_one() {
        assert_eq!(find_cycle(&[&[0]]), Some(vec![0, 0]));
    }

    #[test]
    fn a_long_chain_is_no_cycle_and_needs_no_stack() {
        let lists: Vec<Vec<TaskIdx>> = (0..10_000)
            .map(|i| if i == 0 { vec![] } else { vec![i - 1] })
            .collect();
        let needs: Vec<&[TaskIdx]> = lists.iter().map(Vec::as_slice).collect();
        assert_eq!(find_cycle(&needs), None);
    }
}
