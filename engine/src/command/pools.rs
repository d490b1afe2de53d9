//! Pools: making, resizing and removing them. Kept in the ledger.

use jiff::Timestamp;

use super::{Actor, CommandError, Role};
use crate::id::TaskName;
use crate::spec;
use crate::store::{Store, StoreError};

/// The most slots a pool may have.
pub const LARGEST_POOL: u32 = 10_000;

/// Makes a pool or gives it another size. `Ok(false)`: it had that size.
pub async fn set_pool(
    store: &Store,
    actor: &Actor,
    (name, size): (&str, u32),
    now: Timestamp,
) -> Result<bool, CommandError> {
    actor.needs(Role::Admin)?;
    let invalid = |why: String| CommandError::Invalid { why };
    TaskName::new(name).map_err(|error| invalid(format!("`{name}` is no name of a pool: {error}")))?;
    if size > LARGEST_POOL {
        return Err(invalid(format!("a pool has at most {LARGEST_POOL} slots")));
    }
    Ok(store.set_pool(name, size, (&actor.name, now)).await?)
}

/// Removes a pool that no flow and no run names.
pub async fn remove_pool(
    store: &Store,
    actor: &Actor,
    name: &str,
    now: Timestamp,
) -> Result<(), CommandError> {
    actor.needs(Role::Admin)?;
    match store.remove_pool(name, (&actor.name, now)).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            let known = store.pools().await?;
            Err(CommandError::NotFound {
                what: "pool",
                name: name.to_owned(),
                help: spec::suggest(name, "there are", known.iter().map(|pool| pool.name.as_str())),
            })
        }
        Err(StoreError::Refused { why }) => Err(CommandError::Forbidden { why }),
        Err(error) => Err(error.into()),
    }
}
