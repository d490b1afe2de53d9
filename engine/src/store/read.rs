//! Read models: what pages, the API and the command line show, in few statements each.
//!
//! Nothing here locks or writes. Names of tasks, params and schedules come from the sealed flow, which is remembered by its version; the
//! tables hold only what moves.

mod approvals;
mod checkup;
mod flows;
mod items;
mod logs;
pub(in crate::store) mod models;
mod pulse;
mod run;
mod runs;
mod sub_runs;
mod trial;
mod why;

pub use logs::{CursorError, LogCursor};
pub use pulse::{Counted, Histogram, Labelled, Numbers, Pulse};
pub use runs::{RunFilter, short_id};

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::Result;

/// A page of `rows`, of which one more than `limit` was asked for; `cursor` names the last one shown.
fn page<T>(mut rows: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> crate::view::Page<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more { rows.last().map(cursor) } else { None };
    crate::view::Page { items: rows, next }
}

/// How many entries a page has: what was asked for, within bounds.
fn bounded(limit: usize) -> usize {
    limit.clamp(1, 200)
}

/// A column of type `json` or `jsonb`.
fn json(row: &PgRow, column: &str) -> Result<serde_json::Value> {
    Ok(row.try_get(column)?)
}

#[cfg(test)]
mod tests;
