//! Freeze windows: making and ending them. Kept in the ledger.

use jiff::Timestamp;
use uuid::Uuid;

use super::{Actor, CommandError, Role, runs};
use crate::store::freezes::NewFreeze;
use crate::store::{Store, StoreError};
use crate::view::Freeze;

/// Characters of a reason, at most.
pub(super) const REASON: usize = 1000;

/// Makes a window.
pub async fn add_freeze(
    store: &Store,
    actor: &Actor,
    new: NewFreeze,
    now: Timestamp,
) -> Result<Freeze, CommandError> {
    actor.needs(Role::Operator)?;
    check_reason(&new.reason)?;
    if new.until <= new.from || new.until <= now {
        let why = "a window ends after it begins, and not in the past".to_owned();
        return Err(CommandError::Invalid { why });
    }
    if let Some(flow) = &new.flow
        && store.flow(flow, now).await?.is_none()
    {
        return Err(runs::no_flow(store, flow).await?);
    }
    Ok(store.add_freeze(new, (&actor.name, now)).await?)
}

/// Ends a window before its time.
pub async fn end_freeze(store: &Store, actor: &Actor, id: Uuid, now: Timestamp) -> Result<(), CommandError> {
    actor.needs(Role::Operator)?;
    match store.end_freeze(id, (&actor.name, now)).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(CommandError::Invalid {
            why: "that window is over already".to_owned(),
        }),
        Err(StoreError::NotFound { what, name }) => Err(CommandError::NotFound {
            what,
            name,
            help: Some("`tidegate freeze list` lists them".to_owned()),
        }),
        Err(error) => Err(error.into()),
    }
}

/// A reason is there, and short enough to be read.
pub(super) fn check_reason(reason: &str) -> Result<(), CommandError> {
    let length = reason.trim().chars().count();
    if (1..=REASON).contains(&length) {
        return Ok(());
    }
    let why = format!("say why, in 1 to {REASON} characters");
    Err(CommandError::Invalid { why })
}
