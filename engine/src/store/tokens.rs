//! Tokens: what programs sign in with. Kept as SHA-256, shown once, good until they expire, are revoked, or their owner may do nothing
//! any more. A token never has more grants than its owner has at the moment of its use.

use jiff::Timestamp;
use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::ledger::{self, Entry};
use super::people::{roles_of, words};
use super::sessions::{NOTED, later, secret, sha256};
use super::{Result, Store, instant, maybe_instant, pg};
use crate::clock;
use crate::command::{Actor, Role};
use crate::view;

/// What every token begins with: people and scanners of repositories know it by that.
pub const PREFIX: &str = "tg_";
/// What the owner begins with where it is nobody.
pub const SERVICE: &str = "service:";

/// Whether a text has the shape of a token. A session's is shorter, and may begin as it likes.
pub fn is_token(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|secret| secret.len() == 43)
}

/// A token to make.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// A person, or `service:NAME`.
    pub owner: String,
    /// Grants.
    pub roles: Vec<Role>,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

const COLUMNS: &str =
    "id, name, owner, roles, created_at, created_by, expires_at, used_at, revoked_at, revoked_by";

impl Store {
    /// Makes a token; the only moment at which it is known. The ledger keeps who did it.
    pub async fn add_token(
        &self,
        by: &Actor,
        new: NewToken,
        now: Timestamp,
    ) -> Result<(view::Token, String)> {
        let (id, token) = (clock::new_id(), format!("{PREFIX}{}", secret()));
        let (by, hash) = (by.clone(), sha256(&token));
        let made = self
            .transact(move |conn| {
                let (by, new, hash) = (by.clone(), new.clone(), hash.clone());
                Box::pin(async move { insert(conn, (&by, &new, id, &hash), now).await })
            })
            .await?;
        Ok((made, token))
    }

    /// Ends a token for ever; the ledger keeps who did it. A token that was revoked before stays as it is.
    pub async fn revoke_token(&self, by: &Actor, id: Uuid, now: Timestamp) -> Result<Option<view::Token>> {
        let by = by.clone();
        self.transact(move |conn| {
            let by = by.clone();
            Box::pin(async move { revoke(conn, (&by, id), now).await })
        })
        .await
    }

    /// The tokens of an owner, or all of them; newest first.
    pub async fn tokens(&self, owner: Option<&str>, now: Timestamp) -> Result<Vec<view::Token>> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "select {COLUMNS} from token where $1::text is null or owner = $1 order by id desc"
        )))
        .bind(owner)
        .fetch_all(self.pool())
        .await?;
        rows.iter().map(|row| token_view(row, now)).collect()
    }

    /// One token.
    pub async fn token(&self, id: Uuid, now: Timestamp) -> Result<Option<view::Token>> {
        let mut conn = self.pool().acquire().await?;
        find(&mut conn, id, now).await
    }

    /// Who a token acts as, with the grants that it and its owner both have; `None`: it opens nothing.
    pub async fn bearer(&self, token: &str, now: Timestamp) -> Result<Option<Actor>> {
        let row = sqlx::query(
            "select t.id, t.owner, t.roles, t.used_at, p.roles as held
             from token t left join person p on p.name = t.owner and p.disabled_at is null
             where t.sha256 = $1 and t.expires_at > $2 and t.revoked_at is null",
        )
        .bind(sha256(token))
        .bind(pg(now))
        .fetch_optional(self.pool())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let Some(actor) = actor_of(&row)? else {
            return Ok(None);
        };
        if maybe_instant(&row, "used_at")?.is_none_or(|used| later(used, NOTED) <= now) {
            sqlx::query("update token set used_at = $2 where id = $1")
                .bind(row.try_get::<Uuid, _>("id")?)
                .bind(pg(now))
                .execute(self.pool())
                .await?;
        }
        Ok(Some(actor))
    }
}

fn actor_of(row: &PgRow) -> Result<Option<Actor>> {
    let (owner, granted): (String, _) = (row.try_get("owner")?, roles_of(row)?);
    if owner.starts_with(SERVICE) {
        return Ok(Some(Actor::service(owner, granted)));
    }
    let Some(held) = row.try_get::<Option<Vec<String>>, _>("held")? else {
        return Ok(None);
    };
    let person = Actor::person(owner.as_str(), held.iter().filter_map(|word| Role::parse(word)));
    let both = granted.into_iter().filter(|role| person.has(*role));
    Ok(Some(Actor::person(owner.as_str(), both)))
}

async fn insert(
    conn: &mut PgConnection,
    (by, new, id, hash): (&Actor, &NewToken, Uuid, &str),
    now: Timestamp,
) -> Result<view::Token> {
    let done = sqlx::query(
        "insert into token (id, sha256, name, owner, roles, created_at, created_by, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing",
    )
    .bind(id)
    .bind(hash)
    .bind(&new.name)
    .bind(&new.owner)
    .bind(words(&new.roles))
    .bind(pg(now))
    .bind(&by.name)
    .bind(pg(new.expires_at))
    .execute(&mut *conn)
    .await?;
    let made = find(conn, id, now).await?.ok_or(super::StoreError::Stale)?;
    if done.rows_affected() == 1 {
        let body = json!({
            "token": id, "name": made.name, "owner": made.owner, "roles": made.roles, "expires_at": made.expires_at,
        });
        ledger::append(conn, Entry::act("token_created", &by.name, body), now).await?;
    }
    Ok(made)
}

async fn revoke(
    conn: &mut PgConnection,
    (by, id): (&Actor, Uuid),
    now: Timestamp,
) -> Result<Option<view::Token>> {
    let done =
        sqlx::query("update token set revoked_at = $2, revoked_by = $3 where id = $1 and revoked_at is null")
            .bind(id)
            .bind(pg(now))
            .bind(&by.name)
            .execute(&mut *conn)
            .await?;
    let found = find(conn, id, now).await?;
    if let (Some(token), 1) = (&found, done.rows_affected()) {
        let body = json!({ "token": id, "name": token.name, "owner": token.owner });
        ledger::append(conn, Entry::act("token_revoked", &by.name, body), now).await?;
    }
    Ok(found)
}

async fn find(conn: &mut PgConnection, id: Uuid, now: Timestamp) -> Result<Option<view::Token>> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {COLUMNS} from token where id = $1"
    )))
    .bind(id)
    .fetch_optional(conn)
    .await?;
    row.map(|row| token_view(&row, now)).transpose()
}

fn token_view(row: &PgRow, now: Timestamp) -> Result<view::Token> {
    let expires_at = instant(row, "expires_at")?;
    let revoked_at = maybe_instant(row, "revoked_at")?;
    let state = match revoked_at {
        Some(_) => "revoked",
        None if expires_at <= now => "expired",
        None => "valid",
    };
    Ok(view::Token {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        owner: row.try_get("owner")?,
        roles: row.try_get("roles")?,
        state: state.to_owned(),
        created_at: instant(row, "created_at")?,
        created_by: row.try_get("created_by")?,
        expires_at,
        used_at: maybe_instant(row, "used_at")?,
        revoked_at,
        revoked_by: row.try_get("revoked_by")?,
    })
}

#[cfg(test)]
mod tests;
