//! Orders for runs of flows, placed together: each statement once for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::PgConnection;

use super::super::admission::{self, Admission, Standing};
use super::super::idempotency::{self, Answers};
use super::super::locked::{self, LockedRun};
use super::super::runs::{self, Head, NewRun, Origin};
use super::super::{Result, Store, emergencies, freezes};
use super::{Key, Order, Placed, What};
use crate::rollback;
use crate::spec::params;

/// An order, and when it was asked for.
pub(super) type Asked = (Order, Timestamp);

/// Places orders in one transaction; answers what became of each, in order.
pub(super) async fn place(store: &Store, orders: Vec<Asked>) -> Result<Vec<Placed>> {
    let (shared, orders) = (store.clone(), Arc::new(orders));
    store
        .transact(move |conn| {
            let (store, orders) = (shared.clone(), Arc::clone(&orders));
            Box::pin(async move { place_all(&store, conn, &orders).await })
        })
        .await
}

/// A run that is about to be made.
struct Draft {
    new: NewRun,
    admission: Arc<Admission>,
    origin: Origin,
    run: LockedRun,
}

impl Draft {
    fn head(&self) -> Head<'_> {
        Head {
            new: &self.new,
            version: &self.admission.version,
            origin: &self.origin,
            run: &self.run,
        }
    }
}

async fn place_all(store: &Store, conn: &mut PgConnection, orders: &[Asked]) -> Result<Vec<Placed>> {
    let keys: Vec<&Key> = orders
        .iter()
        .filter_map(|(order, _)| order.key.as_ref())
        .collect();
    let mut known = idempotency::look_up(conn, &keys).await?;
    let mut flows = Flows::lock(conn, orders).await?;
    let (mut placed, mut drafts, mut keep) = (Vec::with_capacity(orders.len()), Vec::new(), Vec::new());
    for asked in orders {
        placed.push(match one(store, conn, (asked, &mut known, &mut flows)).await? {
            Answer::Now(placed) => placed,
            Answer::Makes(draft) => {
                let id = draft.new.id;
                keep.extend(asked.0.key.as_ref().map(|key| (key, id)));
                drafts.push(*draft);
                Placed::Run { id, created: true }
            }
        });
    }
    let now = orders.iter().map(|(_, at)| *at).max().unwrap_or_default();
    insert(conn, drafts, now).await?;
    idempotency::keep(conn, &keep, now).await?;
    Ok(placed)
}

/// The flows that are asked for, locked, and their runs.
struct Flows(BTreeMap<String, (Arc<Admission>, Standing)>);

impl Flows {
    async fn lock(conn: &mut PgConnection, orders: &[Asked]) -> Result<Self> {
        let names = orders.iter().filter_map(|(order, _)| match &order.what {
            What::Flow { name, .. } => Some(name.as_str()),
            What::Retry(_) | What::RollBack(_) => None,
        });
        let names: Vec<&str> = names.collect::<BTreeSet<_>>().into_iter().collect();
        let admissions = admission::lock_flows(conn, &names).await?;
        let mut standings = Standing::of_all(conn, (&names, false)).await?;
        let of = |(name, admission): (String, Admission)| {
            let standing = standings.remove(&name).unwrap_or_default();
            (name, (Arc::new(admission), standing))
        };
        Ok(Self(admissions.into_iter().map(of).collect()))
    }
}

/// Inserts the runs; those that exist were made by a try before, whose answer was lost.
async fn insert(conn: &mut PgConnection, mut drafts: Vec<Draft>, now: Timestamp) -> Result<()> {
    if drafts.is_empty() {
        return Ok(());
    }
    let heads: Vec<Head<'_>> = drafts.iter().map(Draft::head).collect();
    let made = runs::insert_heads(conn, &heads, now).await?;
    drafts.retain(|draft| made.contains(&draft.new.id));
    for Draft { new, origin, .. } in &drafts {
        if let Some(reason) = &origin.emergency {
            emergencies::declare(conn, (new.id, reason), (&new.requester, now)).await?;
        }
    }
    let runs: Vec<LockedRun> = drafts.into_iter().map(|draft| draft.run).collect();
    if runs.is_empty() {
        return Ok(());
    }
    locked::write_new(conn, &runs, now).await
}

/// What is known of an order before anything is written.
enum Answer {
    Now(Placed),
    Makes(Box<Draft>),
}

async fn one(
    store: &Store,
    conn: &mut PgConnection,
    ((order, now), known, flows): (&Asked, &mut Answers, &mut Flows),
) -> Result<Answer> {
    let What::Flow {
        name,
        params,
        trigger,
        no_cache,
        emergency,
    } = &order.what
    else {
        return Ok(Answer::Now(Placed::NoFlow));
    };
    if let Some(placed) = order.key.as_ref().and_then(|key| known.answer(key, order.id)) {
        return Ok(Answer::Now(placed));
    }
    if name == rollback::FLOW {
        return Ok(Answer::Now(Placed::BuiltIn));
    }
    let Some((admission, standing)) = flows.0.get_mut(name).filter(|(admission, _)| !admission.removed)
    else {
        return Ok(Answer::Now(Placed::NoFlow));
    };
    if admission.frozen
        && emergency.is_none()
        && let Some(freeze) = freezes::over(conn, name, true).await?
    {
        return Ok(Answer::Now(Placed::Frozen {
            why: freeze.sentence(),
        }));
    }
    let flow = store.definition(conn, &admission.version).await?;
    let params = match params::resolve(&flow, params.clone()) {
        Ok(params) => params,
        Err(problems) => return Ok(Answer::Now(Placed::Params(problems))),
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
    // An emergency waits for a second person, and stands in nobody's way.
    let starts = emergency.is_none() && standing.take_in(flow.max_active);
    let run = runs::begin((&new, &origin), (flow, starts), *now)?;
    store.lately.meet(run.id, &run.flow);
    if let Some(key) = &order.key {
        known.note(key, order.id);
    }
    let admission = Arc::clone(admission);
    Ok(Answer::Makes(Box::new(Draft {
        new,
        admission,
        origin,
        run,
    })))
}
