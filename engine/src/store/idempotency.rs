//! Answers that were given under a key: a repeat of the request gets the same again.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, Row};

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

/// What is known under a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing: the request is new.
    Nothing,
    /// The same request made this run.
    Run(RunId),
    /// Another request used it.
    Other,
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
}

/// Looks a key up; until the transaction ends nobody else can use it.
pub(super) async fn look_up(conn: &mut PgConnection, key: &Key) -> Result<Known> {
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(json!([key.scope, key.actor, key.key]).to_string())
        .execute(&mut *conn)
        .await?;
    let row = sqlx::query(
        "select request, response ->> 'run' as run from idempotency where scope = $1 and actor = $2 and key = $3",
    )
    .bind(key.scope)
    .bind(&key.actor)
    .bind(&key.key)
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else {
        return Ok(Known::Nothing);
    };
    if row.try_get::<String, _>("request")? != key.request {
        return Ok(Known::Other);
    }
    let run: String = row.try_get("run")?;
    run.parse().map(Known::Run).map_err(|_| StoreError::Corrupt {
        what: "answer",
        why: format!("`{run}` is no run"),
    })
}

/// Keeps the answer, in the transaction that made it true.
pub(super) async fn keep(conn: &mut PgConnection, key: &Key, run: RunId, now: Timestamp) -> Result<()> {
    sqlx::query(
        "insert into idempotency (scope, actor, key, request, response, at) values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(key.scope)
    .bind(&key.actor)
    .bind(&key.key)
    .bind(&key.request)
    .bind(json!({ "run": run }))
    .bind(pg(now))
    .execute(conn)
    .await?;
    Ok(())
}
