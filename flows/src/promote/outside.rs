//! The move in MLflow, while our lock is held. Safe to repeat from the start at any point.

use tidegate_engine::plugin::{AliasMove, Ctx, Level, TaskError};

use super::Stages;
use crate::mlflow::registry::Stage;
use crate::mlflow::{Mlflow, MlflowError, Tag};

/// One move of an alias on one server.
pub(super) struct Outside<'a> {
    pub ctx: &'a Ctx,
    pub mlflow: &'a Mlflow,
    pub wanted: &'a AliasMove,
    pub stages: Stages,
}

impl Outside<'_> {
    /// Whether the alias points to where we know it to point, or already to where it shall.
    pub(super) async fn compare(&self) -> Result<(), TaskError> {
        let AliasMove { from, to, .. } = self.wanted;
        match self.alias().await? {
            there if there == *from || there == Some(*to) => Ok(()),
            there => Err(self.moved_outside(there)),
        }
    }

    /// Sets the alias, reads it back, and brings `previous`, stages and the tag after it.
    pub(super) async fn carry_out(&self) -> Result<(), TaskError> {
        let AliasMove {
            model,
            alias,
            from,
            to,
        } = self.wanted;
        self.mlflow.set_alias(model, alias, *to).await?;
        let there = self.alias().await?;
        if there != Some(*to) {
            return Err(self.moved_outside(there));
        }
        if let Some(from) = from.filter(|from| from != to) {
            self.mlflow.set_alias(model, "previous", from).await?;
        }
        self.mlflow
            .set_version_tag(model, *to, &Tag::new("validation_status", "passed"))
            .await?;
        match (self.stages, stage_of(alias)) {
            (Stages::Auto, Some(stage)) => self.keep_in_step(stage).await,
            _ => Ok(()),
        }
    }

    async fn alias(&self) -> Result<Option<i64>, MlflowError> {
        self.mlflow.alias(&self.wanted.model, &self.wanted.alias).await
    }

    /// Stages are a courtesy to old readers: where the server refuses for good, the promotion stands without them.
    async fn keep_in_step(&self, stage: Stage) -> Result<(), TaskError> {
        match self.set_stages(stage).await {
            Err(e) if e.is_unknown_endpoint() => {
                self.ctx
                    .info("this MLflow has no stages any more; the alias stands alone");
                Ok(())
            }
            Err(e) if !e.is_passing() => {
                self.ctx
                    .log(Level::Warn, format!("the alias moved, its stage did not: {e}"));
                Ok(())
            }
            done => Ok(done?),
        }
    }

    async fn set_stages(&self, stage: Stage) -> Result<(), MlflowError> {
        let AliasMove { model, to, .. } = self.wanted;
        let versions = self.mlflow.versions_of(model).await?;
        let stage_now = |version: i64| {
            versions
                .iter()
                .find(|v| v.version == version)
                .map(|v| v.current_stage.as_str())
        };
        // A version in production that becomes the staging version too keeps serving.
        let keeps = stage == Stage::Staging && stage_now(*to) == Some("Production");
        if !keeps && stage_now(*to) != Some(&stage.to_string()) {
            self.mlflow.set_stage(model, *to, stage).await?;
        }
        for old in versions
            .iter()
            .filter(|v| v.version != *to && v.current_stage == stage.to_string())
        {
            self.mlflow.set_stage(model, old.version, Stage::Archived).await?;
        }
        Ok(())
    }

    fn moved_outside(&self, there: Option<i64>) -> TaskError {
        let AliasMove {
            model,
            alias,
            from,
            to,
        } = self.wanted;
        let remedy = match from.filter(|from| from != to) {
            Some(from) => format!("back to v{from}, or to v{to} itself"),
            None => format!("to v{to}"),
        };
        let message = format!(
            "{model}@{alias} points to {} in MLflow, but to {} here: somebody moved it outside. Set it in MLflow \
             {remedy}, then ask again",
            show(there),
            show(*from),
        );
        TaskError::WorldMoved { message }
    }
}

fn stage_of(alias: &str) -> Option<Stage> {
    match alias {
        "staging" => Some(Stage::Staging),
        "production" => Some(Stage::Production),
        _ => None,
    }
}

/// A version as people read it.
pub(super) fn show(version: Option<i64>) -> String {
    version.map_or_else(|| "nothing".to_owned(), |v| format!("v{v}"))
}
