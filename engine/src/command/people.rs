//! Making people, and changing what they may do. Both are kept in the ledger.

use jiff::Timestamp;

use super::{Actor, CommandError, Role};
use crate::store::people::NewPerson;
use crate::store::{Store, StoreError};

/// Makes a person. `Ok(false)`: there is one of that name. `Invalid`: a name, password or account that cannot be taken.
pub async fn add_person(
    store: &Store,
    actor: &Actor,
    person: NewPerson,
    now: Timestamp,
) -> Result<bool, CommandError> {
    actor.needs(Role::Admin)?;
    let made = store.enroll(person, Some(actor), now).await;
    made.map_err(|error| match error {
        StoreError::Refused { why } => CommandError::Invalid { why },
        error => error.into(),
    })
}

/// Gives a person other grants; the person's sessions end.
pub async fn set_roles(
    store: &Store,
    actor: &Actor,
    (name, roles): (&str, &[Role]),
    now: Timestamp,
) -> Result<(), CommandError> {
    actor.needs(Role::Admin)?;
    if store.set_roles(actor, (name, roles), now).await? {
        return Ok(());
    }
    Err(CommandError::NotFound {
        what: "person",
        name: name.to_owned(),
        help: Some("`tidegate user list` lists people".to_owned()),
    })
}
