//! Answers that were given under a key: a repeat of the request gets the same again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::orders::Placed;
use super::{Result, StoreError, pg};
use crate::canonical;
use crate::id::RunId;

/// A key as its caller chose it, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The verb.
    pub scope: &'static str,
    /// Whose key: two people's keys never meet.
    pub actor: String,
    /// The key.
    pub key: String,
    /// SHA-256 of the request.
    pub request: String,
}

/// What is known under keys.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<Name, Answer>);

/// A key without what it is for.
type Name = (&'static str, String, String);

/// A request that was answered, and the run it made.
#[derive(Debug)]
struct Answer {
    request: String,
    run: RunId,
}

impl Answers {
    /// What a request under a key gets again. `None`: it is new. `order`: the run that it would make, which is there already when only
    /// the answer to its transaction was lost.
    pub(super) fn answer(&self, key: &Key, order: RunId) -> Option<Placed> {
        let Answer { request, run } = self.0.get(&key.name())?;
        Some(match *request == key.request {
            true => Placed::Run {
                id: *run,
                created: *run == order,
            },
            false => Placed::KeyReused,
        })
    }

    /// Notes what a request of this transaction makes.
    pub(super) fn note(&mut self, key: &Key, run: RunId) {
        let request = key.request.clone();
        self.0.insert(key.name(), Answer { request, run });
    }
}

impl Key {
    /// A key for a request.
    pub fn new(scope: &'static str, actor: &str, (key, request): (&str, &Value)) -> Self {
        Self {
            scope,
            actor: actor.to_owned(),
            key: key.to_owned(),
            request: hex::encode(Sha256::digest(canonical::text(request))),
        }
    }

    fn name(&self) -> Name {
        (self.scope, self.actor.clone(), self.key.clone())
    }
}

/// Looks keys up; until the transaction ends nobody else can use them.
pub(super) async fn look_up(conn: &mut PgConnection, keys: &[&Key]) -> Result<Answers> {
    if keys.is_empty() {
        return Ok(Answers::default());
    }
    let named = keys
        .iter()
        .map(|key| json!([key.scope, key.actor, key.key]).to_string());
    // In one order, whoever takes several.
    sqlx::query(
        "select pg_advisory_xact_lock(hash)
         from (select distinct hashtextextended(name, 0) as hash from unnest($1::text[]) as u(name) order by hash) as locks",
    )
    .bind(named.collect::<Vec<_>>())
    .execute(&mut *conn)
    .await?;
    let rows: Vec<(i64, String, String)> = sqlx::query_as(
        "select u.nth, i.request, i.response ->> 'run'
         from unnest($1::text[], $2::text[], $3::text[]) with ordinality as u(scope, actor, key, nth)
         join idempotency i on i.scope = u.scope and i.actor = u.actor and i.key = u.key",
    )
    .bind(keys.iter().map(|key| key.scope).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.actor.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.key.as_str()).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    let answer = |(nth, request, run): (i64, String, String)| {
        let key = usize::try_from(nth - 1).ok().and_then(|nth| keys.get(nth))?;
        let run = run.parse().map_err(|_| StoreError::Corrupt {
            what: "answer",
            why: format!("`{run}` is no run"),
        });
        Some(run.map(|run| (key.name(), Answer { request, run })))
    };
    rows.into_iter()
        .filter_map(answer)
        .collect::<Result<_>>()
        .map(Answers)
}

/// Keeps answers, in the transaction that made them true.
pub(super) async fn keep(conn: &mut PgConnection, made: &[(&Key, RunId)], now: Timestamp) -> Result<()> {
    if made.is_empty() {
        return Ok(());
    }
    let keys = || made.iter().map(|(key, _)| key);
    sqlx::query(
        "insert into idempotency (scope, actor, key, request, response, at)
         select scope, actor, key, request, response, $1
         from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[])
           as u(scope, actor, key, request, response)",
    )
    .bind(pg(now))
    .bind(keys().map(|key| key.scope).collect::<Vec<_>>())
    .bind(keys().map(|key| key.actor.as_str()).collect::<Vec<_>>())
    .bind(keys().map(|key| key.key.as_str()).collect::<Vec<_>>())
    .bind(keys().map(|key| key.request.as_str()).collect::<Vec<_>>())
    .bind(
        made.iter()
            .map(|(_, run)| json!({ "run": run }))
            .collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    Ok(())
}
