//! Pausing and resuming schedules.

use jiff::Timestamp;

use super::{Actor, CommandError, Role};
use crate::store::Store;

/// Pauses (`true`) or resumes a schedule of a flow. What falls due while it is paused is recorded as skipped and never made up for.
pub async fn pause_schedule(
    store: &Store,
    actor: &Actor,
    ((flow, schedule), paused): ((&str, &str), bool),
    now: Timestamp,
) -> Result<(), CommandError> {
    actor.needs(Role::Operator)?;
    if store.pause_schedule((flow, schedule), paused, now).await? {
        return Ok(());
    }
    Err(CommandError::NotFound {
        what: "schedule",
        name: format!("{flow}/{schedule}"),
        help: None,
    })
}
