//! The life of a run.
//!
//! ```text
//! queued ─► running ⇄ waiting ─► succeeded | failed | rejected
//!    │         └────┬────┘
//!    │         cancelling ─► cancelled | failed | rejected | succeeded
//!    └────────► cancelled
//! ```

use serde::{Deserialize, Serialize};

use super::task_run::TaskState;
use super::{IllegalTransition, Reason};
use crate::graph::RunIf;

/// State of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Behind `max_active`.
    Queued,
    /// Something moves.
    Running,
    /// Everything left waits for an approval or is blocked behind one.
    Waiting,
    /// Told to stop; something still runs.
    Cancelling,
    /// All went well.
    Succeeded,
    /// A task failed, or the run took too long.
    Failed,
    /// A gate said no.
    Rejected,
    /// Stopped on request.
    Cancelled,
}

/// What can happen to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEvent {
    /// Admitted.
    Started,
    /// Nothing moves by itself any more.
    Paused,
    /// Something moves again.
    Resumed,
    /// Told to stop.
    CancelRequested,
    /// The last task run ended.
    Finished(End),
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All went well.
    Succeeded,
    /// A task failed.
    Failed,
    /// A gate said no.
    Rejected,
    /// Stopped on request.
    Cancelled,
}

impl RunState {
    /// The state's word, as in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state a stored word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
    }

    /// Nothing can happen to it any more.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Rejected | Self::Cancelled
        )
    }

    /// The next state.
    pub fn apply(self, event: RunEvent) -> Result<Self, IllegalTransition> {
        Ok(match (self, event) {
            (Self::Queued, RunEvent::Started) | (Self::Waiting, RunEvent::Resumed) => Self::Running,
            (Self::Running, RunEvent::Paused) => Self::Waiting,
            (Self::Queued | Self::Running | Self::Waiting, RunEvent::CancelRequested) => Self::Cancelling,
            (Self::Running | Self::Waiting | Self::Cancelling, RunEvent::Finished(end)) => match end {
                End::Succeeded => Self::Succeeded,
                End::Failed => Self::Failed,
                End::Rejected => Self::Rejected,
                End::Cancelled => Self::Cancelled,
            },
            _ => {
                return Err(IllegalTransition {
                    what: "run",
                    state: self.as_str(),
                    event: event.as_str(),
                });
            }
        })
    }
}

impl RunEvent {
    /// The event's word, as stored: `run_…`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "run_started",
            Self::Paused => "run_waiting",
            Self::Resumed => "run_resumed",
            Self::CancelRequested => "run_cancelling",
            Self::Finished(End::Succeeded) => "run_succeeded",
            Self::Finished(End::Failed) => "run_failed",
            Self::Finished(End::Rejected) => "run_rejected",
            Self::Finished(End::Cancelled) => "run_cancelled",
        }
    }

    /// The event a stored word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "run_started" => Self::Started,
            "run_waiting" => Self::Paused,
            "run_resumed" => Self::Resumed,
            "run_cancelling" => Self::CancelRequested,
            "run_succeeded" => Self::Finished(End::Succeeded),
            "run_failed" => Self::Finished(End::Failed),
            "run_rejected" => Self::Finished(End::Rejected),
            "run_cancelled" => Self::Finished(End::Cancelled),
            _ => return None,
        })
    }
}

/// The ways in which task runs ended, as a set of bits: enough to decide what follows, however many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ends(pub i16);

impl Ends {
    const FAILED: i16 = 1;
    const SKIPPED: i16 = 2;
    const REJECTED: i16 = 4;
    const SUCCEEDED: i16 = 8;
    const CANCELLED: i16 = 16;
    const UPSTREAM_REJECTED: i16 = 32;
    const UPSTREAM_FAILED: i16 = 64;

    /// Adds how a task run ended; what is not terminal adds nothing, and neither does a failure that is `tolerated`.
    #[must_use]
    pub fn with(self, state: TaskState, tolerated: bool) -> Self {
        let bit = match state {
            TaskState::Failed { .. } if tolerated => 0,
            TaskState::Failed { .. }
            | TaskState::Cancelled {
                reason: Reason::Timeout,
            } => Self::FAILED,
            TaskState::Skipped {
                reason: Reason::UpstreamRejected,
            } => Self::SKIPPED | Self::UPSTREAM_REJECTED,
            TaskState::Skipped {
                reason: Reason::NeedsFailed,
            } => Self::SKIPPED | Self::UPSTREAM_FAILED,
            TaskState::Skipped { .. } => Self::SKIPPED,
            TaskState::Rejected { .. } => Self::REJECTED,
            TaskState::Succeeded { .. } => Self::SUCCEEDED,
            TaskState::Cancelled { .. } => Self::CANCELLED,
            _ => 0,
        };
        Self(self.0 | bit)
    }

    fn has(self, bits: i16) -> bool {
        self.0 & bits != 0
    }

    /// Why a task whose needs ended so is skipped; `None`: it may run. What was rejected, and what was skipped for that, is no
    /// failure; what was skipped because of a failure is one.
    pub fn obstacle(self, run_if: RunIf) -> Option<Reason> {
        let failed = self.has(Self::FAILED | Self::UPSTREAM_FAILED);
        let holds = match run_if {
            RunIf::AllSucceeded => !self.has(!Self::SUCCEEDED),
            RunIf::AllDone => true,
            RunIf::AnyFailed => failed,
            RunIf::AnySucceeded => self.has(Self::SUCCEEDED),
        };
        match run_if {
            _ if holds => None,
            RunIf::AnyFailed => Some(Reason::ConditionFalse),
            _ if self.has(Self::REJECTED | Self::UPSTREAM_REJECTED) => Some(Reason::UpstreamRejected),
            _ if failed || self.has(Self::CANCELLED) => Some(Reason::NeedsFailed),
            _ if self.has(Self::SKIPPED) => Some(Reason::NeedsSkipped),
            // A failure that is tolerated is no success either.
            _ => Some(Reason::ConditionFalse),
        }
    }

    /// How a run ends whose task runs ended so: cancelled > failed > rejected > succeeded.
    pub fn end(self) -> End {
        if self.has(Self::CANCELLED) {
            End::Cancelled
        } else if self.has(Self::FAILED) {
            End::Failed
        } else if self.has(Self::REJECTED) {
            End::Rejected
        } else {
            End::Succeeded
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_and_event_has_its_cell() {
        let states = [
            "queued",
            "running",
            "waiting",
            "cancelling",
            "succeeded",
            "failed",
            "rejected",
            "cancelled",
        ];
        let events = [
            RunEvent::Started,
            RunEvent::Paused,
            RunEvent::Resumed,
            RunEvent::CancelRequested,
            RunEvent::Finished(End::Succeeded),
            RunEvent::Finished(End::Cancelled),
        ];
        let mut table = String::new();
        for state in states.iter().filter_map(|w| RunState::parse(w)) {
            for event in events {
                let next = state.apply(event).map_or("-", RunState::as_str);
                table.push_str(&format!("{:<10} {:<15} {next}\n", state.as_str(), event.as_str()));
                assert!(
                    !state.is_terminal() || next == "-",
                    "a terminal state is for ever"
                );
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn the_worst_end_wins() {
        let failed = TaskState::Failed {
            reason: Reason::Error,
        };
        let rejected = TaskState::Rejected {
            reason: Reason::Declined,
        };
        let done = TaskState::Succeeded { reason: None };
        let ends = |states: &[TaskState]| {
            states
                .iter()
                .fold(Ends::default(), |ends, state| ends.with(*state, false))
        };
        assert_eq!(ends(&[done]).end(), End::Succeeded);
        assert_eq!(ends(&[done, rejected]).end(), End::Rejected);
        assert_eq!(ends(&[rejected, failed]).end(), End::Failed);
        assert_eq!(Ends::default().with(failed, true).end(), End::Succeeded);
    }

    #[test]
    fn every_way_needs_end_and_every_condition_has_its_cell() {
        let skipped = |reason| TaskState::Skipped { reason };
        let rejected = TaskState::Rejected {
            reason: Reason::Declined,
        };
        let failed = TaskState::Failed {
            reason: Reason::Error,
        };
        let done = TaskState::Succeeded { reason: None };
        let needs: [(&str, Vec<TaskState>, bool); 9] = [
            ("succeeded", vec![done], false),
            ("failed", vec![failed], false),
            ("failed, tolerated", vec![failed], true),
            ("rejected", vec![rejected], false),
            ("succeeded and failed", vec![done, failed], false),
            ("succeeded and rejected", vec![done, rejected], false),
            ("skipped: false", vec![skipped(Reason::ConditionFalse)], false),
            ("skipped: failure", vec![skipped(Reason::NeedsFailed)], false),
            (
                "skipped: rejection",
                vec![skipped(Reason::UpstreamRejected)],
                false,
            ),
        ];
        let conditions = [
            RunIf::AllSucceeded,
            RunIf::AllDone,
            RunIf::AnyFailed,
            RunIf::AnySucceeded,
        ];
        let mut table = String::new();
        for (name, states, tolerated) in needs {
            let ends = states
                .iter()
                .fold(Ends::default(), |ends, state| ends.with(*state, tolerated));
            for run_if in conditions {
                let word = format!("{run_if:?}");
                let cell = ends.obstacle(run_if).map_or("runs", Reason::as_str);
                table.push_str(&format!("{name:<24} {word:<13} {cell}\n"));
            }
        }
        insta::assert_snapshot!(table);
    }
}
