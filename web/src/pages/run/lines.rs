//! The newest lines of a run's logs.

use std::collections::VecDeque;

use jiff::tz::TimeZone;
use tidegate_engine::id::RunId;
use tidegate_engine::store::read::LogCursor;
use tidegate_engine::store::{Store, StoreError};
use tidegate_engine::view::LogLine;

/// Lines on a page.
const SHOWN: usize = 400;
/// Lines read at once, and how often at most: a log is capped, and this is beyond its cap.
const STEP: usize = 2000;
const STEPS: usize = 50;

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineRow {
    /// Task.
    pub task: String,
    /// `02:00:13.512`.
    pub time: String,
    /// When, exactly.
    pub exact: String,
    /// `info`, `warn`, …
    pub level: String,
    /// What it says.
    pub text: String,
}

impl LineRow {
    /// Of a line.
    pub fn new(line: &LogLine) -> Self {
        let utc = line.at.to_zoned(TimeZone::UTC);
        Self {
            task: line.task.clone(),
            time: utc.strftime("%H:%M:%S%.3f").to_string(),
            exact: line.at.to_string(),
            level: line.level.clone(),
            text: line.text.clone(),
        }
    }
}

/// The newest lines, and whether there are older ones.
pub async fn newest(
    store: &Store,
    run: RunId,
    task: Option<&str>,
) -> Result<(Vec<LogLine>, bool), StoreError> {
    let mut cursor = LogCursor::default();
    let mut kept: VecDeque<LogLine> = VecDeque::new();
    let mut cut = false;
    for _ in 0..STEPS {
        let found = store.log_lines(run, task, (&mut cursor, STEP)).await?;
        let last = found.len() < STEP;
        kept.extend(found);
        let surplus = kept.len().saturating_sub(SHOWN);
        cut |= surplus > 0;
        kept.drain(..surplus);
        if last {
            break;
        }
    }
    Ok((kept.into(), cut))
}
