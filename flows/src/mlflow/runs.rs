//! Experiments and runs: what was tried, with which numbers.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Mlflow, MlflowError, Tag, quoted};

/// The server takes at most 1000 metrics, params and tags together in one request of at most 1 MB.
const METRICS_A_REQUEST: usize = 1000;
/// The server takes 100; so many of [`PARAM_BYTES`] could be more than 1 MB of JSON.
const PARAMS_A_REQUEST: usize = 50;
/// What the server keeps of a param's value.
pub const PARAM_BYTES: usize = 6000;

/// A run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Run {
    /// What it is.
    pub info: RunInfo,
    /// What came out of it.
    #[serde(default)]
    pub outputs: RunOutputs,
}

/// Identity and state of a run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RunInfo {
    /// 32 hex digits.
    pub run_id: String,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub start_time: i64,
    /// Root of its artifacts, `mlflow-artifacts:/…` with a server that takes them.
    pub artifact_uri: String,
}

/// What came out of a run.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct RunOutputs {
    /// Its logged models.
    #[serde(default)]
    pub model_outputs: Vec<ModelOutput>,
}

/// A logged model as the output of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelOutput {
    /// `m-` and 32 hex digits.
    pub model_id: String,
    /// At which step.
    #[serde(default)]
    pub step: i64,
}

/// A run to create.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewRun {
    /// Where.
    pub experiment_id: String,
    /// What people see.
    pub run_name: String,
    /// Milliseconds since 1970.
    pub start_time: i64,
    /// At most 100.
    pub tags: Vec<Tag>,
}

/// A number of a run. Sent twice with the same key, value, time and step it is kept once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// At most 250 of `A-Za-z0-9_-. :/`.
    pub key: String,
    /// Finite.
    pub value: f64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// From 0.
    pub step: i64,
    /// The logged model it is about.
    pub model_id: String,
}

/// A setting of a run. May be sent again, but not with another value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Param {
    /// At most 250 of `A-Za-z0-9_-. :/`.
    pub key: String,
    /// At most [`PARAM_BYTES`].
    pub value: String,
}

/// A data set that a run read. Sent twice with the same name and digest it is kept once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetInput {
    /// What people see.
    pub name: String,
    /// At most 36 characters.
    pub digest: String,
    /// `local`, `s3`, …
    pub source_type: String,
    /// JSON.
    pub source: String,
    /// JSON: columns.
    pub schema: String,
    /// JSON: counts.
    pub profile: String,
}

impl Mlflow {
    /// The experiment of that name, made when new: its id.
    pub async fn experiment(&self, name: &str) -> Result<String, MlflowError> {
        match self.find_experiment(name).await {
            Err(e) if e.is_absent() => {}
            found => return found,
        }
        let created: Result<Value, _> = self.post("experiments/create", &json!({"name": name})).await;
        match created {
            // Somebody else was faster.
            Err(e) if !e.has_code("RESOURCE_ALREADY_EXISTS") => Err(e),
            _ => self.find_experiment(name).await,
        }
    }

    async fn find_experiment(&self, name: &str) -> Result<String, MlflowError> {
        #[derive(Deserialize)]
        struct Answer {
            experiment: Experiment,
        }
        #[derive(Deserialize)]
        struct Experiment {
            experiment_id: String,
            lifecycle_stage: String,
        }
        let Answer { experiment } = self
            .get("experiments/get-by-name", &[("experiment_name", name)])
            .await?;
        if experiment.lifecycle_stage == "deleted" {
            return Err(MlflowError::ExperimentDeleted(name.to_owned()));
        }
        Ok(experiment.experiment_id)
    }

    /// Runs of an experiment that carry a tag, deleted ones left out.
    pub async fn runs_tagged(&self, experiment_id: &str, tag: &Tag) -> Result<Vec<Run>, MlflowError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            runs: Vec<Run>,
        }
        let filter = format!("tags.`{}` = {}", tag.key, quoted(&tag.value)?);
        let body = json!({"experiment_ids": [experiment_id], "filter": filter, "max_results": 1000});
        let answer: Answer = self.post("runs/search", &body).await?;
        Ok(answer.runs)
    }

    /// Creates a run; not idempotent.
    pub async fn create_run(&self, run: &NewRun) -> Result<(), MlflowError> {
        self.post::<Value>("runs/create", run).await.map(drop)
    }

    /// Marks a run as deleted; again is no error.
    pub async fn delete_run(&self, run_id: &str) -> Result<(), MlflowError> {
        self.post::<Value>("runs/delete", &json!({"run_id": run_id}))
            .await
            .map(drop)
    }

    /// Logs numbers, in as many requests as it takes.
    pub async fn log_metrics(&self, run_id: &str, metrics: &[Metric]) -> Result<(), MlflowError> {
        for metrics in metrics.chunks(METRICS_A_REQUEST) {
            self.post::<Value>("runs/log-batch", &json!({"run_id": run_id, "metrics": metrics}))
                .await?;
        }
        Ok(())
    }

    /// Logs settings, in as many requests as it takes.
    pub async fn log_params(&self, run_id: &str, params: &[Param]) -> Result<(), MlflowError> {
        for params in params.chunks(PARAMS_A_REQUEST) {
            self.post::<Value>("runs/log-batch", &json!({"run_id": run_id, "params": params}))
                .await?;
        }
        Ok(())
    }

    /// Says which data a run learned from.
    pub async fn log_dataset(&self, run_id: &str, dataset: &DatasetInput) -> Result<(), MlflowError> {
        let context = [Tag::new("mlflow.data.context", "training")];
        let body = json!({"run_id": run_id, "datasets": [{"dataset": dataset, "tags": context}]});
        self.post::<Value>("runs/log-inputs", &body).await.map(drop)
    }

    /// Says that a logged model came out of a run. The server refuses to be told twice.
    pub async fn log_output(&self, run_id: &str, output: &ModelOutput) -> Result<(), MlflowError> {
        self.post::<Value>("runs/outputs", &json!({"run_id": run_id, "models": [output]}))
            .await
            .map(drop)
    }

    /// Ends a run well. `end_time`: milliseconds since 1970.
    pub async fn finish_run(&self, run_id: &str, end_time: i64) -> Result<(), MlflowError> {
        let body = json!({"run_id": run_id, "status": "FINISHED", "end_time": end_time});
        self.send::<Value>(Method::POST, "runs/update", &body)
            .await
            .map(drop)
    }
}
