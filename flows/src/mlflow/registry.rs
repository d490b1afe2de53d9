//! Registered models: versions, aliases, tags, and the stages that came before aliases.

use std::fmt;

use reqwest::Method;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Value, json};

use super::{Mlflow, MlflowError, Tag, quoted};

/// A version of a registered model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Version {
    /// From 1.
    #[serde(deserialize_with = "number")]
    pub version: i64,
    /// The run that made it; empty where none did.
    #[serde(default)]
    pub run_id: String,
    /// `None`, `Staging`, `Production` or `Archived`; empty on servers without stages.
    #[serde(default)]
    pub current_stage: String,
}

/// A version to create.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewVersion {
    /// Registered model.
    pub name: String,
    /// `models:/` and the logged model's id.
    pub source: String,
    /// The run that made it.
    pub run_id: String,
    /// The logged model.
    pub model_id: String,
    /// One line for people.
    pub description: String,
    /// Labels.
    pub tags: Vec<Tag>,
}

/// Where a version stands in the old life cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Stage {
    /// Under test.
    Staging,
    /// Serving.
    Production,
    /// Served once.
    Archived,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[derive(Deserialize)]
struct Alias {
    alias: String,
    #[serde(deserialize_with = "number")]
    version: i64,
}

/// MLflow writes version numbers as text.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    String::deserialize(from)?.parse().map_err(de::Error::custom)
}

impl Mlflow {
    /// Makes a registered model; one that exists is no error.
    pub async fn ensure_registered_model(&self, name: &str) -> Result<(), MlflowError> {
        match self
            .post::<Value>("registered-models/create", &json!({"name": name}))
            .await
        {
            Err(e) if !e.has_code("RESOURCE_ALREADY_EXISTS") => Err(e),
            _ => Ok(()),
        }
    }

    /// Versions of a model that carry a tag, lowest first.
    pub async fn versions_tagged(&self, name: &str, tag: &Tag) -> Result<Vec<Version>, MlflowError> {
        let filter = format!(
            "name = {} and tags.`{}` = {}",
            quoted(name)?,
            tag.key,
            quoted(&tag.value)?
        );
        self.versions(&filter).await
    }

    /// All versions of a model, lowest first.
    pub async fn versions_of(&self, name: &str) -> Result<Vec<Version>, MlflowError> {
        self.versions(&format!("name = {}", quoted(name)?)).await
    }

    async fn versions(&self, filter: &str) -> Result<Vec<Version>, MlflowError> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            model_versions: Vec<Version>,
            #[serde(default)]
            next_page_token: String,
        }
        let mut found = Vec::new();
        let mut token = String::new();
        loop {
            let query = [
                ("filter", filter),
                ("max_results", "1000"),
                ("page_token", &token),
            ];
            let page: Page = self
                .get(
                    "model-versions/search",
                    &query[..if token.is_empty() { 2 } else { 3 }],
                )
                .await?;
            found.extend(page.model_versions);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        found.sort_by_key(|v| v.version);
        Ok(found)
    }

    /// Creates a version with the next number; not idempotent.
    pub async fn create_version(&self, version: &NewVersion) -> Result<(), MlflowError> {
        self.post::<Value>("model-versions/create", version)
            .await
            .map(drop)
    }

    /// Deletes a version; its number is never given again.
    pub async fn delete_version(&self, name: &str, version: i64) -> Result<(), MlflowError> {
        let body = json!({"name": name, "version": version.to_string()});
        self.send::<Value>(Method::DELETE, "model-versions/delete", &body)
            .await
            .map(drop)
    }

    /// Labels a version, in place of what the label said.
    pub async fn set_version_tag(&self, name: &str, version: i64, tag: &Tag) -> Result<(), MlflowError> {
        let body = json!({"name": name, "version": version.to_string(), "key": tag.key, "value": tag.value});
        self.post::<Value>("model-versions/set-tag", &body)
            .await
            .map(drop)
    }

    /// The version an alias points to; `None` without such an alias or model.
    ///
    /// Read from the model, because asking for an alias that isn't there is answered as an invalid request.
    pub async fn alias(&self, name: &str, alias: &str) -> Result<Option<i64>, MlflowError> {
        #[derive(Deserialize)]
        struct Answer {
            registered_model: Model,
        }
        #[derive(Deserialize)]
        struct Model {
            #[serde(default)]
            aliases: Vec<Alias>,
        }
        match self
            .get::<Answer>("registered-models/get", &[("name", name)])
            .await
        {
            Ok(Answer { registered_model }) => Ok(registered_model
                .aliases
                .into_iter()
                .find(|a| a.alias == alias)
                .map(|a| a.version)),
            Err(e) if e.is_absent() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Points an alias to a version, wherever it pointed before: MLflow knows no compare-and-swap.
    pub async fn set_alias(&self, name: &str, alias: &str, version: i64) -> Result<(), MlflowError> {
        let body = json!({"name": name, "alias": alias, "version": version.to_string()});
        self.post::<Value>("registered-models/alias", &body)
            .await
            .map(drop)
    }

    /// Moves one version to a stage and no other: on PostgreSQL, MLflow 3.17 fails when asked to archive the others too.
    pub async fn set_stage(&self, name: &str, version: i64, stage: Stage) -> Result<(), MlflowError> {
        let body = json!({
            "name": name, "version": version.to_string(), "stage": stage, "archive_existing_versions": false,
        });
        self.post::<Value>("model-versions/transition-stage", &body)
            .await
            .map(drop)
    }
}
