//! Runs that people and programs ask for: each made once, however often it is asked for under one key.

mod batch;
mod desk;

use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::idempotency;
use super::{Result, Store, retries, rollbacks};
use crate::id::RunId;
use crate::rollback::Refusal;
use crate::spec::params::ParamProblem;

pub(super) use self::desk::Desk;
pub use super::idempotency::Key;
pub use super::retries::Again;
pub use super::rollbacks::Rollback;

/// A run that is asked for.
#[derive(Debug, Clone)]
pub struct Order {
    /// The run's identity, chosen before: a transaction whose COMMIT lost its answer finds its own run again.
    pub id: RunId,
    /// Who asks.
    pub actor: String,
    /// Key under which a repeat is known.
    pub key: Option<Key>,
    /// What is asked for.
    pub what: What,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub enum What {
    /// A run of a flow's current version.
    Flow {
        name: String,
        params: Map<String, Value>,
        trigger: &'static str,
        no_cache: bool,
        emergency: Option<String>,
    },
    /// A run that ended, again: what did not succeed, or from a task on, or with other params.
    Retry(Again),
    /// A run that moves an alias back.
    RollBack(Box<Rollback>),
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq)]
pub enum Placed {
    /// The run is there; `created`: by this order.
    Run { id: RunId, created: bool },
    /// The key was used for another request.
    KeyReused,
    /// There is no such flow.
    NoFlow,
    /// There is no such run.
    NoRun,
    /// The params do not fit.
    Params(Vec<ParamProblem>),
    /// The flow has no such task to go on from; those it has.
    NoTask { name: String, known: Vec<String> },
    /// The flow is frozen, in words.
    Frozen { why: String },
    /// There is nothing to retry in a run of this state.
    NotRetried { state: String },
    /// The flow is one that the program brings along: its runs are made by a verb of their own.
    BuiltIn,
    /// A flow of somebody's has the name of one that the program brings along.
    NameTaken,
    /// The model has no such alias, or there is no such model.
    NoAlias,
    /// The alias does not go back.
    NotRolledBack(Refusal),
}

impl Store {
    /// Makes the run that is asked for. Orders for flows that come while others are being placed are placed together.
    pub async fn place(&self, order: Order, now: Timestamp) -> Result<Placed> {
        if matches!(order.what, What::Flow { .. }) {
            return desk::hand_in(self, order, now).await;
        }
        let store = self.clone();
        self.transact(move |conn| {
            let (store, order) = (store.clone(), order.clone());
            Box::pin(async move { place_alone(&store, conn, &order, now).await })
        })
        .await
    }

    /// Names of all flows that were not removed.
    pub async fn flow_names(&self) -> Result<Vec<String>> {
        let names = sqlx::query_scalar("select name from flow where removed_at is null order by name");
        Ok(names.fetch_all(self.pool()).await?)
    }
}

async fn place_alone(
    store: &Store,
    conn: &mut PgConnection,
    order: &Order,
    now: Timestamp,
) -> Result<Placed> {
    let keys: Vec<&Key> = order.key.iter().collect();
    let known = idempotency::look_up(conn, &keys).await?;
    if let Some(placed) = order.key.as_ref().and_then(|key| known.answer(key, order.id)) {
        return Ok(placed);
    }
    let placed = match &order.what {
        What::Flow { .. } => return Ok(Placed::NoFlow),
        What::Retry(again) => retries::retry(store, conn, (order, again), now).await?,
        What::RollBack(back) => rollbacks::roll_back(store, conn, (order, back), now).await?,
    };
    if let (Placed::Run { id, .. }, Some(key)) = (&placed, &order.key) {
        idempotency::keep(conn, &[(key, *id)], now).await?;
    }
    Ok(placed)
}

#[cfg(test)]
mod tests;
