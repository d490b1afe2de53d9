//! A flow: what surrounds its tasks. Params, schedules, what makes runs and what is told of them.

use std::collections::BTreeMap;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Graph, Notify};
use crate::id::{FlowName, ScheduleName};

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
    /// The messages of another program that make runs of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
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

/// A way in for other programs: a signed message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Webhook {
    /// Name of the secret that it is signed with.
    pub secret: String,
    /// Whose signature it carries.
    pub sender: Sender,
    /// An expression over `body`: a message for which it is false makes no run.
    pub when: Option<String>,
    /// Params of the runs it makes; texts may name `body`.
    pub params: BTreeMap<String, Value>,
}

/// Whose way of signing a webhook follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Sender {
    /// That of our own webhooks.
    #[default]
    Tidegate,
    /// MLflow's.
    Mlflow,
    /// GitHub's.
    Github,
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
