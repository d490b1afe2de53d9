//! People: who may sign in and decide, and their grants. Whatever changes about a person ends the person's sessions.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::ledger::{self, Entry};
use super::sessions::{end_sessions, forget_tries};
use super::{Result, Store, StoreError, instant, maybe_instant, passwords, pg};
use crate::command::{Actor, Role};
use crate::view;

pub use super::sessions::{Opened, Signed};

/// Characters of a password, at least.
const SHORTEST: usize = 8;
/// Bytes of a password, at most.
pub(super) const LONGEST: usize = 1024;

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

impl Store {
    /// Makes a person. `Ok(false)`: there is one of that name. `Refused`: a name, password or account that cannot be taken.
    pub async fn add_person(&self, person: NewPerson, now: Timestamp) -> Result<bool> {
        self.enroll(person, None, now).await
    }

    /// As [`Store::add_person`]; the ledger keeps who did it.
    pub async fn enroll(&self, person: NewPerson, by: Option<&Actor>, now: Timestamp) -> Result<bool> {
        check_name(&person.name)?;
        let hash = match person.password.clone() {
            Some(password) => Some(hashed(password).await?),
            None => None,
        };
        let entry = by.map(|by| {
            let body =
                json!({ "person": person.name, "roles": words(&person.roles), "os_user": person.os_user });
            Entry::act("person_added", &by.name, body)
        });
        self.transact(move |conn| {
            let (person, hash, entry) = (person.clone(), hash.clone(), entry.clone());
            Box::pin(async move {
                let made = insert(conn, (&person, hash), now).await?;
                if let Some(entry) = entry.filter(|_| made == Made::Now) {
                    ledger::append(conn, entry, now).await?;
                }
                Ok(made != Made::No)
            })
        })
        .await
    }

    /// Gives a person other grants, and ends the person's sessions where they change; the ledger keeps who did it.
    /// `Ok(false)`: nobody has that name.
    pub async fn set_roles(
        &self,
        by: &Actor,
        (name, roles): (&str, &[Role]),
        now: Timestamp,
    ) -> Result<bool> {
        let (by, name, roles) = (by.clone(), name.to_owned(), words(roles));
        self.transact(move |conn| {
            let (by, name, roles) = (by.clone(), name.clone(), roles.clone());
            Box::pin(async move { regrant(conn, &by, (&name, &roles), now).await })
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

    /// Whether the schema has people by now.
    pub(crate) async fn knows_people(&self) -> Result<bool> {
        let known = sqlx::query_scalar("select to_regclass('person') is not null");
        Ok(known.fetch_one(self.pool()).await?)
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

/// What making a person came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    /// There is another of that name.
    No,
    Now,
    /// In a try whose COMMIT was carried out though its answer was lost.
    Before,
}

async fn insert(
    conn: &mut PgConnection,
    (person, hash): (&NewPerson, Option<String>),
    now: Timestamp,
) -> Result<Made> {
    if let Some(account) = &person.os_user {
        let claimed: Option<String> = sqlx::query_scalar("select name from person where os_user = $1")
            .bind(account)
            .fetch_optional(&mut *conn)
            .await?;
        if let Some(by) = claimed.filter(|by| *by != person.name) {
            return Err(refused(format!("the account `{account}` acts as {by} already")));
        }
    }
    let made = sqlx::query(
        "insert into person (name, password_hash, roles, os_user, created_at) values ($1, $2, $3, $4, $5)
         on conflict (name) do nothing",
    )
    .bind(&person.name)
    .bind(&hash)
    .bind(words(&person.roles))
    .bind(&person.os_user)
    .bind(pg(now))
    .execute(&mut *conn)
    .await?;
    if made.rows_affected() == 1 {
        return Ok(Made::Now);
    }
    // A salted hash is made once: whoever finds it has written it.
    let own = sqlx::query(
        "select 1 from person where name = $1 and created_at = $2 and password_hash is not distinct from $3",
    )
    .bind(&person.name)
    .bind(pg(now))
    .bind(hash)
    .fetch_optional(conn)
    .await?;
    Ok(own.map_or(Made::No, |_| Made::Before))
}

async fn regrant(
    conn: &mut PgConnection,
    by: &Actor,
    (name, roles): (&str, &[String]),
    now: Timestamp,
) -> Result<bool> {
    let before: Option<Vec<String>> =
        sqlx::query_scalar("select roles from person where name = $1 for update")
            .bind(name)
            .fetch_optional(&mut *conn)
            .await?;
    let Some(before) = before else { return Ok(false) };
    if before == roles {
        return Ok(true);
    }
    sqlx::query("update person set roles = $2 where name = $1")
        .bind(name)
        .bind(roles)
        .execute(&mut *conn)
        .await?;
    end_sessions(conn, name).await?;
    let body = json!({ "person": name, "from": before, "to": roles });
    ledger::append(conn, Entry::act("roles_changed", &by.name, body), now).await?;
    Ok(true)
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
pub(crate) fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '+');
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts && name.len() <= 63 && name.chars().all(fits) && name != "system" {
        return Ok(());
    }
    Err(refused(format!(
        "{name:?} is no name for a person or service: 1 to 63 ASCII letters, digits, `-`, `_`, `.`, `@`, `+`, the first a letter or digit; not `system`"
    )))
}

pub(super) fn refused(why: String) -> StoreError {
    StoreError::Refused { why }
}

pub(super) fn words(roles: &[Role]) -> Vec<String> {
    let unique: BTreeSet<Role> = roles.iter().copied().collect();
    unique.iter().map(|role| role.as_str().to_owned()).collect()
}

pub(super) fn roles_of(row: &PgRow) -> Result<Vec<Role>> {
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

#[cfg(test)]
mod tests;
