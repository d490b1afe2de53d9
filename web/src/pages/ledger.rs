//! `/ledger`: decisions, promotions, rollbacks, admin acts; and whether their chain holds.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use tidegate_engine::clock;
use tidegate_engine::view::{LedgerEntry, LedgerReport, Page};
use uuid::Uuid;

use super::readable::{self, Row};
use super::shared::short_id;
use super::{Frame, html};
use crate::api::Asked;
use crate::app::App;
use crate::guard::Visitor;
use crate::next::encode;
use crate::problem::Problem;
use crate::route::Route;
use crate::words::{Moment, count, plain};

pub fn routes() -> Vec<Route> {
    vec![Route::get("/ledger", "Ledger", show)]
}

/// The page.
#[derive(Template)]
#[template(path = "ledger.html")]
pub struct Ledger {
    frame: Frame,
    entries: Vec<EntryRow>,
    report: Report,
    older: Option<String>,
}

struct EntryRow {
    seq: i64,
    at: Moment,
    kind: String,
    actor: String,
    run: Option<(Uuid, String)>,
    body: Vec<Row>,
    prev: String,
    hash: String,
}

struct Report {
    entries: String,
    head: String,
    broken: Option<(i64, String)>,
}

impl Ledger {
    /// Draws it.
    pub fn new(page: &Page<LedgerEntry>, report: &LedgerReport, frame: Frame) -> Self {
        let entry = |entry: &LedgerEntry| EntryRow {
            seq: entry.seq,
            at: frame.moment(&entry.at),
            kind: plain(&entry.kind),
            actor: entry.actor.clone(),
            run: entry.run.map(|id| (id, short_id(id))),
            body: readable::rows(&entry.body),
            prev: entry.prev.clone(),
            hash: entry.hash.clone(),
        };
        let entries = usize::try_from(report.entries).unwrap_or(0);
        Self {
            entries: page.items.iter().map(entry).collect(),
            report: Report {
                entries: if entries == 1 {
                    "1 entry".to_owned()
                } else {
                    count(entries, "entrie")
                },
                head: report.head.clone(),
                broken: report
                    .broken
                    .as_ref()
                    .map(|broken| (broken.seq, broken.why.clone())),
            },
            older: page
                .next
                .as_ref()
                .map(|cursor| format!("/ledger?cursor={}", encode(cursor))),
            frame,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Place {
    cursor: Option<i64>,
}

async fn show(
    State(app): State<App>,
    visitor: Visitor,
    Asked(place): Asked<Place>,
) -> Result<Response, Problem> {
    let page = app.store.ledger((place.cursor, 50)).await?;
    let report = app.store.verify_ledger().await?;
    let frame = Frame::load(&app, &visitor, "/ledger", clock::now()).await;
    Ok(html(StatusCode::OK, &Ledger::new(&page, &report, frame)))
}
