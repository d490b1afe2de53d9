//! Sign-in and sessions. Tokens are kept as SHA-256: nothing in the database opens a session. An unknown name costs as much time as a
//! wrong password, and leaves the same trace.
//!
//! # Back-off
//!
//! After five sign-ins in a row that failed, the next one counts only after a pause, which doubles with each up to a
//! minute. What comes during the pause is refused unseen and does not lengthen it: whoever tries on can slow an account's
//! sign-in down to one a minute, but not lock it. A quarter of an hour of quiet, a success or a new password forgets it all.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, Row};

use super::people::{LONGEST, roles_of};
use super::{Result, Store, instant, passwords, pg};
use crate::clock;
use crate::command::Actor;

/// How long a session lasts after it was last used.
const SESSION: Duration = Duration::from_secs(12 * 3600);
/// How long a session lasts however much it is used.
const SESSION_MOST: Duration = Duration::from_secs(7 * 24 * 3600);
/// A use of a session is noted when the last note is older than this.
pub(super) const NOTED: Duration = Duration::from_secs(60);
/// Sign-ins that may fail in a row before each has to wait.
const FREE_TRIES: i32 = 5;

/// A session just opened: the only moment at which its token is known.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Goes into the cookie.
    pub token: String,
    /// Goes into every form.
    pub csrf: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Who a session belongs to.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The person, with the grants of this moment.
    pub actor: Actor,
    /// What forms must carry.
    pub csrf: String,
}

impl Store {
    /// Opens a session; `None`: name or password is wrong, or tried too often (the answer does not say which).
    pub async fn sign_in(&self, name: &str, password: &str, now: Timestamp) -> Result<Option<Opened>> {
        // Counted before it is looked at: a hundred guesses at once are a hundred guesses.
        let allowed = self.note_try(name, now).await?;
        let hash: Option<String> = sqlx::query_scalar(
            "select password_hash from person where name = $1 and disabled_at is null and password_hash is not null",
        )
        .bind(name)
        .fetch_optional(self.pool())
        .await?;
        let fits = password.len() <= LONGEST && passwords::fits(hash.clone(), password.to_owned()).await?;
        match hash {
            Some(hash) if fits && allowed => self.open_session(name, hash, now).await,
            _ => Ok(None),
        }
    }

    /// Whether a sign-in under this name may be looked at now; counts it as failed until it succeeds.
    async fn note_try(&self, name: &str, now: Timestamp) -> Result<bool> {
        let (name, now) = (sha256(name), pg(now));
        sqlx::query("delete from sign_in_try where at < $1::timestamptz - interval '15 minutes'")
            .bind(now)
            .execute(self.pool())
            .await?;
        let counted = sqlx::query(
            "insert into sign_in_try as t (name_sha256, count, at) values ($1, 1, $2)
             on conflict (name_sha256) do update set count = least(t.count + 1, 1000), at = $2
             where t.count < $3
                or t.at + least(power(2, least(t.count - $3, 10)), 60) * interval '1 second' <= $2",
        )
        .bind(name)
        .bind(now)
        .bind(FREE_TRIES)
        .execute(self.pool())
        .await?;
        Ok(counted.rows_affected() == 1)
    }

    /// Opens a session of a person whose password is still the one that was compared.
    async fn open_session(&self, name: &str, hash: String, now: Timestamp) -> Result<Option<Opened>> {
        let opened = Opened {
            token: secret(),
            csrf: secret(),
            expires_at: later(now, SESSION),
        };
        let (name, new) = (name.to_owned(), opened.clone());
        let done = self
            .transact(move |conn| {
                let (name, hash, new) = (name.clone(), hash.clone(), new.clone());
                Box::pin(async move { insert_session(conn, (&name, &hash, &new), now).await })
            })
            .await?;
        Ok(done.then_some(opened))
    }

    /// Whose session a token is; `None`: nobody's any more.
    pub async fn session(&self, token: &str, now: Timestamp) -> Result<Option<Signed>> {
        let row = sqlx::query(
            "select s.person, s.csrf, s.created_at, s.seen_at, p.roles
             from session s join person p on p.name = s.person
             where s.token_sha256 = $1 and s.expires_at > $2 and p.disabled_at is null",
        )
        .bind(sha256(token))
        .bind(pg(now))
        .fetch_optional(self.pool())
        .await?;
        let Some(row) = row else { return Ok(None) };
        if later(instant(&row, "seen_at")?, NOTED) <= now {
            let most = later(instant(&row, "created_at")?, SESSION_MOST);
            self.prolong(token, later(now, SESSION).min(most), now).await?;
        }
        Ok(Some(Signed {
            actor: Actor::person(row.try_get::<String, _>("person")?, roles_of(&row)?),
            csrf: row.try_get("csrf")?,
        }))
    }

    async fn prolong(&self, token: &str, until: Timestamp, now: Timestamp) -> Result<()> {
        sqlx::query("update session set seen_at = $2, expires_at = $3 where token_sha256 = $1")
            .bind(sha256(token))
            .bind(pg(now))
            .bind(pg(until))
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// Ends a session.
    pub async fn sign_out(&self, token: &str) -> Result<()> {
        sqlx::query("delete from session where token_sha256 = $1")
            .bind(sha256(token))
            .execute(self.pool())
            .await?;
        Ok(())
    }
}

async fn insert_session(
    conn: &mut PgConnection,
    (name, hash, new): (&str, &str, &Opened),
    now: Timestamp,
) -> Result<bool> {
    sqlx::query("delete from session where person = $1 and expires_at <= $2")
        .bind(name)
        .bind(pg(now))
        .execute(&mut *conn)
        .await?;
    let done = sqlx::query(
        "insert into session as s (token_sha256, person, csrf, created_at, seen_at, expires_at)
         select $1, name, $3, $4, $4, $5 from person
         where name = $2 and password_hash = $6 and disabled_at is null for update
         on conflict (token_sha256) do update set seen_at = s.seen_at",
    )
    .bind(sha256(&new.token))
    .bind(name)
    .bind(&new.csrf)
    .bind(pg(now))
    .bind(pg(new.expires_at))
    .bind(hash)
    .execute(&mut *conn)
    .await?;
    forget_tries(conn, name).await?;
    Ok(done.rows_affected() == 1)
}

/// Ends all sessions of a person.
pub(super) async fn end_sessions(conn: &mut PgConnection, name: &str) -> Result<()> {
    sqlx::query("delete from session where person = $1")
        .bind(name)
        .execute(conn)
        .await?;
    Ok(())
}

/// Forgets the sign-ins under a name that failed.
pub(super) async fn forget_tries(conn: &mut PgConnection, name: &str) -> Result<()> {
    sqlx::query("delete from sign_in_try where name_sha256 = $1")
        .bind(sha256(name))
        .execute(conn)
        .await?;
    Ok(())
}

pub(super) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// 32 random bytes as text.
pub(super) fn secret() -> String {
    URL_SAFE_NO_PAD.encode(clock::random_bytes::<32>())
}

pub(super) fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}
