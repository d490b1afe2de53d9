//! Runs: asking for them, looking at them, stopping them.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tidegate_engine::clock;
use tidegate_engine::command::{self, Request, RetryRequest, Triggered};
use tidegate_engine::store::read::{CursorError, LogCursor, RunFilter};
use tidegate_engine::view::{FlowDetail, Page, Run, RunSummary, TaskRun, Why};
use uuid::Uuid;

use super::{Asked, Body, idempotency_key, limit, read_json, run_id, stream};
use crate::app::App;
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;

/// Lines of a log in one answer.
const LINES: usize = 1000;

pub fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "/api/v1/flows/{flow}/runs",
            "Creates a run of a flow's current version",
            create,
        )
        .answering(&[201, 200, 404, 409, 422]),
        Route::get("/api/v1/runs", "Runs, newest first", list).answering(&[200, 400]),
        Route::get(
            "/api/v1/runs/{id}",
            "A run with its task runs; by its id, the beginning or end of it, or `last`",
            show,
        )
        .answering(&[200, 404]),
        Route::get(
            "/api/v1/runs/{id}/flow",
            "The flow as this run has it, with its params and tasks",
            flow,
        )
        .answering(&[200, 404]),
        Route::get(
            "/api/v1/runs/{id}/why",
            "What the run and each of its unfinished tasks wait for",
            why,
        )
        .answering(&[200, 404]),
        Route::get(
            "/api/v1/runs/{id}/tasks/{task}/items",
            "The task runs of a task that runs for each item of a list, in order",
            items,
        )
        .answering(&[200, 400, 404]),
        Route::post("/api/v1/runs/{id}/cancel", "Stops a run", cancel).answering(&[200, 404, 409]),
        Route::post(
            "/api/v1/runs/{id}/retry",
            "A new run of what did not succeed, or from a task on, or with other params",
            retry,
        )
        .answering(&[201, 200, 404, 409, 422]),
        Route::get(
            "/api/v1/runs/{id}/events",
            "Events of a run; a stream to who accepts one",
            events,
        )
        .answering(&[200, 204, 404, 503]),
        Route::get(
            "/api/v1/runs/{id}/logs",
            "Lines that its tasks printed; a stream to who accepts one",
            logs,
        )
        .answering(&[200, 204, 400, 404, 503]),
        Route::get(
            "/api/v1/runs/{id}/metrics",
            "Series of numbers that its tasks recorded",
            metrics,
        )
        .answering(&[200, 404]),
    ]
}

async fn create(
    State(app): State<App>,
    visitor: Visitor,
    (Path(flow), headers): (Path<String>, HeaderMap),
    body: Bytes,
) -> Result<Response, Problem> {
    let request = if body.is_empty() {
        Request::default()
    } else {
        read_json(&body)?
    };
    let key = idempotency_key(&headers)?;
    let asked = (flow.as_str(), request, "api", key);
    let done = command::trigger(&app.store, &visitor.actor, asked, clock::now()).await?;
    Ok(created(done))
}

/// 201 with its address the first time, 200 with the same body after that.
pub(super) fn created(done: Triggered) -> Response {
    let place = format!("/api/v1/runs/{}", done.run.summary.id);
    let status = if done.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut response = (status, Body(done.run)).into_response();
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// Which runs are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    flow: Option<String>,
    /// Separated by commas.
    state: Option<String>,
    since: Option<Timestamp>,
    cursor: Option<Uuid>,
    limit: Option<usize>,
}

const STATES: [&str; 8] = [
    "queued",
    "running",
    "waiting",
    "cancelling",
    "succeeded",
    "failed",
    "rejected",
    "cancelled",
];

async fn list(State(app): State<App>, Asked(which): Asked<Which>) -> Result<Body<Page<RunSummary>>, Problem> {
    let states: Vec<String> = which
        .state
        .iter()
        .flat_map(|states| states.split(','))
        .map(str::to_owned)
        .collect();
    if let Some(stranger) = states.iter().find(|state| !STATES.contains(&state.as_str())) {
        let known = STATES.join(", ");
        return Err(Problem::bad(format!(
            "`{stranger}` is no state of a run; there are {known}"
        )));
    }
    let filter = RunFilter {
        flow: which.flow,
        states,
        since: which.since,
        before: which.cursor,
        limit: limit(which.limit)?,
    };
    Ok(Body(app.store.runs(&filter, clock::now()).await?))
}

async fn found(app: &App, id: &str) -> Result<Run, Problem> {
    let run = app.store.run(run_id(id)?, clock::now()).await?;
    run.ok_or_else(|| Problem::not_found("run", id))
}

/// The one reading that takes what people type: an id, the beginning or end of one, `last`.
async fn show(State(app): State<App>, Path(word): Path<String>) -> Result<Body<Run>, Problem> {
    let run = app.store.run_called(&word, clock::now()).await?;
    Ok(Body(run))
}

async fn flow(State(app): State<App>, Path(id): Path<String>) -> Result<Body<FlowDetail>, Problem> {
    let found = app.store.flow_detail_of_run(run_id(&id)?, clock::now()).await?;
    found.map(Body).ok_or_else(|| Problem::not_found("run", &id))
}

async fn why(State(app): State<App>, Path(id): Path<String>) -> Result<Body<Why>, Problem> {
    let run = found(&app, &id).await?;
    Ok(Body(app.store.why(&run).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageOf {
    cursor: Option<u32>,
    limit: Option<usize>,
}

async fn items(
    State(app): State<App>,
    Path((id, task)): Path<(String, String)>,
    Asked(asked): Asked<PageOf>,
) -> Result<Body<Page<TaskRun>>, Problem> {
    let of = (run_id(&id)?, task.as_str());
    let items = app.store.items(of, asked.cursor, limit(asked.limit)?).await?;
    Ok(Body(items))
}

async fn cancel(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Body<Run>, Problem> {
    let run = command::cancel(&app.store, &visitor.actor, run_id(&id)?, clock::now()).await?;
    Ok(Body(run))
}

async fn retry(
    State(app): State<App>,
    visitor: Visitor,
    (Path(id), headers): (Path<String>, HeaderMap),
    body: Bytes,
) -> Result<Response, Problem> {
    let request = if body.is_empty() {
        RetryRequest::default()
    } else {
        read_json(&body)?
    };
    let asked = (run_id(&id)?, request, idempotency_key(&headers)?);
    let done = command::retry(&app.store, &visitor.actor, asked, clock::now()).await?;
    Ok(created(done))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    after: Option<i64>,
}

async fn events(
    State(app): State<App>,
    Path(id): Path<String>,
    Asked(asked): Asked<After>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = found(&app, &id).await?;
    let last = stream::last_event_id(&headers).and_then(|last| last.parse().ok());
    let after = last.or(asked.after).unwrap_or(0);
    if stream::is_wanted(&headers) {
        return stream::events(&app, &run, after).await;
    }
    let events = app.store.events(run_id(&id)?, after).await?;
    Ok(Body(json!({"items": events, "next": null})).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lines {
    task: Option<String>,
    cursor: Option<String>,
}

async fn logs(
    State(app): State<App>,
    Path(id): Path<String>,
    Asked(asked): Asked<Lines>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = found(&app, &id).await?;
    if let Some(task) = &asked.task {
        let of_map = task.split('[').next();
        let is = |known: &str| known == task || Some(known) == of_map;
        if !run.tasks.iter().any(|known| is(&known.name)) {
            return Err(Problem::not_found("task", task));
        }
    }
    let at = stream::last_event_id(&headers).or(asked.cursor.as_deref());
    let mut cursor = match at {
        Some(text) => text
            .parse()
            .map_err(|e: CursorError| Problem::bad(e.to_string()))?,
        None => LogCursor::default(),
    };
    if stream::is_wanted(&headers) {
        return stream::logs(&app, &run, (asked.task, cursor)).await;
    }
    let task = asked.task.as_deref();
    let lines = app
        .store
        .log_lines(run_id(&id)?, task, (&mut cursor, LINES))
        .await?;
    let here = cursor.to_string();
    let next = (lines.len() == LINES).then_some(&here);
    // `cursor` is where to go on later, when there may be more.
    Ok(Body(json!({"items": lines, "next": next, "cursor": here})).into_response())
}

async fn metrics(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Problem> {
    found(&app, &id).await?;
    let series = app.store.metrics(run_id(&id)?).await?;
    Ok(Body(json!({"items": series, "next": null})).into_response())
}
