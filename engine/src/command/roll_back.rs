//! Moving an alias back to a version that it pointed to before, for a reason.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::freezes::check_reason;
use super::runs::{answer, checked};
use super::{Actor, CommandError, Role, Triggered};
use crate::clock;
use crate::plugin::Registry;
use crate::spec::{self, Diagnostic, SourceFile};
use crate::store::Store;
use crate::store::flows::NewVersion;
use crate::store::orders::{Key, Order, Placed, Rollback, What};

/// The flow that rolls back, as the program carries it.
pub const ROLL_BACK: &str = include_str!("roll-back.toml");

/// Where the flow comes from, in place of a path.
const PATH: &str = "built-in/roll-back.toml";

/// Who may: it goes back to what was decided before, and whoever is on call must be able to.
const ROLES: [Role; 2] = [Role::Operator, Role::Approver];

/// A rollback that is asked for: the body of `POST /api/v1/models/{name}/aliases/{alias}/rollback`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The version that the alias points to now; where it does not, nothing happens.
    pub from: i64,
    /// The version to go back to; without it, the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// Why.
    pub reason: String,
}

/// By which way a rollback is asked for.
#[derive(Clone, Copy)]
pub struct Way<'w> {
    /// The plugins of this program; `promote` is needed.
    pub registry: &'w Registry,
    /// `manual` or `api`.
    pub trigger: &'static str,
    /// Idempotency key.
    pub key: Option<&'w str>,
}

/// Whether an actor may roll back.
pub fn may_roll_back(actor: &Actor) -> bool {
    ROLES.iter().any(|role| actor.has(*role))
}

/// Makes a run that moves `model@alias` back.
///
/// Errors: `Forbidden`; `NotFound` (model or alias); `Invalid` (no reason); `NotRolledBack`: it points elsewhere, nothing was
/// before, it never was there, or another run is about to.
pub async fn roll_back(
    store: &Store,
    actor: &Actor,
    ((model, alias), request, way): ((&str, &str), RollbackRequest, Way<'_>),
    now: Timestamp,
) -> Result<Triggered, CommandError> {
    if !may_roll_back(actor) {
        let why = format!("{} is granted neither the role operator nor approver", actor.name);
        return Err(CommandError::Forbidden { why });
    }
    check_reason(&request.reason)?;
    let asked = json!({ "model": model, "alias": alias, "rollback": request });
    let key = checked(way.key)?.map(|key| Key::new("rollback", &actor.name, (key, &asked)));
    let rollback = Rollback {
        model: model.to_owned(),
        alias: alias.to_owned(),
        from: request.from,
        to: request.to,
        reason: request.reason.trim().to_owned(),
        trigger: way.trigger,
        flow: flow(way.registry)?,
    };
    let order = Order {
        id: clock::new_run_id(),
        actor: actor.name.clone(),
        key,
        what: What::RollBack(Box::new(rollback)),
    };
    match store.place(order, now).await? {
        Placed::NoAlias => Err(no_alias(store, (model, alias)).await?),
        placed => answer(store, (placed, way.key), now).await,
    }
}

/// The flow, checked against the plugins there are.
fn flow(registry: &Registry) -> Result<NewVersion, CommandError> {
    let source = SourceFile {
        built_in: true,
        ..SourceFile::new(PATH, ROLL_BACK)
    };
    let checked = spec::check(&source, registry, &|_| None).map_err(|found| {
        let told: Vec<String> = found.iter().map(Diagnostic::to_string).collect();
        CommandError::NotReady {
            why: format!("this program cannot roll back: {}", told.join("; ")),
        }
    })?;
    Ok(NewVersion {
        flow: checked.flow,
        hash: checked.version,
        path: source.path,
        source: source.text,
        actor: Actor::system().name,
    })
}

/// Which of the two there is not, with the nearest name.
async fn no_alias(store: &Store, (model, alias): (&str, &str)) -> Result<CommandError, CommandError> {
    let models = store.models().await?;
    let names = models.iter().map(|known| known.name.as_str());
    let Some(found) = models.iter().find(|known| known.name == model) else {
        return Ok(CommandError::NotFound {
            what: "model",
            name: model.to_owned(),
            help: spec::suggest(model, "there are", names),
        });
    };
    let aliases = found.aliases.iter().map(|known| known.alias.as_str());
    Ok(CommandError::NotFound {
        what: "alias",
        name: format!("{model}@{alias}"),
        help: spec::suggest(alias, "the model has", aliases),
    })
}
