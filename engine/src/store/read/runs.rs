//! Runs, their task runs, events, logs and metrics.

use jiff::Timestamp;
use uuid::Uuid;

use super::super::{Result, Store, StoreError};
use crate::id::RunId;
use crate::view::{Event, LogLine, MetricSeries, Page, Run, RunSummary};

/// Which runs a list shows.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of one flow.
    pub flow: Option<String>,
    /// In one of these states; empty: any.
    pub states: Vec<String>,
    /// Created at or after.
    pub since: Option<Timestamp>,
    /// Older than this run: the cursor.
    pub before: Option<Uuid>,
    /// At most so many, 1 to 200.
    pub limit: usize,
}

/// Where a reader of a log stands: the last line it has, per task run and epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogCursor(pub Vec<(u32, i64, i64)>);

fn absent<T>() -> Result<T> {
    Err(StoreError::Broken("reading is not there yet".to_owned()))
}

impl Store {
    /// Runs, newest first.
    pub async fn runs(&self, filter: &RunFilter, now: Timestamp) -> Result<Page<RunSummary>> {
        let _ = (filter, now);
        absent()
    }

    /// One run with its task runs; `None`: no such run.
    pub async fn run(&self, id: RunId, now: Timestamp) -> Result<Option<Run>> {
        let _ = (id, now);
        absent()
    }

    /// A run by the beginning of its id (at least 6 characters), as people type it; `NotFound` when none or several fit.
    pub async fn run_by_prefix(&self, text: &str) -> Result<RunId> {
        let _ = text;
        absent()
    }

    /// Events of a run after `seq`, oldest first.
    pub async fn events(&self, run: RunId, after: i64) -> Result<Vec<Event>> {
        let _ = (run, after);
        absent()
    }

    /// Log lines after a cursor, at most `limit`, in order of task and attempt; the cursor moves on.
    pub async fn log_lines(
        &self,
        run: RunId,
        task: Option<&str>,
        (cursor, limit): (&mut LogCursor, usize),
    ) -> Result<Vec<LogLine>> {
        let _ = (run, task, cursor, limit);
        absent()
    }

    /// Series of numbers that the tasks of a run recorded.
    pub async fn metrics(&self, run: RunId) -> Result<Vec<MetricSeries>> {
        let _ = run;
        absent()
    }
}
