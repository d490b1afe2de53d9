//! `/runs`: all runs, newest first.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use tidegate_engine::clock;
use tidegate_engine::store::read::RunFilter;
use tidegate_engine::view::{Page, RunSummary};
use uuid::Uuid;

use super::shared::RunRow;
use super::{Frame, html};
use crate::api::Asked;
use crate::app::App;
use crate::guard::Visitor;
use crate::next::encode;
use crate::problem::Problem;
use crate::route::Route;

pub fn routes() -> Vec<Route> {
    vec![Route::get("/runs", "Runs", show)]
}

/// Which runs are asked for.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Which {
    /// Of one flow.
    #[serde(default)]
    pub flow: String,
    /// In one state.
    #[serde(default)]
    pub state: String,
    /// Older than this one.
    pub cursor: Option<Uuid>,
}

/// The page.
#[derive(Template)]
#[template(path = "runs.html")]
pub struct Runs {
    frame: Frame,
    rows: Vec<RunRow>,
    which: Which,
    flows: Vec<Choice>,
    states: Vec<Choice>,
    older: Option<String>,
}

/// An entry of a list to choose from.
struct Choice {
    word: String,
    chosen: bool,
}

const STATES: [&str; 8] = [
    "running",
    "waiting",
    "queued",
    "cancelling",
    "succeeded",
    "failed",
    "rejected",
    "cancelled",
];

impl Runs {
    /// Draws it.
    pub fn new(page: &Page<RunSummary>, (which, flows): (Which, Vec<String>), frame: Frame) -> Self {
        let choice = |word: String, chosen: &str| Choice {
            chosen: word == chosen,
            word,
        };
        let older = page.next.as_ref().map(|cursor| {
            let (flow, state) = (encode(&which.flow), encode(&which.state));
            format!("/runs?flow={flow}&state={state}&cursor={}", encode(cursor))
        });
        Self {
            rows: RunRow::all(&page.items, &frame),
            flows: flows.into_iter().map(|flow| choice(flow, &which.flow)).collect(),
            states: STATES
                .iter()
                .map(|state| choice((*state).to_owned(), &which.state))
                .collect(),
            which,
            older,
            frame,
        }
    }
}

async fn show(
    State(app): State<App>,
    visitor: Visitor,
    Asked(which): Asked<Which>,
) -> Result<Response, Problem> {
    let now = clock::now();
    let filter = RunFilter {
        flow: Some(which.flow.clone()).filter(|flow| !flow.is_empty()),
        states: Some(which.state.clone())
            .filter(|state| STATES.contains(&state.as_str()))
            .into_iter()
            .collect(),
        since: None,
        before: which.cursor,
        limit: 50,
    };
    let page = app.store.runs(&filter, now).await?;
    let flows = app
        .store
        .flows(now)
        .await?
        .into_iter()
        .map(|flow| flow.name)
        .collect();
    let frame = Frame::load(&app, &visitor, "/runs", now).await;
    Ok(html(StatusCode::OK, &Runs::new(&page, (which, flows), frame)))
}
