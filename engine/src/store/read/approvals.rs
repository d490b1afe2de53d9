//! Approvals, as inbox and one by one.

use uuid::Uuid;

use super::super::{Result, Store, StoreError};
use crate::id::RunId;
use crate::view::{Approval, Page};

fn absent<T>() -> Result<T> {
    Err(StoreError::Broken("reading is not there yet".to_owned()))
}

impl Store {
    /// Approvals, newest first; only open ones unless told. `before`: the cursor.
    pub async fn approvals(
        &self,
        closed_too: bool,
        (before, limit): (Option<Uuid>, usize),
    ) -> Result<Page<Approval>> {
        let _ = (closed_too, before, limit);
        absent()
    }

    /// One approval.
    pub async fn approval(&self, id: Uuid) -> Result<Option<Approval>> {
        let _ = id;
        absent()
    }

    /// The newest approval of a task run; open ones first.
    pub async fn approval_of(&self, run: RunId, task: &str) -> Result<Option<Approval>> {
        let _ = (run, task);
        absent()
    }
}
