//! `notify`: a task that tells people something, by a channel of the deployment.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_engine::plugin::{Ctx, Isolation, Objection, Plugin, TaskError, unread};

/// The plugin.
pub struct Notify;

/// Its `with`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// A channel of tidegate.toml.
    pub to: String,
    /// What is told.
    pub text: String,
    /// One line above it; default: the flow's name.
    #[serde(default)]
    pub title: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Output {
    /// Identity of the notice. It is on its way; receivers see the id too.
    pub notice: String,
}

#[async_trait]
impl Plugin for Notify {
    type Input = Input;
    type Output = Output;

    const NAME: &'static str = "notify";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str =
        "Tells people something by a channel of tidegate.toml: Slack, a signed webhook, mail";
    const ISOLATION: Isolation = Isolation::Inline;
    const FOLDERS: bool = false;
    const ACTS: bool = true;

    async fn run(&self, ctx: &Ctx, input: Input) -> Result<Output, TaskError> {
        let mut body = json!({ "task": ctx.attempt.task, "text": input.text });
        if let Some(title) = input.title {
            body["title"] = title.into();
        }
        let notice = ctx.notify(&input.to, body).await?;
        ctx.info(format!("notice {notice} is on its way to {}", input.to));
        Ok(Output { notice })
    }

    fn idle_keys(_with: &Value) -> Vec<Objection> {
        unread(&["env", "files"])
    }
}
