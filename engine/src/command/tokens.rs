//! Tokens: what programs sign in with. A person makes their own; an administrator makes those of services. Both are kept in the ledger.
//!
//! Nobody makes a token of another person: who has seen it could decide in that person's name.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Actor, CommandError, Role};
use crate::duration;
use crate::store::Store;
use crate::store::people::check_name;
use crate::store::tokens::{NewToken, SERVICE};
use crate::view;

/// How long a token is good, at most.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// Characters of what a token is for, at most.
const NAME: usize = 100;

/// A token that is asked for: the body of `POST /api/v1/tokens`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What it is for.
    pub name: String,
    /// The service it acts as; without one it acts as who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Grants; no more than its owner has.
    pub roles: Vec<Role>,
    /// How long it is good.
    #[serde(with = "duration::text", default = "usual")]
    pub expires: Duration,
}

fn usual() -> Duration {
    Duration::from_secs(90 * 86_400)
}

/// Makes a token; answers it with the secret, which nobody can ever see again.
pub async fn create_token(
    store: &Store,
    actor: &Actor,
    request: TokenRequest,
    now: Timestamp,
) -> Result<(view::Token, String), CommandError> {
    let owner = owner_of(actor, &request)?;
    check(&request).map_err(|why| CommandError::Invalid { why })?;
    let new = NewToken {
        name: request.name,
        owner,
        roles: request.roles,
        expires_at: now.checked_add(request.expires).unwrap_or(Timestamp::MAX),
    };
    Ok(store.add_token(actor, new, now).await?)
}

/// Whom it acts as, if the actor may make such a token.
fn owner_of(actor: &Actor, request: &TokenRequest) -> Result<String, CommandError> {
    let invalid = |why: &str| CommandError::Invalid { why: why.to_owned() };
    if let Some(service) = &request.service {
        actor.needs(Role::Admin)?;
        check_name(service).map_err(|error| CommandError::Invalid {
            why: error.to_string(),
        })?;
        if request.roles.contains(&Role::Approver) {
            return Err(invalid("only people decide: a service cannot be an approver"));
        }
        return Ok(format!("{SERVICE}{service}"));
    }
    if !actor.is_person {
        return Err(invalid(
            "a token belongs to the person who makes it, or to a service: name one with --service",
        ));
    }
    for role in &request.roles {
        actor.needs(*role)?;
    }
    Ok(actor.name.clone())
}

fn check(request: &TokenRequest) -> Result<(), String> {
    let length = request.name.trim().chars().count();
    if !(1..=NAME).contains(&length) || request.name.chars().any(char::is_control) {
        return Err(format!(
            "a token's name says what it is for, in 1 to {NAME} characters"
        ));
    }
    if request.roles.is_empty() {
        return Err("a token needs a role: viewer, operator, approver or admin".to_owned());
    }
    if request.expires.is_zero() || request.expires > LONGEST {
        return Err("a token is good for a while, at most 366d".to_owned());
    }
    Ok(())
}

/// Ends a token at once: its owner's, or anybody's for an administrator. Again, it changes nothing.
pub async fn revoke_token(
    store: &Store,
    actor: &Actor,
    id: Uuid,
    now: Timestamp,
) -> Result<view::Token, CommandError> {
    // Somebody else's is not there for those who may not see it.
    let found = store.token(id, now).await?;
    let own = found.filter(|token| token.owner == actor.name || actor.has(Role::Admin));
    let revoked = match own {
        Some(token) => store.revoke_token(actor, token.id, now).await?,
        None => None,
    };
    revoked.ok_or_else(|| CommandError::NotFound {
        what: "token",
        name: id.to_string(),
        help: Some("`tidegate token list` lists tokens".to_owned()),
    })
}

/// The tokens that an actor may see: their own, or all for an administrator.
pub async fn tokens(store: &Store, actor: &Actor, now: Timestamp) -> Result<Vec<view::Token>, CommandError> {
    let owner = (!actor.has(Role::Admin)).then_some(actor.name.as_str());
    Ok(store.tokens(owner, now).await?)
}
