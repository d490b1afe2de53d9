//! Flows, schedules, models, workers and the ledger.

use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use tidegate_engine::clock;
use tidegate_engine::command::{self, GateTrial};
use tidegate_engine::view::{
    AliasMove, FlowDetail, FlowSummary, LedgerEntry, LedgerReport, Model, ModelVersion, Page, Schedule, Trial,
};

use super::{Asked, Body, limit};
use crate::app::App;
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;

pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/flows", "Flows, by name", flows),
        Route::get("/api/v1/flows/{name}", "A flow with its params and tasks", flow).answering(&[200, 404]),
        Route::get(
            "/api/v1/flows/{flow}/gates/{task}/trial",
            "What the newest runs would have come to at a gate under another rule; changes nothing",
            trial,
        )
        .answering(&[200, 400, 404, 422]),
        Route::get("/api/v1/schedules", "Schedules with their next fires", schedules),
        Route::post(
            "/api/v1/schedules/{flow}/{name}/pause",
            "Pauses a schedule: what falls due is recorded as skipped",
            pause,
        )
        .answering(&[200, 404]),
        Route::post(
            "/api/v1/schedules/{flow}/{name}/resume",
            "Resumes a schedule; it never fires the past",
            resume,
        )
        .answering(&[200, 404]),
        Route::get("/api/v1/models", "Registered models", models),
        Route::get(
            "/api/v1/models/{name}",
            "A model's versions and the moves of its aliases",
            model,
        )
        .answering(&[200, 404]),
        Route::get(
            "/api/v1/workers",
            "Workers that are alive or were lately",
            workers,
        ),
        Route::get("/api/v1/ledger", "Entries of the ledger, newest first", ledger).answering(&[200, 400]),
        Route::get("/api/v1/ledger/verify", "Walks the ledger's chain", verify),
    ]
}

/// A list that has one page.
fn whole<T>(items: Vec<T>) -> Body<Page<T>> {
    Body(Page { items, next: None })
}

async fn flows(State(app): State<App>) -> Result<Body<Page<FlowSummary>>, Problem> {
    Ok(whole(app.store.flows(clock::now()).await?))
}

async fn flow(State(app): State<App>, Path(name): Path<String>) -> Result<Body<FlowDetail>, Problem> {
    let found = app.store.flow(&name, clock::now()).await?;
    let (summary, flow) = found.ok_or_else(|| Problem::not_found("flow", &name))?;
    Ok(Body(FlowDetail::new(summary, &flow)))
}

/// `set=above=0.36,borderline=0.01`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Another {
    set: String,
    rule: Option<usize>,
    last: Option<usize>,
}

async fn trial(
    State(app): State<App>,
    Path((flow, task)): Path<(String, String)>,
    Asked(another): Asked<Another>,
) -> Result<Body<Page<Trial>>, Problem> {
    let asked = GateTrial {
        changes: another.set.split(',').map(str::to_owned).collect(),
        rule: another.rule,
        last: limit(another.last)?,
    };
    let gate = (flow.as_str(), task.as_str());
    Ok(whole(
        command::try_gate(&app.store, (gate, asked), clock::now()).await?,
    ))
}

async fn schedules(State(app): State<App>) -> Result<Body<Page<Schedule>>, Problem> {
    Ok(whole(app.store.schedules(clock::now()).await?))
}

async fn pause(
    State(app): State<App>,
    visitor: Visitor,
    Path(place): Path<(String, String)>,
) -> Result<Body<Schedule>, Problem> {
    set_paused(&app, &visitor, (place, true)).await
}

async fn resume(
    State(app): State<App>,
    visitor: Visitor,
    Path(place): Path<(String, String)>,
) -> Result<Body<Schedule>, Problem> {
    set_paused(&app, &visitor, (place, false)).await
}

async fn set_paused(
    app: &App,
    visitor: &Visitor,
    ((flow, name), paused): ((String, String), bool),
) -> Result<Body<Schedule>, Problem> {
    let now = clock::now();
    let asked = ((flow.as_str(), name.as_str()), paused);
    command::pause_schedule(&app.store, &visitor.actor, asked, now).await?;
    let all = app.store.schedules(now).await?;
    let found = all
        .into_iter()
        .find(|schedule| schedule.flow == flow && schedule.name == name);
    found
        .map(Body)
        .ok_or_else(|| Problem::not_found("schedule", &name))
}

async fn models(State(app): State<App>) -> Result<Body<Page<Model>>, Problem> {
    Ok(whole(app.store.models().await?))
}

/// A model with all that is known about it.
#[derive(Serialize)]
struct ModelBody {
    #[serde(flatten)]
    summary: Model,
    history: Vec<ModelVersion>,
    moves: Vec<AliasMove>,
}

async fn model(State(app): State<App>, Path(name): Path<String>) -> Result<Body<ModelBody>, Problem> {
    let all = app.store.models().await?;
    let summary = all.into_iter().find(|model| model.name == name);
    Ok(Body(ModelBody {
        summary: summary.ok_or_else(|| Problem::not_found("model", &name))?,
        history: app.store.model_versions(&name).await?,
        moves: app.store.alias_moves(&name).await?,
    }))
}

async fn workers(State(app): State<App>) -> Result<Body<Page<tidegate_engine::view::Worker>>, Problem> {
    Ok(whole(app.store.workers().await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    cursor: Option<i64>,
    limit: Option<usize>,
}

async fn ledger(
    State(app): State<App>,
    Asked(place): Asked<Place>,
) -> Result<Body<Page<LedgerEntry>>, Problem> {
    Ok(Body(app.store.ledger((place.cursor, limit(place.limit)?)).await?))
}

async fn verify(State(app): State<App>) -> Result<Body<LedgerReport>, Problem> {
    Ok(Body(app.store.verify_ledger().await?))
}
