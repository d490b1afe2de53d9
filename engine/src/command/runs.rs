//! Triggering, cancelling and retrying runs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::decide::check_comment;
use super::{Actor, CommandError, Role};
use crate::clock;
use crate::id::RunId;
use crate::rollback;
use crate::spec;
use crate::state::Reason;
use crate::store::emergencies::Confirmed;
use crate::store::orders::{Again, Key, Order, Placed, What};
use crate::store::{Store, StoreError, runs};
use crate::view;

/// Characters of an idempotency key, at most.
const KEY: usize = 255;

/// A run that is asked for: the body of `POST /api/v1/flows/{flow}/runs`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Params that are given; the flow's defaults fill the rest.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// Take nothing from the cache.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_cache: bool,
    /// Go before everything else, for this reason, once a second person says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<String>,
}

/// What triggering did.
#[derive(Debug, Clone, PartialEq)]
pub struct Triggered {
    /// The run.
    pub run: view::Run,
    /// `false`: a repeat under the same idempotency key; the run is that of the first time.
    pub created: bool,
}

/// Creates a run of a flow's current version. `trigger` is `manual` or `api`.
pub async fn trigger(
    store: &Store,
    actor: &Actor,
    (flow, request, trigger, key): (&str, Request, &'static str, Option<&str>),
    now: Timestamp,
) -> Result<Triggered, CommandError> {
    actor.needs(Role::Operator)?;
    if let Some(reason) = &request.emergency {
        super::freezes::check_reason(reason)?;
    }
    let asked = json!({ "flow": flow, "params": request.params, "no_cache": request.no_cache, "emergency": request.emergency });
    let order = Order {
        id: clock::new_run_id(),
        actor: actor.name.clone(),
        key: checked(key)?.map(|key| Key::new("trigger", &actor.name, (key, &asked))),
        what: What::Flow {
            name: flow.to_owned(),
            params: request.params,
            trigger,
            no_cache: request.no_cache,
            emergency: request.emergency,
        },
    };
    match store.place(order, now).await? {
        Placed::NoFlow => Err(no_flow(store, flow).await?),
        placed => answer(store, (placed, key), now).await,
    }
}

/// Stops a run; answers it as it is then (`cancelling` while something still runs). `Over` when it had ended.
pub async fn cancel(
    store: &Store,
    actor: &Actor,
    run: RunId,
    now: Timestamp,
) -> Result<view::Run, CommandError> {
    actor.needs(Role::Operator)?;
    match store.cancel_run(run, Reason::Requested, now).await {
        Ok(true) => shown(store, run, now).await,
        Ok(false) => Err(CommandError::Over {
            run: run.0,
            state: runs::state_of(store, run).await?.as_str().to_owned(),
        }),
        Err(StoreError::NotFound { .. }) => Err(no_run(run)),
        Err(error) => Err(error.into()),
    }
}

/// How a run is retried: the body of `POST /api/v1/runs/{id}/retry`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// The task from which on everything runs again, whether or not it had succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Params that get another value; the others keep theirs.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
}

/// A new run on the same version (`retry_of`, trigger `retry`): what had succeeded is carried over, the rest runs. With `from`, what
/// rests on that task runs, too; with other params and no `from`, everything does. A run that succeeded is run again only so.
pub async fn retry(
    store: &Store,
    actor: &Actor,
    (run, request, key): (RunId, RetryRequest, Option<&str>),
    now: Timestamp,
) -> Result<Triggered, CommandError> {
    actor.needs(Role::Operator)?;
    let asked = json!({ "run": run, "retry": request });
    let order = Order {
        id: clock::new_run_id(),
        actor: actor.name.clone(),
        key: checked(key)?.map(|key| Key::new("retry", &actor.name, (key, &asked))),
        what: What::Retry(Again {
            run,
            from: request.from,
            params: request.params,
        }),
    };
    match store.place(order, now).await? {
        Placed::NoRun => Err(no_run(run)),
        placed => answer(store, (placed, key), now).await,
    }
}

/// Lets an emergency go, as a second person. A repeat by the same person changes nothing.
pub async fn confirm(
    store: &Store,
    actor: &Actor,
    run: RunId,
    now: Timestamp,
) -> Result<view::Run, CommandError> {
    match store.confirm_emergency(run, actor, now).await? {
        Confirmed::Before { by } if by == actor.name => shown(store, run, now).await,
        said => answer_to(said, store, run, now).await,
    }
}

/// Why an emergency is refused: the body of `POST /api/v1/runs/{id}/decline`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decline {
    /// Why; kept in the ledger.
    #[serde(default)]
    pub comment: Option<String>,
}

/// Stops an emergency that waits. Whoever could let it go refuses it; to operators it is a run like any other, which they may stop.
pub async fn decline(
    store: &Store,
    actor: &Actor,
    (run, decline): (RunId, Decline),
    now: Timestamp,
) -> Result<view::Run, CommandError> {
    if !actor.has(Role::Operator) {
        actor.needs(Role::Approver)?;
    }
    check_comment(decline.comment.as_deref())?;
    let asked = (actor, decline.comment.as_deref());
    match store.decline_emergency(run, asked, now).await? {
        Confirmed::Forbidden { .. } if actor.has(Role::Operator) => cancel(store, actor, run, now).await,
        said => answer_to(said, store, run, now).await,
    }
}

/// What an emergency is after somebody spoke.
async fn answer_to(
    said: Confirmed,
    store: &Store,
    run: RunId,
    now: Timestamp,
) -> Result<view::Run, CommandError> {
    match said {
        Confirmed::Started | Confirmed::Declined => shown(store, run, now).await,
        Confirmed::Before { by } => Err(CommandError::Invalid {
            why: format!("{by} has let this run go already"),
        }),
        Confirmed::Forbidden { why } => Err(CommandError::Forbidden { why }),
        Confirmed::Over { state } => Err(CommandError::Over { run: run.0, state }),
        Confirmed::None => Err(CommandError::NotFound {
            what: "emergency",
            name: run.to_string(),
            help: None,
        }),
    }
}

pub(super) fn checked(key: Option<&str>) -> Result<Option<&str>, CommandError> {
    let bad = |key: &&str| key.is_empty() || key.chars().count() > KEY || key.chars().any(char::is_control);
    match key.filter(bad) {
        Some(_) => Err(CommandError::Invalid {
            why: format!("an idempotency key has 1 to {KEY} characters and no control characters"),
        }),
        None => Ok(key),
    }
}

pub(super) async fn answer(
    store: &Store,
    (placed, key): (Placed, Option<&str>),
    now: Timestamp,
) -> Result<Triggered, CommandError> {
    match placed {
        Placed::Run { id, created } => Ok(Triggered {
            run: shown(store, id, now).await?,
            created,
        }),
        Placed::KeyReused => Err(CommandError::KeyReused {
            key: key.unwrap_or_default().to_owned(),
        }),
        Placed::NoTask { name, known } => Err(CommandError::NotFound {
            what: "task",
            help: spec::suggest(&name, "there are", known.iter().map(String::as_str)),
            name,
        }),
        Placed::Params(problems) => Err(CommandError::Params(problems)),
        Placed::NotRetried { state } => Err(CommandError::Invalid {
            why: match state.as_str() {
                "succeeded" => {
                    "the run succeeded: there is nothing to retry, unless from a task on or with other params"
                        .to_owned()
                }
                _ => format!("the run is {state}: only one that is over can be retried"),
            },
        }),
        Placed::Frozen { why } => Err(CommandError::Forbidden {
            why: format!("the flow is {why}; in an emergency: tidegate run FLOW --emergency --reason TEXT"),
        }),
        Placed::BuiltIn => Err(CommandError::Forbidden {
            why: format!(
                "runs of `{}` are made by `tidegate models rollback NAME@ALIAS --reason TEXT`, or from the page of the model",
                rollback::FLOW
            ),
        }),
        Placed::NotRolledBack(refusal) => Err(CommandError::NotRolledBack(refusal)),
        Placed::NameTaken => Err(CommandError::NotReady {
            why: format!(
                "a flow of yours is called `{}`, which is the name of the one that rolls back: rename it, then `tidegate apply --prune`",
                rollback::FLOW
            ),
        }),
        Placed::NoFlow | Placed::NoRun | Placed::NoAlias => {
            Err(StoreError::Broken("an order was placed on nothing".to_owned()).into())
        }
    }
}

async fn shown(store: &Store, run: RunId, now: Timestamp) -> Result<view::Run, CommandError> {
    store.run(run, now).await?.ok_or_else(|| no_run(run))
}

fn no_run(run: RunId) -> CommandError {
    CommandError::NotFound {
        what: "run",
        name: run.to_string(),
        help: None,
    }
}

pub(super) async fn no_flow(store: &Store, flow: &str) -> Result<CommandError, StoreError> {
    let names = store.flow_names().await?;
    Ok(CommandError::NotFound {
        what: "flow",
        name: flow.to_owned(),
        help: spec::suggest(flow, "there are", names.iter().map(String::as_str)),
    })
}

#[cfg(test)]
mod tests;
