//! People: who may sign in, their grants, and their sessions.
//!
//! Passwords are kept as argon2id hashes, session tokens as SHA-256. An unknown name costs as much time as a wrong password, and
//! leaves the same trace.
//!
//! # Back-off
//!
//! After [`FREE_TRIES`] sign-ins in a row that failed, the next one counts only after a pause, which doubles with each up to a
//! minute. What comes during the pause is refused unseen and does not lengthen it: whoever tries on can slow an account's
//! sign-in down to one a minute, but not lock it. A quarter of an hour of quiet, a success or a new password forgets it all.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::{Result, Store, StoreError, instant, maybe_instant, passwords, pg};
use crate::clock;
use crate::command::{Actor, Role};
use crate::view;

/// How long a session lasts after it was last used.
const SESSION: Duration = Duration::from_secs(12 * 3600);
/// How long a session lasts however much it is used.
const SESSION_MOST: Duration = Duration::from_secs(7 * 24 * 3600);
/// A use of a session is noted when the last note is older than this.
const NOTED: Duration = Duration::from_secs(60);
/// Sign-ins that may fail in a row before each has to wait.
const FREE_TRIES: i32 = 5;
/// Characters of a password, at least.
const SHORTEST: usize = 8;
/// Bytes of a password, at most.
const LONGEST: usize = 1024;

/// A person to make, or to change.
#[derive(Debug, Clone, Default)]
pub struct NewPerson {
    /// Name.
    pub name: String,
    /// Grants.
    pub roles: Vec<Role>,
    /// Password; `None`: no sign-in by password.
    pub password: Option<String>,
    /// Account of the operating system that acts as this person.
    pub os_user: Option<String>,
}

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
    /// Makes a person. `Ok(false)`: there is one of that name. `Refused`: a name, password or account that cannot be taken.
    pub async fn add_person(&self, person: NewPerson, now: Timestamp) -> Result<bool> {
        check_name(&person.name)?;
        let hash = match person.password.clone() {
            Some(password) => Some(hashed(password).await?),
            None => None,
        };
        self.transact(move |conn| {
            let (person, hash) = (person.clone(), hash.clone());
            Box::pin(async move { insert(conn, (&person, hash), now).await })
        })
        .await
    }

    /// Gives a person other grants, and ends the person's sessions where they change. `Ok(false)`: nobody has that name.
    pub async fn set_roles(&self, name: &str, roles: &[Role]) -> Result<bool> {
        let (name, roles) = (name.to_owned(), words(roles));
        self.transact(move |conn| {
            let (name, roles) = (name.clone(), roles.clone());
            Box::pin(async move {
                let before: Option<Vec<String>> =
                    sqlx::query_scalar("select roles from person where name = $1 for update")
                        .bind(&name)
                        .fetch_optional(&mut *conn)
                        .await?;
                if before.as_ref().is_none_or(|before| *before == roles) {
                    return Ok(before.is_some());
                }
                sqlx::query("update person set roles = $2 where name = $1")
                    .bind(&name)
                    .bind(&roles)
                    .execute(&mut *conn)
                    .await?;
                end_sessions(conn, &name).await.map(|()| true)
            })
        })
        .await
    }

    /// Gives a person another password, and ends the person's sessions. `Ok(false)`: nobody has that name.
    pub async fn set_password(&self, name: &str, password: String) -> Result<bool> {
        let (name, hash) = (name.to_owned(), hashed(password).await?);
        self.transact(move |conn| {
            let (name, hash) = (name.clone(), hash.clone());
            Box::pin(async move {
                let done = sqlx::query("update person set password_hash = $2 where name = $1")
                    .bind(&name)
                    .bind(&hash)
                    .execute(&mut *conn)
                    .await?;
                forget_tries(conn, &name).await?;
                end_sessions(conn, &name).await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Forbids a person to sign in and to decide, and ends the person's sessions. `Ok(false)`: nobody has that name.
    pub async fn disable(&self, name: &str, now: Timestamp) -> Result<bool> {
        let name = name.to_owned();
        self.transact(move |conn| {
            let name = name.clone();
            Box::pin(async move {
                let done =
                    sqlx::query("update person set disabled_at = coalesce(disabled_at, $2) where name = $1")
                        .bind(&name)
                        .bind(pg(now))
                        .execute(&mut *conn)
                        .await?;
                end_sessions(conn, &name).await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// All people, by name.
    pub async fn people(&self) -> Result<Vec<view::Person>> {
        let rows =
            sqlx::query("select name, roles, os_user, created_at, disabled_at from person order by name")
                .fetch_all(self.pool())
                .await?;
        rows.iter().map(person_view).collect()
    }

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

    /// Who an account of the operating system acts as: the person that claims it, else `os:NAME`.
    pub async fn actor_of_account(&self, account: &str) -> Result<Actor> {
        let row = sqlx::query("select name, roles from person where os_user = $1 and disabled_at is null")
            .bind(account)
            .fetch_optional(self.pool())
            .await?;
        match row {
            Some(row) => Ok(Actor::person(row.try_get::<String, _>("name")?, roles_of(&row)?)),
            None => Ok(Actor::os(account)),
        }
    }
}

/// The grants of a person at this moment, inside a transaction of the caller; `None`: nobody, or somebody who may do nothing.
pub(super) async fn standing(conn: &mut PgConnection, name: &str) -> Result<Option<Actor>> {
    let row = sqlx::query("select name, roles from person where name = $1 and disabled_at is null")
        .bind(name)
        .fetch_optional(conn)
        .await?;
    row.map(|row| Ok(Actor::person(row.try_get::<String, _>("name")?, roles_of(&row)?)))
        .transpose()
}

async fn insert(
    conn: &mut PgConnection,
    (person, hash): (&NewPerson, Option<String>),
    now: Timestamp,
) -> Result<bool> {
    if let Some(account) = &person.os_user {
        let claimed: Option<String> = sqlx::query_scalar("select name from person where os_user = $1")
            .bind(account)
            .fetch_optional(&mut *conn)
            .await?;
        if let Some(by) = claimed.filter(|by| *by != person.name) {
            return Err(refused(format!("the account `{account}` acts as {by} already")));
        }
    }
    // The last condition finds one's own row again after a COMMIT whose answer was lost.
    let made = sqlx::query(
        "insert into person as p (name, password_hash, roles, os_user, created_at) values ($1, $2, $3, $4, $5)
         on conflict (name) do update set name = p.name
         where p.created_at = $5 and p.roles = $3 and p.password_hash is not distinct from $2",
    )
    .bind(&person.name)
    .bind(hash)
    .bind(words(&person.roles))
    .bind(&person.os_user)
    .bind(pg(now))
    .execute(conn)
    .await?;
    Ok(made.rows_affected() == 1)
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

async fn end_sessions(conn: &mut PgConnection, name: &str) -> Result<()> {
    sqlx::query("delete from session where person = $1")
        .bind(name)
        .execute(conn)
        .await?;
    Ok(())
}

async fn forget_tries(conn: &mut PgConnection, name: &str) -> Result<()> {
    sqlx::query("delete from sign_in_try where name_sha256 = $1")
        .bind(sha256(name))
        .execute(conn)
        .await?;
    Ok(())
}

/// Checks and hashes a new password.
async fn hashed(password: String) -> Result<String> {
    if password.chars().count() < SHORTEST {
        return Err(refused(format!("a password has at least {SHORTEST} characters")));
    }
    if password.len() > LONGEST {
        return Err(refused(format!("a password has at most {LONGEST} bytes")));
    }
    passwords::hash(password).await
}

/// A name that nobody mistakes for a program's (`system`, `os:root`) or for a word of a flow file (`role:approver`).
fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '+');
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts && name.len() <= 63 && name.chars().all(fits) && name != "system" {
        return Ok(());
    }
    Err(refused(format!(
        "{name:?} is no name for a person: 1 to 63 ASCII letters, digits, `-`, `_`, `.`, `@`, `+`, the first a letter or digit; not `system`"
    )))
}

fn refused(why: String) -> StoreError {
    StoreError::Refused { why }
}

fn words(roles: &[Role]) -> Vec<String> {
    let unique: BTreeSet<Role> = roles.iter().copied().collect();
    unique.iter().map(|role| role.as_str().to_owned()).collect()
}

fn roles_of(row: &PgRow) -> Result<Vec<Role>> {
    let words: Vec<String> = row.try_get("roles")?;
    Ok(words.iter().filter_map(|word| Role::parse(word)).collect())
}

fn person_view(row: &PgRow) -> Result<view::Person> {
    Ok(view::Person {
        name: row.try_get("name")?,
        roles: row.try_get("roles")?,
        os_user: row.try_get("os_user")?,
        created_at: instant(row, "created_at")?,
        disabled_at: maybe_instant(row, "disabled_at")?,
    })
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// 32 random bytes as text.
fn secret() -> String {
    URL_SAFE_NO_PAD.encode(clock::random_bytes::<32>())
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests;
