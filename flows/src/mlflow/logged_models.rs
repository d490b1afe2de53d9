//! Logged models: the files of a model, on their way into the registry.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Mlflow, MlflowError, Tag, quoted};

/// A logged model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LoggedModel {
    /// `m-` and 32 hex digits.
    pub model_id: String,
    /// Root of its files.
    pub artifact_uri: String,
    /// The server's clock, milliseconds since 1970.
    #[serde(default)]
    pub creation_timestamp_ms: i64,
}

#[derive(Deserialize)]
struct Envelope {
    info: LoggedModel,
}

/// A logged model to create.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewLoggedModel {
    /// Where.
    pub experiment_id: String,
    /// What people see.
    pub name: String,
    /// The run that made it.
    pub source_run_id: String,
    /// Labels.
    pub tags: Vec<Tag>,
}

impl Mlflow {
    /// The logged models that a run made, deleted ones left out.
    pub async fn logged_models_of(
        &self,
        experiment_id: &str,
        run_id: &str,
    ) -> Result<Vec<LoggedModel>, MlflowError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            models: Vec<Envelope>,
        }
        let filter = format!("source_run_id = {}", quoted(run_id)?);
        let body = json!({"experiment_ids": [experiment_id], "filter": filter});
        let answer: Answer = self.post("logged-models/search", &body).await?;
        Ok(answer.models.into_iter().map(|m| m.info).collect())
    }

    /// Creates a logged model, pending until its files are there; not idempotent.
    pub async fn create_logged_model(&self, model: &NewLoggedModel) -> Result<(), MlflowError> {
        self.post::<Value>("logged-models", model).await.map(drop)
    }

    /// Says that all files are there; again is no error.
    pub async fn finish_logged_model(&self, model_id: &str) -> Result<(), MlflowError> {
        let body = json!({"model_id": model_id, "status": "LOGGED_MODEL_READY"});
        self.send::<Value>(Method::PATCH, &format!("logged-models/{model_id}"), &body)
            .await
            .map(drop)
    }

    /// Marks a logged model as deleted.
    pub async fn delete_logged_model(&self, model_id: &str) -> Result<(), MlflowError> {
        self.send::<Value>(Method::DELETE, &format!("logged-models/{model_id}"), &json!({}))
            .await
            .map(drop)
    }
}
