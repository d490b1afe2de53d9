//! Applying flow files, and removing flows whose file is gone.

use jiff::Timestamp;

use super::{Actor, CommandError, Role};
use crate::store::Store;
use crate::store::flows::{Applied, NewVersion};

/// Makes a version current. Only for admins: another version may have another gate.
pub async fn apply(
    store: &Store,
    actor: &Actor,
    version: NewVersion,
    now: Timestamp,
) -> Result<Applied, CommandError> {
    actor.needs(Role::Admin)?;
    Ok(store.apply_version(version, now).await?)
}

/// Removes all flows but these: their schedules fire no more and they cannot be triggered; versions and runs stay. Answers
/// the removed ones, by name.
pub async fn prune(
    store: &Store,
    actor: &Actor,
    keep: Vec<String>,
    now: Timestamp,
) -> Result<Vec<String>, CommandError> {
    actor.needs(Role::Admin)?;
    Ok(store.remove_flows_but(keep, now).await?)
}
