//! The life of a task run.
//!
//! ```text
//! blocked ─► ready ─► running ─► succeeded
//!    │         ▲  ▲      ├─────► failed
//!    │         │  │      ├─────► rejected          (its gate closed)
//!    │         │  └──────┤       cancelled
//!    │         │ decided ├─► waiting ─► rejected | failed | cancelled
//!    │         │ or woken│    │ └─► running       (parked, and due); ─► succeeded (a map whose items are over)
//!    │         └─────────┼────┘
//!    ▼                   └─► backoff ─► running
//! skipped             (by its needs; by its `when` it comes from running, which is where that is evaluated)
//! ```

use serde::{Deserialize, Serialize};

use super::{IllegalTransition, Reason};

/// State of a task run; each variant carries what is true in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TaskState {
    /// Needs are unfinished.
    Blocked,
    /// A worker may claim it.
    Ready,
    /// Holds no slot and no lease.
    Waiting { reason: Reason },
    /// A worker holds its lease.
    Running,
    /// A retry is due later.
    Backoff,
    /// Done; its outputs are there.
    Succeeded { reason: Option<Reason> },
    /// Out of attempts, or not worth another.
    Failed { reason: Reason },
    /// Its gate closed.
    Rejected { reason: Reason },
    /// A need did not succeed.
    Skipped { reason: Reason },
    /// Stopped on request.
    Cancelled { reason: Reason },
}

/// What can happen to a task run. The instant rides in the event record that stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TaskEvent {
    /// All needs succeeded.
    Unblocked,
    /// A need did not succeed.
    Skipped { reason: Reason },
    /// Succeeded in the run this one retries.
    Carried,
    /// A worker took it.
    Claimed,
    /// Its gate asks people.
    Asked,
    /// The items that it runs for are known: they are task runs of their own.
    Expanded,
    /// People said yes.
    Approved,
    /// The plugin has nothing to do until later, or until it is woken.
    Parked { reason: Reason },
    /// What it was parked for has come.
    Woken,
    /// Its gate closed.
    Rejected { reason: Reason },
    /// The attempt succeeded.
    Succeeded,
    /// The attempt took what an earlier one had made of the same inputs.
    Cached,
    /// The attempt failed for good.
    Failed { reason: Reason },
    /// The attempt failed and will be repeated.
    RetryPlanned,
    /// Its worker is gone or gave it back: ready again.
    Released,
    /// Stopped on request.
    Cancelled { reason: Reason },
}

impl TaskState {
    /// The state's word, as in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Ready => "ready",
            Self::Waiting { .. } => "waiting",
            Self::Running => "running",
            Self::Backoff => "backoff",
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Rejected { .. } => "rejected",
            Self::Skipped { .. } => "skipped",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// The state that a stored word and reason stand for.
    pub fn parse(word: &str, reason: Option<&str>) -> Option<Self> {
        let reason = reason.and_then(Reason::parse);
        Some(match word {
            "blocked" => Self::Blocked,
            "ready" => Self::Ready,
            "waiting" => Self::Waiting { reason: reason? },
            "running" => Self::Running,
            "backoff" => Self::Backoff,
            "succeeded" => Self::Succeeded { reason },
            "failed" => Self::Failed { reason: reason? },
            "rejected" => Self::Rejected { reason: reason? },
            "skipped" => Self::Skipped { reason: reason? },
            "cancelled" => Self::Cancelled { reason: reason? },
            _ => return None,
        })
    }

    /// Why, where the state has a reason.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Waiting { reason }
            | Self::Failed { reason }
            | Self::Rejected { reason }
            | Self::Skipped { reason }
            | Self::Cancelled { reason } => Some(reason),
            Self::Succeeded { reason } => reason,
            Self::Blocked | Self::Ready | Self::Running | Self::Backoff => None,
        }
    }

    /// Nothing can happen to it any more.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Succeeded { .. }
                | Self::Failed { .. }
                | Self::Rejected { .. }
                | Self::Skipped { .. }
                | Self::Cancelled { .. }
        )
    }

    /// It moves by itself: it runs, or a worker, a clock or a run of its own will bring it back. What is blocked or waits for
    /// people does not.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Ready | Self::Running | Self::Backoff) || self.is_parked()
    }

    /// It waits, but neither for people nor for items, which move by themselves.
    pub fn is_parked(self) -> bool {
        matches!(self, Self::Waiting { reason } if !matches!(reason, Reason::Approval | Reason::Items))
    }

    /// A worker takes it when its time has come.
    pub fn comes_due(self) -> bool {
        let woken = Self::Waiting {
            reason: Reason::SubRun,
        };
        matches!(self, Self::Ready | Self::Backoff) || self.is_parked() && self != woken
    }

    /// The next state.
    pub fn apply(self, event: TaskEvent) -> Result<Self, IllegalTransition> {
        use TaskEvent as E;
        Ok(match (self, event) {
            (Self::Blocked, E::Unblocked) => Self::Ready,
            (Self::Blocked | Self::Running, E::Skipped { reason }) => Self::Skipped { reason },
            (Self::Blocked, E::Carried) => Self::Succeeded {
                reason: Some(Reason::Carried),
            },
            (state, E::Claimed) if state.comes_due() => Self::Running,
            (Self::Running, E::Parked { reason }) => Self::Waiting { reason },
            (
                Self::Waiting {
                    reason: Reason::SubRun,
                },
                E::Woken,
            ) => Self::Ready,
            (Self::Running, E::Asked) => Self::Waiting {
                reason: Reason::Approval,
            },
            (Self::Running | Self::Waiting { .. }, E::Rejected { reason }) => Self::Rejected { reason },
            (Self::Running, E::Expanded) => Self::Waiting {
                reason: Reason::Items,
            },
            (
                Self::Waiting {
                    reason: Reason::Approval,
                },
                E::Approved,
            ) => Self::Ready,
            (
                Self::Running
                | Self::Waiting {
                    reason: Reason::Items,
                },
                E::Succeeded,
            ) => Self::Succeeded { reason: None },
            (Self::Running, E::Cached) => Self::Succeeded {
                reason: Some(Reason::Cached),
            },
            (Self::Running | Self::Waiting { .. }, E::Failed { reason }) => Self::Failed { reason },
            (Self::Running, E::RetryPlanned) => Self::Backoff,
            (Self::Running, E::Released) => Self::Ready,
            (
                Self::Blocked | Self::Ready | Self::Waiting { .. } | Self::Running | Self::Backoff,
                E::Cancelled { reason },
            ) => Self::Cancelled { reason },
            _ => {
                return Err(IllegalTransition {
                    what: "task run",
                    state: self.as_str(),
                    event: event.as_str(),
                });
            }
        })
    }
}

impl TaskEvent {
    /// The event's word, as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unblocked => "unblocked",
            Self::Skipped { .. } => "skipped",
            Self::Carried => "carried",
            Self::Claimed => "claimed",
            Self::Asked => "asked",
            Self::Expanded => "expanded",
            Self::Approved => "approved",
            Self::Parked { .. } => "parked",
            Self::Woken => "woken",
            Self::Rejected { .. } => "rejected",
            Self::Succeeded => "succeeded",
            Self::Cached => "cached",
            Self::Failed { .. } => "failed",
            Self::RetryPlanned => "retry_planned",
            Self::Released => "released",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// The reason it carries.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Skipped { reason }
            | Self::Parked { reason }
            | Self::Rejected { reason }
            | Self::Failed { reason }
            | Self::Cancelled { reason } => Some(reason),
            _ => None,
        }
    }

    /// The event that a stored word and reason stand for.
    pub fn parse(word: &str, reason: Option<&str>) -> Option<Self> {
        let reason = reason.and_then(Reason::parse);
        Some(match word {
            "unblocked" => Self::Unblocked,
            "skipped" => Self::Skipped { reason: reason? },
            "carried" => Self::Carried,
            "claimed" => Self::Claimed,
            "asked" => Self::Asked,
            "expanded" => Self::Expanded,
            "approved" => Self::Approved,
            "parked" => Self::Parked { reason: reason? },
            "woken" => Self::Woken,
            "rejected" => Self::Rejected { reason: reason? },
            "succeeded" => Self::Succeeded,
            "cached" => Self::Cached,
            "failed" => Self::Failed { reason: reason? },
            "retry_planned" => Self::RetryPlanned,
            "released" => Self::Released,
            "cancelled" => Self::Cancelled { reason: reason? },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_and_event_has_its_cell() {
        let reason = Reason::Requested;
        let states = [
            TaskState::Blocked,
            TaskState::Ready,
            TaskState::Waiting {
                reason: Reason::Approval,
            },
            TaskState::Waiting { reason: Reason::Poll },
            TaskState::Waiting {
                reason: Reason::SubRun,
            },
            TaskState::Waiting {
                reason: Reason::Items,
            },
            TaskState::Running,
            TaskState::Backoff,
            TaskState::Succeeded { reason: None },
            TaskState::Failed { reason },
            TaskState::Rejected { reason },
            TaskState::Skipped { reason },
            TaskState::Cancelled { reason },
        ];
        let events = [
            TaskEvent::Unblocked,
            TaskEvent::Skipped { reason },
            TaskEvent::Carried,
            TaskEvent::Claimed,
            TaskEvent::Asked,
            TaskEvent::Expanded,
            TaskEvent::Approved,
            TaskEvent::Parked {
                reason: Reason::Timer,
            },
            TaskEvent::Woken,
            TaskEvent::Rejected { reason },
            TaskEvent::Succeeded,
            TaskEvent::Cached,
            TaskEvent::Failed { reason },
            TaskEvent::RetryPlanned,
            TaskEvent::Released,
            TaskEvent::Cancelled { reason },
        ];
        let mut table = String::new();
        for state in states {
            for event in events {
                let next = state.apply(event).map_or("-", TaskState::as_str);
                let why = state.reason().map_or("", Reason::as_str);
                let state_and_why = format!("{} {why}", state.as_str());
                table.push_str(&format!("{state_and_why:<20} {:<13} {next}\n", event.as_str()));
                assert!(
                    !state.is_terminal() || next == "-",
                    "a terminal state is for ever"
                );
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn words_round_trip() {
        for word in ["blocked", "ready", "running", "backoff", "succeeded"] {
            assert_eq!(TaskState::parse(word, None).map(TaskState::as_str), Some(word));
        }
        assert_eq!(
            TaskState::parse("failed", Some("timeout")),
            Some(TaskState::Failed {
                reason: Reason::Timeout
            })
        );
        assert_eq!(TaskState::parse("failed", None), None);
    }
}
