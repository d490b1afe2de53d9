//! Plugins that do nothing, with the shapes of the standard ones.

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::plugin::{Artifact, Ctx, Plugin, Registry, TaskError};

macro_rules! plugin {
    ($plugin:ident, $name:literal, $input:ty, $output:ty $(, $declared:expr)?) => {
        struct $plugin;

        #[async_trait]
        impl Plugin for $plugin {
            type Input = $input;
            type Output = $output;
            const NAME: &'static str = $name;
            const VERSION: &'static str = "1";
            const PURPOSE: &'static str = "stands in for the real one";

            async fn run(&self, _: &Ctx, _: $input) -> Result<$output, TaskError> {
                Err(TaskError::Cancelled)
            }

            $(fn declared_outputs(with: &Value) -> Vec<(String, Value)> {
                ($declared)(with)
            })?
        }
    };
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their shape counts")]
struct PullInput {
    /// Where the events lie.
    source: String,
    /// How many days.
    days: u32,
    until: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct PullOutput {
    events: Artifact,
    rows: u64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their shape counts")]
struct FeatureInput {
    events: Artifact,
    sql: Option<String>,
    sql_file: Option<String>,
    params: Option<BTreeMap<String, Value>>,
}

#[derive(Serialize, JsonSchema)]
struct FeatureOutput {
    table: Artifact,
    holdout: Artifact,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Order candidates.
    Ranking,
    /// Find candidates.
    Retrieval,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their shape counts")]
struct TrainInput {
    kind: Kind,
    features: Artifact,
    #[serde(default)]
    seed: u64,
}

#[derive(Serialize, JsonSchema)]
struct TrainOutput {
    model: Artifact,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only their shape counts")]
enum ModelRef {
    Made(Artifact),
    Named(String),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their shape counts")]
struct EvaluateInput {
    model: ModelRef,
    holdout: ModelRef,
    baseline: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Measured {
    value: f64,
    low: f64,
    high: f64,
}

#[derive(Serialize, JsonSchema)]
struct EvaluateOutput {
    metrics: BTreeMap<String, Measured>,
    change: BTreeMap<String, Value>,
    verdict: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their shape counts")]
struct LogInput {
    model: Artifact,
    metrics: Value,
    register_as: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct LogOutput {
    version: i64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their shape counts")]
struct PromoteInput {
    model: String,
    version: i64,
    alias: String,
}

#[derive(Serialize, JsonSchema)]
struct PromoteOutput {
    from: Option<i64>,
    to: i64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their shape counts")]
struct CommandInput {
    argv: Vec<String>,
    outputs: Option<BTreeMap<String, String>>,
}

plugin!(Pull, "data_pull", PullInput, PullOutput);
plugin!(Feature, "feature_build", FeatureInput, FeatureOutput);
plugin!(Train, "train", TrainInput, TrainOutput);
plugin!(Evaluate, "evaluate", EvaluateInput, EvaluateOutput);
plugin!(Log, "mlflow_log", LogInput, LogOutput);
plugin!(Promote, "promote", PromoteInput, PromoteOutput);
plugin!(Command, "command", CommandInput, BTreeMap<String, Value>, |with: &Value| {
    let outputs = with.get("outputs").and_then(Value::as_object).cloned().unwrap_or_default();
    outputs.into_iter().map(|(name, kind)| (name, json!({"type": kind}))).collect::<Vec<(String, Value)>>()
});

pub(super) fn registry() -> Registry {
    Registry::default()
        .with(Pull)
        .with(Feature)
        .with(Train)
        .with(Evaluate)
        .with(Log)
        .with(Promote)
        .with(Command)
}
