//! `promote`: points an alias of a registered model to a version.
//!
//! Our database is the truth: it says where the alias points, holds the lock, and keeps the history. MLflow's alias, which
//! knows no compare-and-swap, is moved under that lock and read back.
//!
//! ```text
//! read ours ─► begin_move(from → to): lock, compare ─► MLflow points to `from`? ─ no, nor to `to` ─► abandon, WorldMoved
//!                 │ done by this task run before          │ yes, or already to `to` (a repeat)
//!                 ▼                                       ▼
//!              repair what MLflow lacks        previous → from, alias → to, read back, stages, tag ─► finish_move
//! ```
//! Until MLflow is touched, a failure gives the lock back. After that it is kept until the attempt ends; a repeat finds
//! the alias at `to` in MLflow and goes on from there. Where the task says `from`, that and not what was read is compared.

mod outside;

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidegate_engine::plugin::{AliasMove, Ctx, HostError, MoveTicket, Plugin, Preview, TaskError};

use crate::mlflow::Mlflow;
use crate::mlflow_log::{RegistryKind, check_name};
use outside::Outside;

/// Moves an alias.
#[derive(Debug, Clone, Copy, Default)]
pub struct Promote;

/// Which alias goes where.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Name of the registered model.
    pub model: String,
    /// The version it shall point to.
    pub version: i64,
    /// `staging`, `production`, …
    pub alias: String,
    /// The version that the alias must point to; where it does not, the move is refused.
    #[serde(default)]
    pub from: Option<i64>,
    /// Whether MLflow's stages follow the aliases.
    #[serde(default)]
    pub stages: Stages,
}

/// What happens to MLflow's stages, which came before aliases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stages {
    /// `staging` and `production` set the stage of the same name, where the server has stages.
    #[default]
    Auto,
    /// They are left alone.
    Never,
}

/// What moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// Name of the registered model.
    pub model: String,
    /// The alias.
    pub alias: String,
    /// The version it pointed to before; `null` when it is new.
    pub from: Option<i64>,
    /// The version it points to now.
    pub to: i64,
    /// Whether MLflow was moved too.
    pub registry: RegistryKind,
}

#[async_trait]
impl Plugin for Promote {
    type Input = Input;
    type Output = Output;

    const NAME: &'static str = "promote";
    const VERSION: &'static str = "1";
    const GUARDED: bool = true;
    const ACTS: bool = true;
    const PURPOSE: &'static str = "Points an alias of a registered model to a version, by compare-and-swap";

    async fn run(&self, ctx: &Ctx, input: Input) -> Result<Output, TaskError> {
        check(&input)?;
        ctx.checkpoint()?;
        let mlflow = Mlflow::of(ctx)?;
        known(ctx, &input).await?;
        let now = ctx
            .model_alias(&input.model, &input.alias)
            .await?
            .map(|v| v.version);
        let ticket = ctx
            .begin_move(&wanted(&input, now))
            .await
            .map_err(|error| lasting(&input, error))?;
        let outside = mlflow.as_ref().map(|mlflow| Outside {
            ctx,
            mlflow,
            wanted: &ticket.wanted,
            stages: input.stages,
        });
        if let Some(outside) = &outside {
            carry_out(outside).await?;
        }
        settle(ctx, &ticket).await?;
        ctx.info(said(&ticket.wanted));
        let registry = if outside.is_some() {
            RegistryKind::Mlflow
        } else {
            RegistryKind::Builtin
        };
        let AliasMove {
            model,
            alias,
            from,
            to,
        } = ticket.wanted;
        Ok(Output {
            model,
            alias,
            from,
            to,
            registry,
        })
    }

    async fn preview(&self, ctx: &Ctx, input: Input) -> Result<Preview, TaskError> {
        check(&input)?;
        let now = ctx
            .model_alias(&input.model, &input.alias)
            .await?
            .map(|v| v.version);
        let wanted = wanted(&input, now);
        let mut sentence = will_do(&wanted);
        if wanted.from != now {
            let there = outside::show(now);
            sentence.push_str(&format!(
                "; will be refused as long as the alias points to {there}"
            ));
        }
        if let Some(drift) = drift(ctx, &wanted).await {
            sentence.push_str(&drift);
        }
        let world = json!({"alias": format!("{}@{}", input.model, input.alias), "version": now});
        Ok(Preview {
            sentence: Some(sentence),
            world,
        })
    }
}

/// Gives the lock back when MLflow was not touched; then nobody has to wait for this attempt's end.
async fn carry_out(outside: &Outside<'_>) -> Result<(), TaskError> {
    if let Err(error) = outside.compare().await {
        // Failing to give it back changes nothing about why; the lock ends with the attempt.
        let _ = outside.ctx.abandon_move(outside.wanted).await;
        return Err(error);
    }
    outside.carry_out().await
}

/// Commits the move in our registry, where there is one to commit.
async fn settle(ctx: &Ctx, ticket: &MoveTicket) -> Result<(), TaskError> {
    if ticket.done_before {
        return Ok(());
    }
    if ticket.wanted.from == Some(ticket.wanted.to) {
        return Ok(ctx.abandon_move(&ticket.wanted).await?);
    }
    ctx.finish_move(&ticket.wanted).await?;
    Ok(())
}

fn check(input: &Input) -> Result<(), TaskError> {
    check_name(&input.model).map_err(TaskError::fail)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let alias = &input.alias;
    if alias.is_empty() || alias.len() > 200 || !alias.chars().all(fits) {
        return Err(TaskError::fail(format_args!(
            "`{alias}` is no alias: use 1 to 200 letters, digits, `-` and `_`"
        )));
    }
    let lower = alias.to_ascii_lowercase();
    let numbered = lower
        .strip_prefix('v')
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if numbered || matches!(lower.as_str(), "latest" | "previous") {
        return Err(TaskError::fail(format_args!(
            "the alias `{alias}` has a meaning of its own and can't be moved"
        )));
    }
    Ok(())
}

async fn known(ctx: &Ctx, input: &Input) -> Result<(), TaskError> {
    let Input { model, version, .. } = input;
    let found = ctx.model_version(model, *version).await?;
    found
        .map(drop)
        .ok_or_else(|| TaskError::fail(format_args!("{model} has no version {version} in our registry")))
}

/// From where it must point to, else from where it does.
fn wanted(input: &Input, now: Option<i64>) -> AliasMove {
    AliasMove {
        model: input.model.clone(),
        alias: input.alias.clone(),
        from: input.from.or(now),
        to: input.version,
    }
}

/// Where the task says where the alias must point to, nobody who is asked anew could say more.
fn lasting(input: &Input, error: HostError) -> TaskError {
    match &error {
        HostError::WorldMoved { expected, now, .. } if input.from.is_some() && *expected == input.from => {
            TaskError::fail(format_args!(
                "{}@{} points to {} by now, not to {} as it must: nothing was moved",
                input.model,
                input.alias,
                outside::show(*now),
                outside::show(*expected),
            ))
        }
        _ => error.into(),
    }
}

fn will_do(wanted: &AliasMove) -> String {
    let AliasMove {
        model,
        alias,
        from,
        to,
    } = wanted;
    match from {
        Some(from) if from == to => format!("leaves {model}@{alias} at v{to}, where it points already"),
        Some(from) => format!("moves {model}@{alias} from v{from} to v{to}"),
        None => format!("sets {model}@{alias}, which is new, to v{to}"),
    }
}

fn said(moved: &AliasMove) -> String {
    let AliasMove {
        model,
        alias,
        from,
        to,
    } = moved;
    match from {
        Some(from) if from == to => format!("{model}@{alias} points to v{to} already"),
        Some(from) => format!("moved {model}@{alias} from v{from} to v{to}"),
        None => format!("set {model}@{alias} to v{to}"),
    }
}

/// What an approver should know of an alias that somebody moved in MLflow; nothing while MLflow can't be asked.
async fn drift(ctx: &Ctx, wanted: &AliasMove) -> Option<String> {
    let mlflow = Mlflow::of(ctx).ok()??;
    let there = mlflow.alias(&wanted.model, &wanted.alias).await.ok()?;
    if there == wanted.from || there == Some(wanted.to) {
        return None;
    }
    Some(format!(
        "; will be refused as long as MLflow's alias points to {}",
        outside::show(there)
    ))
}
