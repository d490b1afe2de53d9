//! `/workers`: who runs tasks.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use tidegate_engine::clock;
use tidegate_engine::view::Worker;

use super::{Frame, html};
use crate::app::App;
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;
use crate::words::Moment;

pub fn routes() -> Vec<Route> {
    vec![Route::get("/workers", "Workers", show)]
}

/// The page.
#[derive(Template)]
#[template(path = "workers.html")]
pub struct Workers {
    frame: Frame,
    workers: Vec<WorkerRow>,
    alive: usize,
}

struct WorkerRow {
    name: String,
    version: String,
    queues: String,
    slots: i32,
    busy: i64,
    started: Moment,
    heartbeat: Moment,
    state: &'static str,
    tone: &'static str,
}

impl Workers {
    /// Draws it.
    pub fn new(workers: &[Worker], frame: Frame) -> Self {
        let row = |worker: &Worker| {
            let draining = worker.draining_at.is_some();
            let (state, tone) = match (worker.stopped_at.is_some(), worker.alive) {
                (true, _) => ("stopped", "calm"),
                (false, true) if draining => ("draining", "calm"),
                (false, true) => ("alive", "good"),
                (false, false) => ("lost", "bad"),
            };
            WorkerRow {
                name: worker.name.clone(),
                version: worker.version.clone(),
                queues: worker.queues.join(", "),
                slots: worker.slots,
                busy: worker.busy,
                started: frame.moment(&worker.started_at),
                heartbeat: frame.moment(&worker.heartbeat_at),
                state,
                tone,
            }
        };
        Self {
            workers: workers.iter().map(row).collect(),
            alive: workers.iter().filter(|worker| worker.alive).count(),
            frame,
        }
    }
}

async fn show(State(app): State<App>, visitor: Visitor) -> Result<Response, Problem> {
    let workers = app.store.workers().await?;
    let frame = Frame::load(&app, &visitor, "/workers", clock::now()).await;
    Ok(html(StatusCode::OK, &Workers::new(&workers, frame)))
}
