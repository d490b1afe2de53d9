//! What a run and a task run can be, and how they get from one to the other. The only place where an edge is legal.

pub mod run;
pub mod task_run;

use serde::{Deserialize, Serialize};

/// A transition that no rule allows: the caller's view is stale, or there is a bug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot take `{event}` in state `{state}`")]
pub struct IllegalTransition {
    /// `run` or `task run`.
    pub what: &'static str,
    /// Where it was.
    pub state: &'static str,
    /// What came.
    pub event: &'static str,
}

/// Why a state was entered, in one stable word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Waits for people.
    Approval,
    /// Waits for an instant.
    Timer,
    /// Waits for something that is looked at again and again.
    Poll,
    /// Waits for a run that it made; ended as that run did.
    SubRun,
    /// Waits for the items that it runs for.
    Items,
    /// An item failed.
    ItemsFailed,
    /// An item was rejected, and none failed.
    ItemsRejected,
    /// The attempt or the run took longer than its `timeout`.
    Timeout,
    /// Its worker died more often than the budget allows.
    WorkerLost,
    /// The plugin said so, or ran out of attempts.
    Error,
    /// A need did not succeed.
    NeedsFailed,
    /// A need was skipped, and nothing had failed.
    NeedsSkipped,
    /// What it was to run for did not come about: its `when` is false, or its needs ended otherwise than `run_if` asks.
    ConditionFalse,
    /// A rule of its gate failed.
    RuleFailed,
    /// People said no.
    Declined,
    /// Nobody decided in time.
    Expired,
    /// A newer run of the flow reached the same gate.
    Superseded,
    /// A need was rejected.
    UpstreamRejected,
    /// Succeeded in the run that this one retries.
    Carried,
    /// Took what an earlier attempt had made of the same inputs.
    Cached,
    /// Somebody asked for it.
    Requested,
    /// A newer tick took its place.
    Overlap,
    /// The task run that made it is over, or is being stopped.
    ParentEnded,
}

impl Reason {
    /// The word, as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Timer => "timer",
            Self::Poll => "poll",
            Self::SubRun => "sub_run",
            Self::Items => "items",
            Self::ItemsFailed => "items_failed",
            Self::ItemsRejected => "items_rejected",
            Self::Timeout => "timeout",
            Self::WorkerLost => "worker_lost",
            Self::Error => "error",
            Self::NeedsFailed => "needs_failed",
            Self::NeedsSkipped => "needs_skipped",
            Self::ConditionFalse => "condition_false",
            Self::RuleFailed => "rule_failed",
            Self::Declined => "declined",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::UpstreamRejected => "upstream_rejected",
            Self::Carried => "carried",
            Self::Cached => "cached",
            Self::Requested => "requested",
            Self::Overlap => "overlap",
            Self::ParentEnded => "parent_ended",
        }
    }

    /// The reason a stored word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
    }
}
