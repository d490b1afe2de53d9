//! `evaluate`: what a model is worth, by named protocols, against popularity, against production, with intervals.
//!
//! `holdout` alone suffices: it carries every interaction with its folds, so histories, catalogue and popularity are those of the cut.
//! The model's own weights are judged on `temporal_full`; `random_user_20_full` is measured on the probe, which is the same procedure
//! without those rows. Production's weights are judged on `temporal_full` only, on the same users, items and cut.
//!
//! Nothing undefined looks like a number: a comparison that cannot be made says why, an absent baseline says `no_baseline`.

mod compare;
mod judge;
mod report;
mod slices;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_engine::plugin::{Ctx, ModelVersion, Plugin, TaskError, chain};
use tidegate_learn::evaluate::EvalError;
use tidegate_learn::interval::Undefined;

use crate::dataset::Dataset;
use crate::feature_build::folds::{FoldsError, Named};
use crate::model::{ModelError, ModelRef};
pub use report::Output;

/// The plugin.
pub struct Evaluate;

/// Its `with`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What `train` made.
    pub model: ModelRef,
    /// The holdout of the `feature_build` that the model was trained on.
    pub holdout: Dataset,
    /// What it is compared with: `name@alias` of a registered model.
    #[serde(default)]
    pub baseline: Option<String>,
    /// The protocol whose metrics stand under their plain names.
    #[serde(default = "default_headline")]
    pub headline: Named,
    /// Fails where a larger share of the model's lists ends in a tie.
    #[serde(default = "default_tie_share")]
    pub max_tie_share: f64,
    /// Cohorts of fewer users are merged into `other`.
    #[serde(default = "default_min_support")]
    pub min_support: u32,
}

fn default_headline() -> Named {
    Named::RandomUser20Full
}

fn default_tie_share() -> f64 {
    0.1
}

fn default_min_support() -> u32 {
    50
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("can't read the holdout")]
    Folds(#[from] FoldsError),
    #[error("can't read the model")]
    Model(#[from] ModelError),
    #[error("the model was trained on other folds ({trained}) than the holdout's ({held})")]
    OtherFolds { trained: String, held: String },
    #[error("the model's reference says SHA-256 {promised}, its card {found}")]
    OtherModel { promised: String, found: String },
    #[error("{0} holds out no user with a history: there is nothing to judge by")]
    Nobody(&'static str),
    #[error("{1} can't be judged by {0}")]
    Judge(&'static str, &'static str, #[source] EvalError),
    #[error("no metric by {0}")]
    Metric(&'static str, #[source] Undefined),
    #[error("`baseline = \"{0}\"` is not `name@alias`")]
    BaselineName(String),
    #[error("the baseline {0} exists but can't be read")]
    Baseline(String, #[source] ModelError),
    #[error("the baseline {0} knows none of these users and none of these items: it can't be compared")]
    Stranger(String),
    #[error("the baseline was not scored on the same users, items and cut")]
    NotPaired(#[source] EvalError),
    #[error("stopped on request")]
    Cancelled,
    #[error("the evaluating thread ended")]
    Thread(#[from] tokio::task::JoinError),
}

impl From<Failure> for TaskError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Cancelled => Self::Cancelled,
            Failure::Thread(_) => Self::retry(chain(&failure)),
            _ => Self::fail(chain(&failure)),
        }
    }
}

#[async_trait]
impl Plugin for Evaluate {
    type Input = Input;
    type Output = Output;

    const NAME: &'static str = "evaluate";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str =
        "judges a model by named protocols, against popularity and against production";

    async fn run(&self, ctx: &Ctx, input: Input) -> Result<Output, TaskError> {
        let baseline = baseline(ctx, input.baseline.as_deref()).await?;
        let worker = ctx.clone();
        let work = tokio::task::spawn_blocking(move || report::report(&worker, &input, baseline.as_ref()));
        tokio::select! {
            biased;
            () = ctx.cancelled() => Err(TaskError::Cancelled),
            output = work => Ok(output.map_err(Failure::from)??),
        }
    }
}

/// What the alias points to; `None` where it points to nothing. That a registry can't answer is an error, never an absence.
async fn baseline(ctx: &Ctx, name: Option<&str>) -> Result<Option<Baseline>, TaskError> {
    let Some(name) = name else { return Ok(None) };
    let (model, alias) = name
        .split_once('@')
        .ok_or_else(|| Failure::BaselineName(name.to_owned()))?;
    if model.is_empty() || alias.is_empty() {
        return Err(Failure::BaselineName(name.to_owned()).into());
    }
    let version = ctx.model_alias(model, alias).await?;
    if version.is_none() {
        ctx.info(format!("{name} does not exist yet: nothing to compare with"));
    }
    Ok(version.map(|version| Baseline {
        name: format!("{name} (v{})", version.version),
        version,
    }))
}

/// A registered model to compare with.
pub(crate) struct Baseline {
    /// For people: `ranking_model@production (v6)`.
    pub name: String,
    /// What the registry knows.
    pub version: ModelVersion,
}
