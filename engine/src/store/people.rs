//! People: who may sign in, their grants, and their sessions.
//!
//! Passwords are kept as argon2id hashes, session tokens as SHA-256. An unknown name costs as much time as a wrong password.

use jiff::Timestamp;

use super::{Result, Store, StoreError};
use crate::command::{Actor, Role};
use crate::view;

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

fn absent<T>() -> Result<T> {
    Err(StoreError::Broken("people are not there yet".to_owned()))
}

impl Store {
    /// Makes a person. `Ok(false)`: there is one of that name.
    pub async fn add_person(&self, person: NewPerson, now: Timestamp) -> Result<bool> {
        let _ = (person, now);
        absent()
    }

    /// All people, by name.
    pub async fn people(&self) -> Result<Vec<view::Person>> {
        absent()
    }

    /// Opens a session; `None`: name or password is wrong, or tried too often (the answer does not say which).
    pub async fn sign_in(&self, name: &str, password: &str, now: Timestamp) -> Result<Option<Opened>> {
        let _ = (name, password, now);
        absent()
    }

    /// Whose session a token is; `None`: nobody's any more.
    pub async fn session(&self, token: &str, now: Timestamp) -> Result<Option<Signed>> {
        let _ = (token, now);
        absent()
    }

    /// Ends a session.
    pub async fn sign_out(&self, token: &str) -> Result<()> {
        let _ = token;
        absent()
    }

    /// Who an account of the operating system acts as: the person that claims it, else `os:NAME`.
    pub async fn actor_of_account(&self, account: &str) -> Result<Actor> {
        let _ = account;
        absent()
    }
}
