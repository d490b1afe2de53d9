//! A task of a flow: what it runs, when, and what becomes of its failures.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Placement;
use crate::gate::Gate;
use crate::id::{TaskIdx, TaskName};
use crate::plugin::Isolation;
use crate::retry::RetryPolicy;
use crate::template::{self, Reference};

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
