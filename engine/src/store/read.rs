//! Read models: what pages, the API and the command line show, in few statements each.

mod approvals;
mod flows;
mod models;
mod pulse;
mod runs;

pub use pulse::{Labelled, Numbers, Pulse, RunCount};
pub use runs::{LogCursor, RunFilter};
