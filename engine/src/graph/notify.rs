//! Who is told what of a flow's runs.

use serde::{Deserialize, Serialize};

use super::Flow;

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
