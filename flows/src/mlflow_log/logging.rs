//! The steps against MLflow, each safe to repeat; the order stands in the parent's header.

use std::path::PathBuf;

use serde_json::json;
use tidegate_engine::clock;
use tidegate_engine::plugin::{Ctx, TaskError};

use super::Input;
use super::facts::Facts;
use super::mlmodel::{self, Identity};
use crate::dataset::Dataset;
use crate::mlflow::artifacts::Store;
use crate::mlflow::logged_models::{LoggedModel, NewLoggedModel};
use crate::mlflow::registry::{NewVersion, Version};
use crate::mlflow::runs::{DatasetInput, Metric, ModelOutput, NewRun, Run};
use crate::mlflow::{Mlflow, MlflowError, Tag};
use crate::model;

/// Marks what a task run made in MLflow: its idempotency key.
const TASK_TAG: &str = "tidegate.task";
const DIGEST_CHARS: usize = 36;

/// What MLflow knows of the model now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Logged {
    pub version: i64,
    pub run_id: String,
    pub experiment_id: String,
}

/// One task run's work on one server.
pub(super) struct Logging<'a> {
    mlflow: &'a Mlflow,
    ctx: &'a Ctx,
    input: &'a Input,
    facts: &'a Facts,
    key: Tag,
}

impl<'a> Logging<'a> {
    pub(super) fn new(mlflow: &'a Mlflow, ctx: &'a Ctx, input: &'a Input, facts: &'a Facts) -> Self {
        let key = Tag::new(TASK_TAG, ctx.attempt.idempotency_key());
        Self {
            mlflow,
            ctx,
            input,
            facts,
            key,
        }
    }

    pub(super) async fn log(&self) -> Result<Logged, TaskError> {
        let name = self
            .input
            .experiment
            .as_deref()
            .unwrap_or(self.ctx.attempt.flow.as_str());
        let experiment_id = self.mlflow.experiment(name).await?;
        let version = match self.version().await? {
            Some(version) => version,
            None => self.register(&experiment_id).await?,
        };
        self.mlflow
            .finish_run(&version.run_id, clock::now().as_millisecond())
            .await?;
        self.delete_stray_runs(&experiment_id, &version.run_id).await?;
        Ok(Logged {
            version: version.version,
            run_id: version.run_id,
            experiment_id,
        })
    }

    /// Run, logged model, numbers, files, version.
    async fn register(&self, experiment_id: &str) -> Result<Version, TaskError> {
        let run = self.run(experiment_id).await?;
        self.ctx.info(format!(
            "MLflow run {} at {}",
            run.info.run_id,
            self.mlflow.server()
        ));
        let model = self.logged_model(experiment_id, &run).await?;
        self.log_numbers(&run, &model.model_id).await?;
        self.upload(&run, &model).await?;
        self.mlflow.finish_logged_model(&model.model_id).await?;
        self.link(experiment_id, &run, &model).await?;
        self.mlflow
            .ensure_registered_model(&self.input.register_as)
            .await?;
        self.mlflow
            .create_version(&self.new_version(&run, &model))
            .await?;
        let version = self.version().await?;
        Ok(version.ok_or(MlflowError::Vanished { what: "a version" })?)
    }

    /// The run of this task run, created when there is none.
    async fn run(&self, experiment_id: &str) -> Result<Run, MlflowError> {
        if let Some(run) = self.find_run(experiment_id).await? {
            return Ok(run);
        }
        let attempt = &self.ctx.attempt;
        let run = NewRun {
            experiment_id: experiment_id.to_owned(),
            run_name: format!("{} {}", attempt.flow, attempt.run_time.strftime("%Y-%m-%d %H:%M")),
            start_time: clock::now().as_millisecond(),
            tags: self.run_tags(),
        };
        self.mlflow.create_run(&run).await?;
        self.find_run(experiment_id)
            .await?
            .ok_or(MlflowError::Vanished { what: "a run" })
    }

    /// Of several runs the one that got furthest, then the eldest.
    async fn find_run(&self, experiment_id: &str) -> Result<Option<Run>, MlflowError> {
        let mut runs = self.mlflow.runs_tagged(experiment_id, &self.key).await?;
        let rank = |r: &Run| {
            (
                r.outputs.model_outputs.is_empty(),
                r.info.start_time,
                r.info.run_id.clone(),
            )
        };
        runs.sort_by_key(rank);
        Ok(runs.into_iter().next())
    }

    async fn delete_stray_runs(&self, experiment_id: &str, kept: &str) -> Result<(), MlflowError> {
        for run in self.mlflow.runs_tagged(experiment_id, &self.key).await? {
            if run.info.run_id != kept {
                self.mlflow.delete_run(&run.info.run_id).await?;
            }
        }
        Ok(())
    }

    async fn logged_model(&self, experiment_id: &str, run: &Run) -> Result<LoggedModel, MlflowError> {
        if let Some(model) = self.find_logged_model(experiment_id, run).await? {
            return Ok(model);
        }
        let model = NewLoggedModel {
            experiment_id: experiment_id.to_owned(),
            name: self.input.register_as.clone(),
            source_run_id: run.info.run_id.clone(),
            tags: self.version_tags(),
        };
        self.mlflow.create_logged_model(&model).await?;
        let found = self.find_logged_model(experiment_id, run).await?;
        found.ok_or(MlflowError::Vanished {
            what: "a logged model",
        })
    }

    /// Of several logged models the one the run names as its output, else the eldest; the others are deleted.
    async fn find_logged_model(
        &self,
        experiment_id: &str,
        run: &Run,
    ) -> Result<Option<LoggedModel>, MlflowError> {
        let mut models = self
            .mlflow
            .logged_models_of(experiment_id, &run.info.run_id)
            .await?;
        let is_output = |m: &LoggedModel| run.outputs.model_outputs.iter().any(|o| o.model_id == m.model_id);
        models.sort_by_key(|m| (!is_output(m), m.creation_timestamp_ms, m.model_id.clone()));
        let mut models = models.into_iter();
        let kept = models.next();
        for stray in models {
            self.mlflow.delete_logged_model(&stray.model_id).await?;
        }
        Ok(kept)
    }

    async fn log_numbers(&self, run: &Run, model_id: &str) -> Result<(), MlflowError> {
        let run_id = &run.info.run_id;
        let metric = |(key, value): &(String, f64)| Metric {
            key: key.clone(),
            value: *value,
            // The run's own, so that a repeat sends the same point.
            timestamp: run.info.start_time,
            step: 0,
            model_id: model_id.to_owned(),
        };
        let metrics: Vec<_> = self.facts.metrics.iter().map(metric).collect();
        self.mlflow.log_metrics(run_id, &metrics).await?;
        self.mlflow.log_params(run_id, &self.facts.params).await?;
        match &self.input.dataset {
            Some(dataset) => self.mlflow.log_dataset(run_id, &dataset_input(dataset)).await,
            None => Ok(()),
        }
    }

    async fn upload(&self, run: &Run, model: &LoggedModel) -> Result<(), TaskError> {
        let evaluation = format!("{:#}\n", json!(self.input.metrics));
        self.mlflow
            .put_text(&Store::of(&run.info.artifact_uri)?, "evaluation.json", evaluation)
            .await?;
        let store = Store::of(&model.artifact_uri)?;
        let files = model_files(self.input)?;
        let total = files.len() as u64;
        for (done, (name, path)) in (0..).zip(&files) {
            self.ctx.progress(done, total);
            self.mlflow.put_file(&store, name, path).await?;
        }
        self.ctx.progress(total, total);
        let created = self
            .ctx
            .attempt
            .run_time
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string();
        let identity = Identity {
            model_id: &model.model_id,
            run_id: &run.info.run_id,
            artifact_uri: &model.artifact_uri,
            created: &created,
        };
        for (name, text) in mlmodel::files(&self.input.model, identity) {
            self.mlflow.put_text(&store, name, text).await?;
        }
        Ok(())
    }

    /// Makes the model an output of the run. The server refuses to be told twice, also by another attempt just now.
    async fn link(&self, experiment_id: &str, run: &Run, model: &LoggedModel) -> Result<(), MlflowError> {
        let output = ModelOutput {
            model_id: model.model_id.clone(),
            step: 0,
        };
        if run.outputs.model_outputs.contains(&output) {
            return Ok(());
        }
        let Err(error) = self.mlflow.log_output(&run.info.run_id, &output).await else {
            return Ok(());
        };
        let now = self.find_run(experiment_id).await?;
        if now.is_some_and(|run| run.outputs.model_outputs.contains(&output)) {
            Ok(())
        } else {
            Err(error)
        }
    }

    /// The version of this task run. Of several the first stays, the others are deleted.
    async fn version(&self) -> Result<Option<Version>, MlflowError> {
        let name = &self.input.register_as;
        let mut versions = self.mlflow.versions_tagged(name, &self.key).await?.into_iter();
        let kept = versions.next();
        for stray in versions {
            self.mlflow.delete_version(name, stray.version).await?;
        }
        Ok(kept)
    }

    fn new_version(&self, run: &Run, model: &LoggedModel) -> NewVersion {
        let attempt = &self.ctx.attempt;
        NewVersion {
            name: self.input.register_as.clone(),
            source: format!("models:/{}", model.model_id),
            run_id: run.info.run_id.clone(),
            model_id: model.model_id.clone(),
            description: format!("Made by flow {}, run {}", attempt.flow, attempt.run),
            tags: self.version_tags(),
        }
    }

    fn version_tags(&self) -> Vec<Tag> {
        let mut tags = vec![
            Tag::new("validation_status", "pending"),
            Tag::new("sha256", &self.input.model.sha256),
            Tag::new("kind", self.input.model.kind.name()),
        ];
        tags.extend(self.origin_tags());
        tags
    }

    fn run_tags(&self) -> Vec<Tag> {
        let mut tags = self.facts.tags.clone();
        let flow = self.ctx.attempt.flow.as_str();
        tags.retain(|t| !t.key.starts_with("tidegate."));
        tags.extend(self.origin_tags());
        tags.push(Tag::new("mlflow.source.name", flow));
        tags.push(Tag::new("mlflow.source.type", "JOB"));
        tags.push(Tag::new("mlflow.user", "tidegate"));
        tags
    }

    fn origin_tags(&self) -> Vec<Tag> {
        let attempt = &self.ctx.attempt;
        let mut tags = vec![
            self.key.clone(),
            Tag::new("tidegate.flow", attempt.flow.as_str()),
            Tag::new("tidegate.flow_version", attempt.version.short()),
            Tag::new("tidegate.run", attempt.run.to_string()),
        ];
        if let Some(url) = self.ctx.env("TIDEGATE_URL") {
            tags.push(Tag::new(
                "tidegate.url",
                format!("{}/runs/{}", url.trim_end_matches('/'), attempt.run),
            ));
        }
        tags
    }
}

/// Name within the model's folder, and place, of each file.
fn model_files(input: &Input) -> Result<Vec<(String, PathBuf)>, TaskError> {
    let folder = format!("{}/", input.model.uri.trim_end_matches('/'));
    let file = |uri: &str| {
        let path = model::folder(uri).map_err(|e| TaskError::fail_chain(&e))?;
        let name = uri
            .strip_prefix(&folder)
            .or_else(|| uri.rsplit('/').next())
            .unwrap_or(uri);
        Ok((name.to_owned(), path))
    };
    input.model.files.iter().map(|f| file(&f.uri)).collect()
}

fn dataset_input(dataset: &Dataset) -> DatasetInput {
    let digest = dataset.digest.trim_start_matches("sha256:");
    let name = dataset
        .uri
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or("dataset");
    let columns: Vec<_> = dataset
        .columns
        .iter()
        .map(|c| json!({"name": c.name, "type": c.kind}))
        .collect();
    DatasetInput {
        name: name.to_owned(),
        digest: digest.chars().take(DIGEST_CHARS).collect(),
        source_type: if dataset.uri.starts_with("s3://") {
            "s3"
        } else {
            "local"
        }
        .to_owned(),
        source: json!({"uri": dataset.uri}).to_string(),
        schema: json!({"mlflow_colspec": columns}).to_string(),
        profile: json!({"num_rows": dataset.rows, "num_bytes": dataset.bytes, "sha256": digest}).to_string(),
    }
}
