//! What people and programs are shown: the bodies of the API, of `-o json`, and what the pages are drawn from.
//!
//! Plain data with stable field names. `store/read` fills them; nothing here decides anything. Instants are RFC 3339 in UTC.

mod backfill;
mod decision;
mod flow;
mod freeze;
mod health;
mod model;
mod notice;
mod run;
mod staff;
mod trial;
mod why;

use serde::{Deserialize, Serialize};

pub use backfill::BackfillTick;
pub use decision::{Approval, LedgerBreak, LedgerEntry, LedgerReport, Vote};
pub use flow::{FlowChange, FlowDetail, FlowSummary, Schedule, TaskDetail, Tick};
pub use freeze::{Emergency, Freeze};
pub use health::{Check, DbStatus, TableSize};
pub use model::{Alias, AliasMove, Model, ModelVersion};
pub use notice::Notice;
pub use run::{
    Artifact, Event, GateResult, LogLine, MetricSeries, Parent, Run, RunSummary, SubRun, TaskRun, Wait,
};
pub use staff::{Person, Pool, Secret, SlotHolder, Token, Worker};
pub use trial::Trial;
pub use why::{Obstacle, Why};

/// One page of a list; `next` is the cursor of the page after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The entries, newest first unless the list says otherwise.
    pub items: Vec<T>,
    /// Cursor of the next page; `null` on the last one.
    pub next: Option<String>,
}
