//! Runs for past ticks.

use jiff::Timestamp;

use super::{Actor, CommandError, Role, runs};
use crate::store::backfills::Backfill;
use crate::store::{Store, StoreError};
use crate::view::BackfillTick;

/// Makes the runs that past ticks lack, or, with `dry_run`, says which those are. A repeat makes none twice.
pub async fn backfill(
    store: &Store,
    actor: &Actor,
    (mut wanted, dry_run): (Backfill, bool),
    now: Timestamp,
) -> Result<Vec<BackfillTick>, CommandError> {
    actor.needs(Role::Operator)?;
    wanted.actor.clone_from(&actor.name);
    if store.flow(&wanted.flow, now).await?.is_none() {
        return Err(runs::no_flow(store, &wanted.flow).await?);
    }
    if wanted.after >= now {
        return Err(CommandError::Invalid {
            why: format!(
                "that time is yet to come (it is {now} now): a backfill makes runs of past ticks, the schedule those of ticks to come"
            ),
        });
    }
    let done = match dry_run {
        true => store.backfill_ticks(&wanted, now).await,
        false => store.backfill(&wanted, now).await,
    };
    done.map_err(|error| match error {
        StoreError::Refused { why } => CommandError::Invalid { why },
        error => error.into(),
    })
}
