//! `/flows`: what can be run.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use tidegate_engine::clock;
use tidegate_engine::view::FlowSummary;

use super::shared::{RunRow, history};
use super::{Frame, html};
use crate::app::App;
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;
use crate::words::{Drawn, Moment};

pub fn routes() -> Vec<Route> {
    vec![Route::get("/flows", "Flows", show)]
}

/// The page.
#[derive(Template)]
#[template(path = "flows.html")]
pub struct Flows {
    frame: Frame,
    flows: Vec<Card>,
}

/// A flow.
struct Card {
    name: String,
    description: Option<String>,
    owner: Option<String>,
    tags: Vec<String>,
    number: i64,
    sentence: Option<String>,
    next: Option<Moment>,
    latest: Option<RunRow>,
    history: Drawn,
}

impl Flows {
    /// Draws it.
    pub fn new(flows: &[FlowSummary], frame: Frame) -> Self {
        let card = |flow: &FlowSummary| Card {
            name: flow.name.clone(),
            description: flow.description.clone(),
            owner: flow.owner.clone(),
            tags: flow.tags.clone(),
            number: flow.number,
            sentence: flow.schedules.first().map(|schedule| schedule.sentence.clone()),
            next: flow
                .schedules
                .iter()
                .filter_map(|schedule| schedule.next.first())
                .min()
                .map(|at| frame.moment(at)),
            latest: flow.recent.first().map(|run| RunRow::new(run, &frame)),
            history: history(&flow.recent, frame.now),
        };
        Self {
            flows: flows.iter().map(card).collect(),
            frame,
        }
    }
}

async fn show(State(app): State<App>, visitor: Visitor) -> Result<Response, Problem> {
    let now = clock::now();
    let flows = app.store.flows(now).await?;
    let frame = Frame::load(&app, &visitor, "/flows", now).await;
    Ok(html(StatusCode::OK, &Flows::new(&flows, frame)))
}
