//! `/schedules`: what starts by itself, when next, and what became of the last ticks.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tidegate_engine::schedule::find_zone;
use tidegate_engine::view::{Schedule, Tick};
use tidegate_engine::{clock, command};
use uuid::Uuid;

use super::shared::short_id;
use super::{Frame, html, see};
use crate::app::App;
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;
use crate::words::{Moment, plain};

pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/schedules", "Schedules", show),
        Route::post("/schedules/{flow}/{name}/pause", "Pauses a schedule", pause).answering(&[303, 404]),
        Route::post("/schedules/{flow}/{name}/resume", "Resumes a schedule", resume).answering(&[303, 404]),
    ]
}

/// The page.
#[derive(Template)]
#[template(path = "schedules.html")]
pub struct Schedules {
    frame: Frame,
    schedules: Vec<ScheduleCard>,
}

/// A schedule; also on the page of its flow.
pub struct ScheduleCard {
    /// Flow.
    pub flow: String,
    /// Name.
    pub name: String,
    /// As written.
    pub cron: String,
    /// Zone.
    pub timezone: String,
    /// As a sentence.
    pub sentence: String,
    /// Next fires.
    pub next: Vec<Fire>,
    /// Since when it is paused.
    pub paused: Option<Moment>,
    /// Why it does not fire.
    pub error: Option<String>,
    /// Newest ticks.
    pub ticks: Vec<TickRow>,
}

/// A fire in both clocks.
pub struct Fire {
    /// How far ahead.
    pub moment: Moment,
    /// `Thu 2026-11-26 02:00` in the schedule's zone.
    pub local: String,
    /// `02:00 UTC`, with its date where that is another; none where the zone's clock is UTC.
    pub utc: Option<String>,
}

/// What became of a tick.
pub struct TickRow {
    /// When it was due.
    pub due: Moment,
    /// How many, where several were skipped at once.
    pub several: Option<i64>,
    /// Why it was skipped.
    pub skipped: Option<String>,
    /// The run it made.
    pub run: Option<(Uuid, String)>,
}

impl ScheduleCard {
    /// Of a schedule.
    pub fn new(schedule: &Schedule, frame: &Frame) -> Self {
        let zone = find_zone(&schedule.timezone).unwrap_or(TimeZone::UTC);
        Self {
            flow: schedule.flow.clone(),
            name: schedule.name.clone(),
            cron: schedule.cron.clone(),
            timezone: schedule.timezone.clone(),
            sentence: schedule.sentence.clone(),
            next: schedule.next.iter().map(|at| fire(*at, &zone, frame)).collect(),
            paused: schedule.paused_at.as_ref().map(|at| frame.moment(at)),
            error: schedule.error.clone(),
            ticks: schedule
                .ticks
                .iter()
                .map(|tick| TickRow::new(tick, frame))
                .collect(),
        }
    }
}

fn fire(at: Timestamp, zone: &TimeZone, frame: &Frame) -> Fire {
    let local = at.to_zoned(zone.clone());
    let utc = at.to_zoned(TimeZone::UTC);
    let apart = local.offset() != utc.offset();
    Fire {
        moment: frame.moment(&at),
        local: local.strftime("%a %Y-%m-%d %H:%M").to_string(),
        utc: apart.then(|| {
            let same_day = local.date() == utc.date();
            let shape = if same_day {
                "%H:%M UTC"
            } else {
                "%Y-%m-%d %H:%M UTC"
            };
            utc.strftime(shape).to_string()
        }),
    }
}

impl TickRow {
    fn new(tick: &Tick, frame: &Frame) -> Self {
        Self {
            due: frame.moment(&tick.scheduled_for),
            several: Some(tick.count).filter(|count| *count > 1),
            skipped: tick.reason.as_deref().map(plain),
            run: tick.run.map(|id| (id, short_id(id))),
        }
    }
}

impl Schedules {
    /// Draws it.
    pub fn new(schedules: &[Schedule], frame: Frame) -> Self {
        Self {
            schedules: schedules
                .iter()
                .map(|schedule| ScheduleCard::new(schedule, &frame))
                .collect(),
            frame,
        }
    }
}

async fn show(State(app): State<App>, visitor: Visitor) -> Result<Response, Problem> {
    let now = clock::now();
    let schedules = app.store.schedules(now).await?;
    let frame = Frame::load(&app, &visitor, "/schedules", now).await;
    Ok(html(StatusCode::OK, &Schedules::new(&schedules, frame)))
}

async fn pause(
    State(app): State<App>,
    visitor: Visitor,
    Path((flow, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let asked = ((flow.as_str(), name.as_str()), true);
    command::pause_schedule(&app.store, &visitor.actor, asked, clock::now()).await?;
    Ok(see("/schedules"))
}

async fn resume(
    State(app): State<App>,
    visitor: Visitor,
    Path((flow, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let asked = ((flow.as_str(), name.as_str()), false);
    command::pause_schedule(&app.store, &visitor.actor, asked, clock::now()).await?;
    Ok(see("/schedules"))
}
