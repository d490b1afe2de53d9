//! Setting and removing secrets. Their values are seen by nobody but the workers that hand them to tasks.

use jiff::Timestamp;

use super::{Actor, CommandError, Role};
use crate::secrets::{LONGEST, SHORTEST, SecretKey, is_name};
use crate::store::Store;

/// Puts a secret in place; `true`: there was none of that name. `Invalid`: a name or a value that cannot be taken.
pub async fn set_secret(
    store: &Store,
    actor: &Actor,
    (key, name, value): (&SecretKey, &str, &str),
    now: Timestamp,
) -> Result<bool, CommandError> {
    actor.needs(Role::Admin)?;
    let invalid = |why: String| CommandError::Invalid { why };
    check(name, value).map_err(invalid)?;
    let sealed = key
        .seal(name, value)
        .map_err(|error| invalid(error.to_string()))?;
    Ok(store.set_secret(actor, (name, sealed), now).await?)
}

fn check(name: &str, value: &str) -> Result<(), String> {
    if !is_name(name) {
        return Err(format!(
            "`{name}` is no name for a secret: letters, digits and `_`, at most 100, no digit first"
        ));
    }
    if value.trim().chars().count() < SHORTEST {
        return Err(format!(
            "a secret needs at least {SHORTEST} characters: a shorter one could not be hidden in logs"
        ));
    }
    if value.len() > LONGEST {
        return Err(format!("a secret has at most {LONGEST} bytes"));
    }
    if value.contains('\0') {
        return Err("a secret cannot hold a NUL character".to_owned());
    }
    Ok(())
}

/// Removes a secret.
pub async fn remove_secret(
    store: &Store,
    actor: &Actor,
    name: &str,
    now: Timestamp,
) -> Result<(), CommandError> {
    actor.needs(Role::Admin)?;
    if store.remove_secret(actor, name, now).await? {
        return Ok(());
    }
    Err(CommandError::NotFound {
        what: "secret",
        name: name.to_owned(),
        help: Some("`tidegate secret list` lists secrets".to_owned()),
    })
}
