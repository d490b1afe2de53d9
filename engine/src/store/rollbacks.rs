//! Moving an alias back: a run of the flow that the program brings along, with the reason in the ledger.
//!
//! Under the lock of that flow it is asked whether the alias still points to where somebody saw it, whether it was at the target before,
//! and whether another run is about to move it. The run asks the first once more, by compare-and-swap (`promote` with `from`).

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::flows::NewVersion;
use super::orders::{Order, Placed};
use super::read::models::moves_of;
use super::runs::{NewRun, Origin};
use super::tokens::SERVICE;
use super::{Result, Store, admission, flows, freezes, runs};
use crate::id::RunId;
use crate::rollback::{FLOW, Past, Refusal};
use crate::spec::params;

/// The entry of the ledger that says who asked for a rollback, and why.
pub(super) const REQUESTED: &str = "rollback_requested";

/// A rollback that is asked for.
#[derive(Debug, Clone)]
pub struct Rollback {
    /// The model.
    pub model: String,
    /// The alias.
    pub alias: String,
    /// Where whoever asks saw the alias.
    pub from: i64,
    /// Where it shall go; `None`: to what lies before.
    pub to: Option<i64>,
    /// Why.
    pub reason: String,
    /// `manual` or `api`.
    pub trigger: &'static str,
    /// The flow, as this program carries it.
    pub flow: NewVersion,
}

impl Rollback {
    fn name(&self) -> String {
        format!("{}@{}", self.model, self.alias)
    }
}

pub(super) async fn roll_back(
    store: &Store,
    conn: &mut PgConnection,
    (order, back): (&Order, &Rollback),
    now: Timestamp,
) -> Result<Placed> {
    let made = Placed::Run {
        id: order.id,
        created: true,
    };
    // By a try whose COMMIT was carried out though its answer was lost.
    if exists(conn, order.id).await? {
        return Ok(made);
    }
    if is_taken(conn, &back.flow.path).await? {
        return Ok(Placed::NameTaken);
    }
    flows::apply(store, conn, (&back.flow, &[]), now).await?;
    admission::lock_flow(conn, FLOW).await?;
    let to = match judge(conn, back).await? {
        Judged::To(version) => version,
        Judged::Not(placed) => return Ok(placed),
    };
    let params = match params::resolve(&back.flow.flow, given(back, to)) {
        Ok(params) => params,
        Err(problems) => return Ok(Placed::Params(problems)),
    };
    let new = NewRun {
        id: order.id,
        flow: FLOW.to_owned(),
        version: None,
        trigger: back.trigger.to_owned(),
        requester: order.actor.clone(),
        tick: None,
        params,
    };
    runs::create(store, conn, (&new, &Origin::default()), now).await?;
    let body = json!({
        "model": back.model, "alias": back.alias, "from": back.from, "to": to, "reason": back.reason,
    });
    freezes::note(conn, (REQUESTED, Some(order.id), body), (&order.actor, now)).await?;
    Ok(made)
}

/// Who asked for the rollback that a run is, and why; `None`: it is none, or a service asked, which passes no freeze.
pub(super) async fn asked_by_somebody(
    conn: &mut PgConnection,
    run: RunId,
) -> Result<Option<(String, String)>> {
    let asked = sqlx::query_as(
        "select actor, body::jsonb ->> 'reason' from ledger
         where run = $1 and kind = $2 and not starts_with(actor, $3)",
    );
    let asked = asked.bind(run.0).bind(REQUESTED).bind(SERVICE);
    Ok(asked.fetch_optional(conn).await?)
}

enum Judged {
    To(i64),
    Not(Placed),
}

async fn judge(conn: &mut PgConnection, back: &Rollback) -> Result<Judged> {
    let now: Option<Option<i64>> =
        sqlx::query_scalar("select version from model_alias where model = $1 and alias = $2")
            .bind(&back.model)
            .bind(&back.alias)
            .fetch_optional(&mut *conn)
            .await?;
    let Some(now) = now else {
        return Ok(Judged::Not(Placed::NoAlias));
    };
    let (name, from) = (back.name(), back.from);
    let refused = |refusal| Ok(Judged::Not(Placed::NotRolledBack(refusal)));
    if now != Some(from) {
        return refused(Refusal::Moved { name, from, now });
    }
    if let Some(run) = under_way(conn, back).await? {
        return refused(Refusal::UnderWay { name, run });
    }
    let moves = moves_of(conn, &back.model).await?;
    match Past::of(&moves, &back.alias).judge(&name, (from, back.to)) {
        Ok(version) => Ok(Judged::To(version)),
        Err(refusal) => refused(refusal),
    }
}

/// The run that is about to move this alias back.
async fn under_way(conn: &mut PgConnection, back: &Rollback) -> Result<Option<Uuid>> {
    let run = sqlx::query_scalar(
        "select r.id from active_run a join run r on r.id = a.run
         where a.flow = $1 and r.params ->> 'model' = $2 and r.params ->> 'alias' = $3 order by r.id limit 1",
    );
    let run = run.bind(FLOW).bind(&back.model).bind(&back.alias);
    Ok(run.fetch_optional(conn).await?)
}

/// Whether a flow of somebody's, from before there was this one, has its name.
async fn is_taken(conn: &mut PgConnection, path: &str) -> Result<bool> {
    let taken = sqlx::query_scalar(
        "select exists (select from flow f join flow_version v on v.hash = f.version
                        where f.name = $1 and f.removed_at is null and v.path <> $2)",
    );
    Ok(taken.bind(FLOW).bind(path).fetch_one(conn).await?)
}

async fn exists(conn: &mut PgConnection, run: RunId) -> Result<bool> {
    let found = sqlx::query_scalar("select exists (select from run where id = $1)");
    Ok(found.bind(run.0).fetch_one(conn).await?)
}

fn given(back: &Rollback, to: i64) -> Map<String, Value> {
    let params = json!({
        "model": back.model, "alias": back.alias, "from": back.from, "version": to, "reason": back.reason,
    });
    params.as_object().cloned().unwrap_or_default()
}
