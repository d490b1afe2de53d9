//! Hyperparameters as a flow file gives them, and as `learn` takes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_engine::plugin::Objection;
use tidegate_learn::{Holdout, ease, lambdamart, ranker, two_tower};

use super::{Failure, Input};
use crate::model::Kind;

/// Hyperparameters of the two towers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetrievalSettings {
    /// Length of the vectors.
    pub dim: u32,
    /// Passes over the data.
    pub epochs: u32,
    /// Pairs per step.
    pub batch: u32,
    /// Of Adam.
    pub learning_rate: f32,
    /// Divides the cosine.
    pub temperature: f32,
    /// Exponent of the logQ correction while training, 0 to 1.
    pub correction: f32,
    /// Weight of popularity in the served score; null chooses it on the last part of the training rows.
    pub popularity: Option<f32>,
}

impl Default for RetrievalSettings {
    fn default() -> Self {
        let base = two_tower::Params::default();
        Self {
            dim: base.dim as u32,
            epochs: base.epochs,
            batch: base.batch as u32,
            learning_rate: base.learning_rate,
            temperature: base.temperature,
            correction: base.correction,
            popularity: base.popularity,
        }
    }
}

/// Hyperparameters of the trees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RankingSettings {
    /// Number of trees.
    pub trees: u32,
    /// Leaves per tree, at most.
    pub leaves: u32,
    /// Shrinkage of each tree.
    pub learning_rate: f64,
    /// Rows per leaf, at least.
    pub min_rows: u32,
    /// How many candidates of the first stage are re-ranked.
    pub candidates: u32,
}

impl Default for RankingSettings {
    fn default() -> Self {
        let base = ranker::Params::default();
        Self {
            trees: base.forest.trees,
            leaves: base.forest.leaves as u32,
            learning_rate: base.forest.learning_rate,
            min_rows: base.forest.min_rows as u32,
            candidates: base.candidates as u32,
        }
    }
}

/// The linear model: baseline of every run, and first stage of a ranking model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EaseSettings {
    /// Regularisation.
    pub lambda: f64,
    /// No baseline run above this many items: it solves a dense system of that size.
    pub max_items: u32,
}

impl Default for EaseSettings {
    fn default() -> Self {
        Self {
            lambda: 300.0,
            max_items: 12_000,
        }
    }
}

/// The table of hyperparameters that belongs to each kind.
const TABLES: [(Kind, &str); 2] = [(Kind::Ranking, "ranking"), (Kind::Retrieval, "retrieval")];

/// Hyperparameters of another kind than the one that is trained. Of a kind that is known only when it runs, nothing is said.
pub(super) fn strays(with: &Value) -> Vec<Objection> {
    let kind = with.get("kind").and_then(Value::as_str).unwrap_or_default();
    let Some(kind) = [Kind::Ranking, Kind::Retrieval, Kind::Ease]
        .into_iter()
        .find(|known| known.name() == kind)
    else {
        return Vec::new();
    };
    let strays = TABLES
        .into_iter()
        .filter(|(owner, table)| *owner != kind && with.get(table).is_some_and(|given| !given.is_null()));
    let objection = |(owner, table): (Kind, &str)| {
        let message = format!("`{table}` has no effect with kind = \"{}\"", kind.name());
        let help = format!(
            "leave it out, or train the kind it belongs to: kind = \"{}\"",
            owner.name()
        );
        Objection::idle(table, message, help)
    };
    strays.map(objection).collect()
}

impl Input {
    /// Refuses hyperparameters of another kind: nothing is accepted and then ignored.
    pub(super) fn belong_together(&self) -> Result<(), Failure> {
        let given = [
            (Kind::Ranking, self.ranking.is_some()),
            (Kind::Retrieval, self.retrieval.is_some()),
        ];
        let mut strays = TABLES
            .into_iter()
            .zip(given)
            .filter(|((owner, _), (_, given))| *given && *owner != self.kind);
        strays.next().map_or(Ok(()), |((_, stray), _)| {
            Err(Failure::Stray {
                stray,
                kind: self.kind.name(),
            })
        })
    }

    /// As the retrieval training takes them. The popularity weight is chosen on a slice cut like the test to come.
    pub(super) fn two_tower(&self, validation: Holdout) -> two_tower::Params {
        let given = self.retrieval.unwrap_or_default();
        two_tower::Params {
            dim: given.dim as usize,
            epochs: given.epochs,
            batch: given.batch as usize,
            learning_rate: given.learning_rate,
            temperature: given.temperature,
            correction: given.correction,
            popularity: given.popularity,
            validation,
            seed: self.seed,
            ..two_tower::Params::default()
        }
    }

    /// As the ranking training takes them. The trees learn from a fold cut like the test to come.
    pub(super) fn ranker(&self, validation: Holdout) -> ranker::Params {
        let given = self.ranking.unwrap_or_default();
        let base = ranker::Params::default();
        let forest = lambdamart::Params {
            trees: given.trees,
            leaves: given.leaves as usize,
            learning_rate: given.learning_rate,
            min_rows: given.min_rows as usize,
            ..base.forest
        };
        let candidates = given.candidates as usize;
        ranker::Params {
            validation,
            ease: self.ease(),
            forest,
            candidates,
            seed: self.seed,
            ..base
        }
    }

    /// As the linear model takes them.
    pub(super) fn ease(&self) -> ease::Params {
        ease::Params {
            lambda: self.ease.lambda,
        }
    }

    /// All that the kind uses, defaults included.
    pub(super) fn hyperparameters(&self) -> Value {
        match self.kind {
            Kind::Ranking => json!({"ranking": self.ranking.unwrap_or_default(), "ease": self.ease}),
            Kind::Retrieval => json!({"retrieval": self.retrieval.unwrap_or_default()}),
            Kind::Ease => json!({"ease": self.ease}),
        }
    }
}
