//! Flows, schedules and workers.

use std::sync::Arc;

use jiff::Timestamp;

use super::super::{Result, Store, StoreError};
use crate::graph::Flow;
use crate::view::{FlowSummary, Schedule, Worker};

fn absent<T>() -> Result<T> {
    Err(StoreError::Broken("reading is not there yet".to_owned()))
}

impl Store {
    /// Flows that were not removed, by name.
    pub async fn flows(&self, now: Timestamp) -> Result<Vec<FlowSummary>> {
        let _ = now;
        absent()
    }

    /// One flow with its sealed current version; `None`: no such flow.
    pub async fn flow(&self, name: &str, now: Timestamp) -> Result<Option<(FlowSummary, Arc<Flow>)>> {
        let _ = (name, now);
        absent()
    }

    /// All schedules, by flow and name.
    pub async fn schedules(&self, now: Timestamp) -> Result<Vec<Schedule>> {
        let _ = now;
        absent()
    }

    /// Workers that are alive or were heard of within a day, newest first.
    pub async fn workers(&self) -> Result<Vec<Worker>> {
        absent()
    }
}
