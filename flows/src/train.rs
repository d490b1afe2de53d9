//! `train`: fits a model on a feature table, reproducibly, and keeps it with its served form.
//!
//! Two fits of one procedure. **The model** learns from all rows but those of `temporal_test`: its bytes are what is evaluated,
//! approved, promoted and served. **The probe** learns from all rows but those of `random_test` and only measures
//! `random_user_20_full`, the protocol of the playbook's thresholds: that number belongs to the procedure, not to the served bytes.
//! EASE is fitted on the same two folds as the baseline of every run.

mod fit;
#[cfg(test)]
mod movielens;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_engine::plugin::{Ctx, Objection, Plugin, TaskError, chain};
use tidegate_learn::TrainError;

use crate::dataset::Dataset;
use crate::feature_build::folds::FoldsError;
use crate::model::{Kind, ModelError, ModelRef};
pub use settings::{EaseSettings, RankingSettings, RetrievalSettings};

/// The plugin.
pub struct Train;

/// Its `with`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What to train.
    pub kind: Kind,
    /// A table that `feature_build` made.
    pub features: Dataset,
    /// The same seed on the same table gives the same bytes.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// The two towers; only with `kind = "retrieval"`.
    #[serde(default)]
    pub retrieval: Option<RetrievalSettings>,
    /// Candidates and trees; only with `kind = "ranking"`.
    #[serde(default)]
    pub ranking: Option<RankingSettings>,
    /// The linear model: baseline of every run, and first stage of a ranking model.
    #[serde(default)]
    pub ease: EaseSettings,
}

fn default_seed() -> u64 {
    1
}

/// Its outputs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Output {
    /// The model.
    pub model: ModelRef,
    /// The baseline on the same folds; null where the catalogue is larger than `ease.max_items`.
    pub baseline_ease: Option<EaseBaseline>,
    /// Last value of each curve that was recorded while training, by its name.
    pub metrics: BTreeMap<String, f64>,
    /// Seconds of computing, both fits and the baseline.
    pub seconds: f64,
    /// Interactions the model learnt from.
    pub rows: u64,
    /// Users among them.
    pub users: u64,
    /// Items among them.
    pub items: u64,
}

/// EASE by both protocols.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EaseBaseline {
    /// Fitted on what the model was fitted on.
    pub temporal_full: EaseScores,
    /// Fitted on what the probe was fitted on.
    pub random_user_20_full: EaseScores,
}

/// Means over the users of one protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EaseScores {
    /// Number of users; the means are null where it is 0.
    pub n_users: u64,
    /// See flows/README.md.
    pub ndcg_at_10: Option<f64>,
    /// See flows/README.md.
    pub precision_at_10: Option<f64>,
    /// See flows/README.md.
    pub recall_at_10: Option<f64>,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("`{stray}` holds hyperparameters of another kind than `{kind}`")]
    Stray { stray: &'static str, kind: &'static str },
    #[error("can't read the feature table")]
    Folds(#[from] FoldsError),
    #[error("the {0} could not be trained")]
    Train(&'static str, #[source] TrainError),
    #[error("EASE could not be judged")]
    Judge(#[from] tidegate_learn::evaluate::EvalError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("`{}`", path.display())]
    File {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error("the training thread ended")]
    Thread(#[from] tokio::task::JoinError),
}

impl From<Failure> for TaskError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Train(_, TrainError::Cancelled) => Self::Cancelled,
            // A full disk or a thread that died may pass; data and parameters stay as they are.
            Failure::File { .. } | Failure::Thread(_) => Self::retry(chain(&failure)),
            _ => Self::fail(chain(&failure)),
        }
    }
}

#[async_trait]
impl Plugin for Train {
    type Input = Input;
    type Output = Output;

    const NAME: &'static str = "train";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str =
        "trains a ranking, retrieval or EASE model and writes it with its ONNX form";

    async fn run(&self, ctx: &Ctx, input: Input) -> Result<Output, TaskError> {
        let worker = ctx.clone();
        let fitted = tokio::task::spawn_blocking(move || fit::fit(&worker, &input));
        // The thread looks between rounds; leaving here at once lets the child process end within the second.
        let fitted = tokio::select! {
            biased;
            () = ctx.cancelled() => return Err(TaskError::Cancelled),
            fitted = fitted => fitted.map_err(Failure::from)??,
        };
        let model = store::record(ctx, &fitted).await?;
        Ok(fitted.into_output(model))
    }

    fn objections(with: &Value) -> Vec<Objection> {
        settings::strays(with)
    }
}
