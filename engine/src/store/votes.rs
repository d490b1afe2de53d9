//! Votes: what people say to an approval, and when it is decided by them.

use jiff::Timestamp;
use serde_json::json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::approvals::{self, Close, Closing, Held};
use super::bell::{self, Rings};
use super::ledger::Entry;
use super::locked::LockedRun;
use super::text::clean_text;
use super::{Result, Store, StoreError, people, pg};
use crate::command::{Actor, Choice, Decision, Role};

/// What became of a vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// It counts, or did when it was sent before.
    Counted,
    /// This actor may not decide.
    Forbidden { why: String },
    /// The approval was closed before, in this state.
    Closed { state: String },
    /// Its time is over.
    Expired { at: Timestamp },
    /// The evidence has this digest, not the one that was read.
    Changed { digest: String },
    /// There is no such approval.
    Unknown,
}

impl Choice {
    /// The word, as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }
}

impl Store {
    /// Takes what an actor says to an approval. The vote that decides closes it in the same transaction.
    pub async fn vote(
        &self,
        actor: &Actor,
        (approval, decision): (Uuid, Decision),
        now: Timestamp,
    ) -> Result<Ruling> {
        match self.ballot(actor, (approval, &decision), now).await {
            // Its time ended between two statements. Now that is plain to see.
            Err(StoreError::Stale) => self.ballot(actor, (approval, &decision), now).await,
            done => done,
        }
    }

    async fn ballot(
        &self,
        actor: &Actor,
        (approval, decision): (Uuid, &Decision),
        now: Timestamp,
    ) -> Result<Ruling> {
        let (store, actor, decision) = (self.clone(), actor.clone(), decision.clone());
        self.transact(move |conn| {
            let (store, actor, decision) = (store.clone(), actor.clone(), decision.clone());
            Box::pin(async move { vote(&store, conn, (&actor, approval, &decision), now).await })
        })
        .await
    }
}

async fn vote(
    store: &Store,
    conn: &mut PgConnection,
    (actor, approval, decision): (&Actor, Uuid, &Decision),
    now: Timestamp,
) -> Result<Ruling> {
    let Some((run, held)) = approvals::lock(store, conn, approval).await? else {
        return Ok(Ruling::Unknown);
    };
    if let Some(why) = objection(conn, actor, (&run, &held)).await? {
        return Ok(Ruling::Forbidden { why });
    }
    if said_before(conn, actor, (&held, decision)).await? {
        return Ok(Ruling::Counted);
    }
    let late = Ruling::Expired { at: held.expires_at };
    match held.state.as_str() {
        "open" => {}
        "expired" => return Ok(late),
        state => {
            let state = state.to_owned();
            return Ok(Ruling::Closed { state });
        }
    }
    if held.late {
        let closing = Closing::expiry(&run, &held);
        approvals::close((run, &held), conn, closing, now).await?;
        return Ok(late);
    }
    if decision.evidence != held.digest {
        return Ok(Ruling::Changed { digest: held.digest });
    }
    insert(conn, (actor, &held, decision), now).await?;
    let Some(how) = outcome(conn, &held).await? else {
        return Ok(Ruling::Counted);
    };
    let no = (how == Close::Declined).then_some(decision.comment.as_deref());
    let closing = Closing {
        how,
        why: no.map(|comment| declined_by(&actor.name, comment)),
        entry: Some(entry(conn, actor, (&run, &held, how)).await?),
    };
    if approvals::close((run, &held), conn, closing, now).await? {
        Ok(Ruling::Counted)
    } else {
        Err(StoreError::Stale)
    }
}

/// Why an actor may not decide, by the grants of this moment.
async fn objection(
    conn: &mut PgConnection,
    actor: &Actor,
    (run, held): (&LockedRun, &Held),
) -> Result<Option<String>> {
    let name = &actor.name;
    if !actor.is_person {
        return Ok(Some(format!("{name} is no person, and only people decide")));
    }
    let Some(standing) = people::standing(conn, name).await? else {
        return Ok(Some(format!("nobody who may decide is called {name}")));
    };
    if !(is_asked(actor, held) && is_asked(&standing, held)) {
        let asked = held.by.join(", ");
        return Ok(Some(format!("{name} is not among those who are asked: {asked}")));
    }
    let own: bool = sqlx::query_scalar("select has_asked_for($1, $2)")
        .bind(run.id.0)
        .bind(name)
        .fetch_one(conn)
        .await?;
    let own = own && !held.allow_requester;
    Ok(own.then(|| format!("{name} asked for this run, so somebody else must decide on it")))
}

fn is_asked(actor: &Actor, held: &Held) -> bool {
    held.by.iter().any(|who| match who.split_once(':') {
        Some(("role", role)) => Role::parse(role).is_some_and(|role| actor.has(role)),
        Some(("user", name)) => actor.name == name,
        _ => false,
    })
}

/// A no in words.
pub(super) fn declined_by(name: &str, comment: Option<&str>) -> String {
    match comment.map(str::trim).filter(|comment| !comment.is_empty()) {
        Some(comment) => format!("declined by {name}: {}", clean_text(comment.to_owned())),
        None => format!("declined by {name}"),
    }
}

async fn said_before(
    conn: &mut PgConnection,
    actor: &Actor,
    (held, decision): (&Held, &Decision),
) -> Result<bool> {
    let said = sqlx::query(
        "select 1 from vote where approval = $1 and actor = $2 and decision = $3 and digest = $4",
    )
    .bind(held.id)
    .bind(&actor.name)
    .bind(decision.decision.as_str())
    .bind(&decision.evidence)
    .fetch_optional(conn)
    .await?;
    Ok(said.is_some())
}

/// Writes a vote. Who said yes while others are still asked may yet say no.
async fn insert(
    conn: &mut PgConnection,
    (actor, held, decision): (&Actor, &Held, &Decision),
    now: Timestamp,
) -> Result<()> {
    let comment = decision.comment.clone().map(clean_text);
    let comment = comment.filter(|comment| !comment.trim().is_empty());
    sqlx::query(
        "insert into vote (approval, actor, decision, comment, digest, at) values ($1, $2, $3, $4, $5, $6)
         on conflict (approval, actor) do update set decision = excluded.decision, comment = excluded.comment,
           digest = excluded.digest, at = excluded.at",
    )
    .bind(held.id)
    .bind(&actor.name)
    .bind(decision.decision.as_str())
    .bind(comment)
    .bind(&decision.evidence)
    .bind(pg(now))
    .execute(conn)
    .await?;
    bell::note(Rings::CHANGED);
    Ok(())
}

/// What the votes come to so far: one no decides, a yes when there are enough of them.
async fn outcome(conn: &mut PgConnection, held: &Held) -> Result<Option<Close>> {
    let (yes, no): (i64, i64) = sqlx::query_as(
        "select count(*) filter (where decision = 'approve'), count(*) filter (where decision = 'reject')
         from vote where approval = $1",
    )
    .bind(held.id)
    .fetch_one(conn)
    .await?;
    if no > 0 {
        return Ok(Some(Close::Declined));
    }
    Ok((yes >= held.required).then_some(Close::Approved))
}

/// What the ledger keeps of a decision.
async fn entry(
    conn: &mut PgConnection,
    actor: &Actor,
    (run, held, how): (&LockedRun, &Held, Close),
) -> Result<Entry> {
    let rows =
        sqlx::query("select actor, decision, comment from vote where approval = $1 order by at, actor")
            .bind(held.id)
            .fetch_all(conn)
            .await?;
    let votes = rows.iter().map(|row| {
        Ok(json!({
            "actor": row.try_get::<String, _>("actor")?,
            "decision": row.try_get::<String, _>("decision")?,
            "comment": row.try_get::<Option<String>, _>("comment")?,
        }))
    });
    let votes: Vec<_> = votes.collect::<Result<_>>()?;
    Ok(Entry {
        kind: "approval_decided".to_owned(),
        actor: actor.name.clone(),
        run: Some(run.id),
        body: json!({
            "approval": held.id,
            "task": run.flow.graph.task(held.idx).name,
            "decision": how.state(),
            "evidence": held.digest,
            "votes": votes,
        }),
    })
}
