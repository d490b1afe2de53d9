//! What admins do to the database itself.

use std::time::Duration;

use jiff::Timestamp;

use super::{Actor, CommandError, Role};
use crate::store::Store;

/// Drops events and logs of days older than `keep`, and sweeps. Answers how many partitions and rows; kept in the ledger.
pub async fn prune(
    store: &Store,
    actor: &Actor,
    keep: Duration,
    now: Timestamp,
) -> Result<(usize, usize), CommandError> {
    actor.needs(Role::Admin)?;
    Ok(store.prune(actor, keep, now).await?)
}

/// Brings the schema up to this version. Answers how many migrations ran. Where there are no people yet, there is nobody to ask.
pub async fn migrate(store: &Store, account: &str) -> Result<usize, CommandError> {
    if store.knows_people().await? {
        store.actor_of_account(account).await?.needs(Role::Admin)?;
    }
    Ok(store.migrate().await?)
}
