//! `mlflow_log`: records a trained model with its numbers and registers it as a version.
//!
//! With `MLFLOW_TRACKING_URI` set, everything goes to MLflow and the version has MLflow's number; without, the built-in
//! registry numbers it. Either way the version stands in our own database, which is the truth for gates and promotions.
//!
//! The order, and why a repeat after any of the steps ends with one run and one version:
//!
//! ```text
//! version with our tag there already? ── yes ──────────────────────────────────────────────┐
//!   │ no                                                                                    │
//! experiment   by name, made when absent                                                    │
//! run          found by the tag `tidegate.task` = idempotency key, else created, then       │
//! logged model   looked for again: of several (a reply was lost and the server was slow)    │
//!                the one that got furthest stays, the others are deleted                    │
//! numbers      metrics and params are kept once by the server: same key, value, time        │
//! files        each upload replaces                                                         │
//! version      created with the tag in the same request, looked for again as above          │
//! end          run FINISHED, strays deleted ◄───────────────────────────────────────────────┘
//! our registry ours is idempotent by task run
//! ```

mod facts;
mod logging;
mod mlmodel;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidegate_engine::plugin::{Ctx, NewVersion, Plugin, TaskError};

use crate::dataset::Dataset;
use crate::mlflow::Mlflow;
use crate::model::ModelRef;
use facts::Facts;
use logging::{Logged, Logging};

/// Records a model and registers it.
#[derive(Debug, Clone, Copy, Default)]
pub struct MlflowLog;

/// What to record, and under which name.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The model, as `train` hands it on.
    pub model: ModelRef,
    /// Numbers by name; nested tables become `outer/inner`, `{value, low, high}` becomes `name`, `name_low`, `name_high`.
    #[serde(default)]
    pub metrics: Map<String, Value>,
    /// Settings by name; default: the hyperparameters of the model's card.
    #[serde(default)]
    pub params: Option<Map<String, Value>>,
    /// The table the model learned from.
    #[serde(default)]
    pub dataset: Option<Dataset>,
    /// Name of the registered model.
    pub register_as: String,
    /// Name of the MLflow experiment; default: the flow's name.
    #[serde(default)]
    pub experiment: Option<String>,
    /// Labels for the MLflow run, at most 80.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// Where the numbers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegistryKind {
    /// A tracking server and our database.
    Mlflow,
    /// Our database.
    Builtin,
}

/// The registered version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// Its number.
    pub version: i64,
    /// Name of the registered model.
    pub model: String,
    /// `models:/name/version`.
    pub uri: String,
    /// The folder of the model's files.
    pub source: String,
    /// Which registry gave the number.
    pub registry: RegistryKind,
    /// MLflow's run.
    pub run_id: Option<String>,
    /// MLflow's experiment.
    pub experiment_id: Option<String>,
}

#[async_trait]
impl Plugin for MlflowLog {
    type Input = Input;
    type Output = Output;

    const NAME: &'static str = "mlflow_log";
    const VERSION: &'static str = "1";
    const ACTS: bool = true;
    const PURPOSE: &'static str =
        "Records a model with its metrics in MLflow or the built-in registry, as a new version";

    async fn run(&self, ctx: &Ctx, input: Input) -> Result<Output, TaskError> {
        check_name(&input.register_as).map_err(TaskError::fail)?;
        let facts = Facts::of(ctx, &input)?;
        for name in &facts.unnamed {
            ctx.info(format!(
                "metric `{name}` shares its name with another one and stands in evaluation.json only"
            ));
        }
        // Every step is safe to repeat, so stopping between any two of them is fine.
        tokio::select! {
            output = record(ctx, &input, &facts) => output,
            () = ctx.cancelled() => Err(TaskError::Cancelled),
        }
    }
}

async fn record(ctx: &Ctx, input: &Input, facts: &Facts) -> Result<Output, TaskError> {
    let logged = match Mlflow::of(ctx)? {
        Some(mlflow) => Some(Logging::new(&mlflow, ctx, input, facts).log().await?),
        None => None,
    };
    let version = ctx
        .register_model(NewVersion {
            model: input.register_as.clone(),
            version: logged.as_ref().map(|l| l.version),
            source: input.model.uri.clone(),
            sha256: Some(input.model.sha256.clone()),
            external_run: logged.as_ref().map(|l| l.run_id.clone()),
            facts: facts.shown(ctx, input),
        })
        .await?;
    ctx.info(format!("registered {} v{}", version.model, version.version));
    Ok(output(version.version, input, logged))
}

fn output(version: i64, input: &Input, logged: Option<Logged>) -> Output {
    let registry = if logged.is_some() {
        RegistryKind::Mlflow
    } else {
        RegistryKind::Builtin
    };
    let (run_id, experiment_id) = logged.map(|l| (l.run_id, l.experiment_id)).unzip();
    Output {
        version,
        uri: format!("models:/{}/{version}", input.register_as),
        model: input.register_as.clone(),
        source: input.model.uri.clone(),
        registry,
        run_id,
        experiment_id,
    }
}

/// Whether a text names a registered model, here and in MLflow: 1–200 letters, digits, `-`, `_` and `.`.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 200 || !name.chars().all(fits) {
        return Err(format!(
            "`{name}` can't name a registered model: use 1 to 200 letters, digits, `-`, `_` and `.`"
        ));
    }
    Ok(())
}
