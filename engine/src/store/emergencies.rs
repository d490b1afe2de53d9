//! The lane for emergencies: a run that goes before everything else, once a second person has said yes.
//!
//! It is made `queued` and takes no place; the yes starts it whatever else runs, and a no of the same people ends it. Its task runs are
//! first in every queue and in the line for every pool, and its guarded tasks pass freeze windows. All of it is kept in the ledger.

use jiff::Timestamp;
use serde_json::json;
use sqlx::PgConnection;

use super::bell::{self, Rings};
use super::freezes::note;
use super::locked::LockedRun;
use super::votes::declined_by;
use super::{Result, Store, clean_text, pg};
use crate::command::{Actor, Role};
use crate::id::RunId;
use crate::state::Reason;
use crate::state::run::RunState;
use crate::view::Emergency;

/// What became of a second person's yes or no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmed {
    /// The run goes.
    Started,
    /// The run is stopped.
    Declined,
    /// A yes was said before.
    Before { by: String },
    /// This actor may not.
    Forbidden { why: String },
    /// The run is over.
    Over { state: String },
    /// The run is no emergency, or there is none.
    None,
}

impl Store {
    /// Lets an emergency go, as a second person.
    pub async fn confirm_emergency(&self, run: RunId, actor: &Actor, now: Timestamp) -> Result<Confirmed> {
        let (store, actor) = (self.clone(), actor.clone());
        self.transact(move |conn| {
            let (store, actor) = (store.clone(), actor.clone());
            Box::pin(async move { confirm(&store, conn, (run, &actor), now).await })
        })
        .await
    }

    /// Stops an emergency that waits, as a second person. Who may let it go may refuse it.
    pub async fn decline_emergency(
        &self,
        run: RunId,
        (actor, comment): (&Actor, Option<&str>),
        now: Timestamp,
    ) -> Result<Confirmed> {
        let (store, actor, comment) = (self.clone(), actor.clone(), comment.map(str::to_owned));
        self.transact(move |conn| {
            let (store, actor, comment) = (store.clone(), actor.clone(), comment.clone());
            Box::pin(async move { decline(&store, conn, (run, &actor, comment), now).await })
        })
        .await
    }

    /// Who refused an emergency, and why, in words; `None`: nobody did.
    pub(super) async fn refusal_of_emergency(&self, run: RunId) -> Result<Option<String>> {
        let row: Option<(String, Option<String>)> = sqlx::query_as(
            "select actor, body::jsonb ->> 'comment' from ledger where run = $1 and kind = 'emergency_declined'",
        )
        .bind(run.0)
        .fetch_optional(self.pool())
        .await?;
        Ok(row.map(|(actor, comment)| declined_by(&actor, comment.as_deref())))
    }

    /// The emergency that a run is; `None`: it is none.
    pub async fn emergency(&self, run: RunId) -> Result<Option<Emergency>> {
        let row: Option<(String, Option<String>, Option<jiff_sqlx::Timestamp>)> =
            sqlx::query_as("select reason, confirmed_by, confirmed_at from emergency where run = $1")
                .bind(run.0)
                .fetch_optional(self.pool())
                .await?;
        Ok(row.map(|(reason, confirmed_by, at)| Emergency {
            reason,
            confirmed_by,
            confirmed_at: at.map(|at| at.to_jiff()),
        }))
    }
}

/// Notes what a run is that was just made.
pub(super) async fn declare(
    conn: &mut PgConnection,
    (run, reason): (RunId, &str),
    (actor, now): (&str, Timestamp),
) -> Result<()> {
    sqlx::query("insert into emergency (run, reason) values ($1, $2)")
        .bind(run.0)
        .bind(reason)
        .execute(&mut *conn)
        .await?;
    let body = json!({ "reason": reason });
    note(conn, ("emergency_declared", Some(run), body), (actor, now)).await
}

/// Makes a run that an emergency made a part of it: the same reason, the same yes.
pub(super) async fn pass_on(
    conn: &mut PgConnection,
    (from, to): (RunId, RunId),
    (actor, now): (&str, Timestamp),
) -> Result<()> {
    sqlx::query(
        "insert into emergency (run, reason, confirmed_by, confirmed_at)
         select $2, reason, confirmed_by, confirmed_at from emergency where run = $1",
    )
    .bind(from.0)
    .bind(to.0)
    .execute(&mut *conn)
    .await?;
    let body = json!({ "parent": from });
    note(conn, ("emergency_passed_on", Some(to), body), (actor, now)).await
}

async fn confirm(
    store: &Store,
    conn: &mut PgConnection,
    (id, actor): (RunId, &Actor),
    now: Timestamp,
) -> Result<Confirmed> {
    let (mut run, reason) = match waiting(store, conn, (id, actor)).await? {
        Ok(waiting) => waiting,
        Err(standing) => return Ok(standing),
    };
    sqlx::query("update emergency set confirmed_by = $2, confirmed_at = $3 where run = $1")
        .bind(id.0)
        .bind(&actor.name)
        .bind(pg(now))
        .execute(&mut *conn)
        .await?;
    let body = json!({ "reason": reason });
    run.load_all(conn).await?;
    run.start(now)?;
    run.write(conn, now).await?;
    note(conn, ("emergency_confirmed", Some(id), body), (&actor.name, now)).await?;
    bell::note(Rings::WORKERS | Rings::CHANGED);
    Ok(Confirmed::Started)
}

async fn decline(
    store: &Store,
    conn: &mut PgConnection,
    (id, actor, comment): (RunId, &Actor, Option<String>),
    now: Timestamp,
) -> Result<Confirmed> {
    let (mut run, reason) = match waiting(store, conn, (id, actor)).await? {
        Ok(waiting) => waiting,
        Err(standing) => return Ok(standing),
    };
    let comment = comment
        .map(clean_text)
        .filter(|comment| !comment.trim().is_empty());
    let body = json!({ "reason": reason, "comment": comment });
    run.load_all(conn).await?;
    run.cancel(Reason::Declined, now)?;
    run.write(conn, now).await?;
    note(conn, ("emergency_declined", Some(id), body), (&actor.name, now)).await?;
    Ok(Confirmed::Declined)
}

/// Locks an emergency that waits for this actor; answers why it was declared. `Err`: there is nothing for them to say.
async fn waiting(
    store: &Store,
    conn: &mut PgConnection,
    (id, actor): (RunId, &Actor),
) -> Result<std::result::Result<(LockedRun, String), Confirmed>> {
    let Some(run) = LockedRun::lock(store, conn, id).await? else {
        return Ok(Err(Confirmed::None));
    };
    let row: Option<(String, Option<String>)> =
        sqlx::query_as("select reason, confirmed_by from emergency where run = $1 for update")
            .bind(id.0)
            .fetch_optional(&mut *conn)
            .await?;
    let Some((reason, before)) = row else {
        return Ok(Err(Confirmed::None));
    };
    if let Some(by) = before {
        return Ok(Err(Confirmed::Before { by }));
    }
    if run.view.state != RunState::Queued {
        let state = run.view.state.as_str().to_owned();
        return Ok(Err(Confirmed::Over { state }));
    }
    if let Some(why) = objection(conn, (id, actor)).await? {
        return Ok(Err(Confirmed::Forbidden { why }));
    }
    Ok(Ok((run, reason)))
}

/// Why an actor is no second person.
async fn objection(conn: &mut PgConnection, (run, actor): (RunId, &Actor)) -> Result<Option<String>> {
    let name = &actor.name;
    if !actor.is_person {
        return Ok(Some(format!("{name} is no person, and only people decide")));
    }
    let standing = super::people::standing(conn, name).await?;
    if !standing.is_some_and(|standing| standing.has(Role::Approver)) {
        return Ok(Some(format!("{name} is not granted the role {}", Role::Approver)));
    }
    let own: bool = sqlx::query_scalar("select has_asked_for($1, $2)")
        .bind(run.0)
        .bind(name)
        .fetch_one(conn)
        .await?;
    Ok(own.then(|| format!("{name} asked for this run, so somebody else must decide on it")))
}
