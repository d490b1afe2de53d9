//! Registered models.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// A registered model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Name.
    pub name: String,
    /// Where its aliases point, by alias.
    pub aliases: Vec<Alias>,
    /// Its newest version.
    pub newest: Option<i64>,
    /// How many versions there are.
    pub versions: i64,
}

/// Where an alias points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    /// `staging`, `production`, …
    pub alias: String,
    /// Version.
    pub version: i64,
    /// Since when.
    pub moved_at: Option<Timestamp>,
}

/// A version of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Number, from 1.
    pub version: i64,
    /// Where its files are.
    pub source: String,
    /// SHA-256 of its weights.
    pub sha256: Option<String>,
    /// MLflow's run id.
    pub external_run: Option<String>,
    /// Metrics and tags it was registered with.
    pub facts: Value,
    /// The run that made it.
    pub run: Option<Uuid>,
    /// When.
    pub created_at: Timestamp,
    /// Aliases that point to it now.
    pub aliases: Vec<String>,
}

/// A move of an alias: what was in production when, by whom, on what evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AliasMove {
    /// Alias.
    pub alias: String,
    /// Number of the move of this alias, from 1.
    pub number: i64,
    /// Version it pointed to before.
    pub before: Option<i64>,
    /// Version it points to since.
    pub version: i64,
    /// When.
    pub at: Timestamp,
    /// Who: the deciders, or the task run's requester where nobody was asked.
    pub actor: String,
    /// The run.
    pub run: Option<Uuid>,
    /// The approval it rests on.
    pub approval: Option<Uuid>,
    /// SHA-256 of that approval's evidence.
    pub evidence: Option<String>,
    /// Why somebody rolled it back; `None`: it was no rollback.
    #[serde(default)]
    pub rollback: Option<String>,
}
