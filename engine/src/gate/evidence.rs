//! The frozen facts an approval is given on, and their digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Rule;
use super::judge::Judgement;
use crate::canonical;
use crate::id::{FlowName, RunId, TaskName, VersionHash};

/// What was known when the gate was reached. A decision names its [`Evidence::digest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The flow.
    pub flow: FlowName,
    /// The version the run is pinned to.
    pub version: VersionHash,
    /// The run.
    pub run: RunId,
    /// The task behind the gate.
    pub task: TaskName,
    /// The rules, each with what it came to.
    pub rules: Vec<JudgedRule>,
    /// Outputs of the tasks that are shown.
    pub outputs: BTreeMap<TaskName, Value>,
    /// What the task will do: `moves ranking_model@production from v6 to v7`.
    pub action: Option<String>,
    /// Facts of the world that the decision rests on.
    pub world: Value,
}

/// A rule and what it came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgedRule {
    /// As in the flow version.
    pub rule: Rule,
    /// What it came to.
    pub judgement: Judgement,
}

impl Evidence {
    /// One text for the same facts, as of [`canonical::text`]: it is the same after a way through PostgreSQL's `jsonb`.
    pub fn canonical(&self) -> String {
        let value = match serde_json::to_value(self) {
            Ok(value) => value,
            #[expect(clippy::panic, reason = "names and values always have a JSON form")]
            Err(error) => panic!("BUG: evidence without a JSON form: {error}"),
        };
        canonical::text(&value)
    }

    /// SHA-256 of the canonical text, 64 hex digits.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.canonical()))
    }
}
