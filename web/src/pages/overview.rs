//! `/`: what waits for me, what runs, what failed, what is next.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use tidegate_engine::clock;
use tidegate_engine::store::read::RunFilter;
use tidegate_engine::view::{Approval, RunSummary, Schedule, Worker};

use super::shared::{AskCard, RunRow};
use super::{Frame, html};
use crate::app::App;
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;
use crate::words::Moment;

pub fn routes() -> Vec<Route> {
    vec![Route::get("/", "Overview", show)]
}

/// What the page is drawn from.
#[derive(Debug, Default)]
pub struct Facts {
    /// Open approvals.
    pub approvals: Vec<Approval>,
    /// Runs that are not over.
    pub active: Vec<RunSummary>,
    /// Runs that failed or were rejected lately.
    pub failed: Vec<RunSummary>,
    /// All schedules.
    pub schedules: Vec<Schedule>,
    /// All workers.
    pub workers: Vec<Worker>,
    /// How many flows there are.
    pub flows: usize,
}

/// The page.
#[derive(Template)]
#[template(path = "overview.html")]
pub struct Overview {
    frame: Frame,
    asks: Vec<AskCard>,
    active: Vec<RunRow>,
    failed: Vec<RunRow>,
    next: Vec<Fire>,
    flows: usize,
    alive: usize,
}

/// A start that is due.
struct Fire {
    flow: String,
    sentence: String,
    at: Moment,
}

impl Overview {
    /// Draws it.
    pub fn new(facts: &Facts, (visitor, frame): (&Visitor, Frame)) -> Self {
        let mut asks: Vec<AskCard> = facts
            .approvals
            .iter()
            .map(|approval| AskCard::new(approval, &visitor.actor, &frame))
            .collect();
        asks.sort_by_key(|ask| !ask.mine);
        Self {
            asks,
            active: RunRow::all(&facts.active, &frame),
            failed: RunRow::all(&facts.failed, &frame),
            next: fires(&facts.schedules, &frame),
            flows: facts.flows,
            alive: facts.workers.iter().filter(|worker| worker.alive).count(),
            frame,
        }
    }
}

/// The next start of each schedule, soonest first, six at most.
fn fires(schedules: &[Schedule], frame: &Frame) -> Vec<Fire> {
    let fire = |schedule: &Schedule| {
        Some(Fire {
            flow: schedule.flow.clone(),
            sentence: schedule.sentence.clone(),
            at: frame.moment(schedule.next.first()?),
        })
    };
    let mut fires: Vec<Fire> = schedules.iter().filter_map(fire).collect();
    fires.sort_by_key(|fire| fire.at.at);
    fires.truncate(6);
    fires
}

async fn show(State(app): State<App>, visitor: Visitor) -> Result<Response, Problem> {
    let now = clock::now();
    let frame = Frame::load(&app, &visitor, "/", now).await;
    let facts = load(&app, now).await?;
    Ok(html(StatusCode::OK, &Overview::new(&facts, (&visitor, frame))))
}

async fn load(app: &App, now: Timestamp) -> Result<Facts, Problem> {
    let states = |states: &[&str], limit: usize| RunFilter {
        states: states.iter().map(|state| (*state).to_owned()).collect(),
        limit,
        ..RunFilter::default()
    };
    let active = states(&["queued", "running", "waiting", "cancelling"], 20);
    let failed = RunFilter {
        since: now.checked_sub(SignedDuration::from_hours(7 * 24)).ok(),
        ..states(&["failed", "rejected"], 5)
    };
    let store = &app.store;
    Ok(Facts {
        approvals: store.approvals(false, (None, 20)).await?.items,
        active: store.runs(&active, now).await?.items,
        failed: store.runs(&failed, now).await?.items,
        schedules: store.schedules(now).await?,
        workers: store.workers().await?,
        flows: store.flows(now).await?.len(),
    })
}
