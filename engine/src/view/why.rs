//! What a run that is not over waits for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Emergency;

/// Why a run, and each of its unfinished task runs, is where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Why {
    /// The run.
    pub run: Uuid,
    /// Its flow.
    pub flow: String,
    /// Its state.
    pub state: String,
    /// What the run itself waits for; `null` when its task runs tell.
    pub sentence: Option<String>,
    /// What makes the run an emergency, while it waits for its start.
    #[serde(default)]
    pub emergency: Option<Emergency>,
    /// Its task runs that are not over, in the order of the flow file.
    pub tasks: Vec<Obstacle>,
}

/// What a task run waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Obstacle {
    /// Task.
    pub task: String,
    /// `blocked`, `ready`, …
    pub state: String,
    /// In one word: `start` (of its run), `needs`, `worker`, `queue` (that no worker serves), `pool`, `retry`, `approval`, another reason
    /// of `waiting`, `attempt` (it runs), `lease` (its worker fell silent), `stop`.
    pub waits_for: String,
    /// For people.
    pub sentence: String,
    /// When that ends at the latest, or by itself; where it can be known.
    pub until: Option<Timestamp>,
}
