//! Runs that people and programs ask for: each made once, however often it is asked for under one key.

use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::idempotency::{self, Known};
use super::runs::{NewRun, Origin};
use super::{Result, Store, StoreError, admission, freezes, retries, runs};
use crate::id::RunId;
use crate::spec::params::{self, ParamProblem};

pub use super::idempotency::Key;
pub use super::retries::Again;

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
}

impl Store {
    /// Makes the run that is asked for.
    pub async fn place(&self, order: Order, now: Timestamp) -> Result<Placed> {
        let store = self.clone();
        self.transact(move |conn| {
            let (store, order) = (store.clone(), order.clone());
            Box::pin(async move { place(&store, conn, &order, now).await })
        })
        .await
    }

    /// Names of all flows that were not removed.
    pub async fn flow_names(&self) -> Result<Vec<String>> {
        let names = sqlx::query_scalar("select name from flow where removed_at is null order by name");
        Ok(names.fetch_all(self.pool()).await?)
    }
}

async fn place(store: &Store, conn: &mut PgConnection, order: &Order, now: Timestamp) -> Result<Placed> {
    if let Some(key) = &order.key {
        match idempotency::look_up(conn, key).await? {
            Known::Nothing => {}
            Known::Other => return Ok(Placed::KeyReused),
            Known::Run(id) => {
                let created = id == order.id;
                return Ok(Placed::Run { id, created });
            }
        }
    }
    let placed = match &order.what {
        What::Flow { .. } => trigger(store, conn, order, now).await?,
        What::Retry(again) => retries::retry(store, conn, (order, again), now).await?,
    };
    if let (Placed::Run { id, .. }, Some(key)) = (&placed, &order.key) {
        idempotency::keep(conn, key, *id, now).await?;
    }
    Ok(placed)
}

async fn trigger(store: &Store, conn: &mut PgConnection, order: &Order, now: Timestamp) -> Result<Placed> {
    let What::Flow {
        name,
        params,
        trigger,
        no_cache,
        emergency,
    } = &order.what
    else {
        return Ok(Placed::NoFlow);
    };
    let admission = match admission::lock_flow(conn, name).await {
        Err(StoreError::NotFound { .. }) => return Ok(Placed::NoFlow),
        Ok(flow) if flow.removed => return Ok(Placed::NoFlow),
        flow => flow?,
    };
    if admission.frozen
        && emergency.is_none()
        && let Some(freeze) = freezes::over(conn, name, true).await?
    {
        let why = freeze.sentence();
        return Ok(Placed::Frozen { why });
    }
    let version = admission.version;
    let flow = store.definition(conn, &version).await?;
    let params = match params::resolve(&flow, params.clone()) {
        Ok(params) => params,
        Err(problems) => return Ok(Placed::Params(problems)),
    };
    let new = NewRun {
        id: order.id,
        flow: name.clone(),
        version: None,
        trigger: (*trigger).to_owned(),
        requester: order.actor.clone(),
        tick: None,
        params,
    };
    let origin = Origin {
        no_cache: *no_cache,
        emergency: emergency.clone(),
        ..Origin::default()
    };
    runs::create_locked(store, conn, (&new, &version, &origin), now).await?;
    Ok(Placed::Run {
        id: order.id,
        created: true,
    })
}

#[cfg(test)]
mod tests;
