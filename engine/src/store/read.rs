//! Read models: what pages, the API and the command line show, in few statements each.

mod approvals;
mod flows;
mod models;
mod runs;

pub use runs::{LogCursor, RunFilter};
