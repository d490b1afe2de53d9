//! Approvals: the inbox, one of them, and deciding.

use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;
use tidegate_engine::clock;
use tidegate_engine::command;
use tidegate_engine::view::{Approval, Page};
use uuid::Uuid;

use super::{Asked, Body, approval_id, limit, read_json, run_id};
use crate::app::App;
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;

pub fn routes() -> Vec<Route> {
    vec![
        Route::get(
            "/api/v1/approvals",
            "Approvals, newest first; open ones unless told",
            list,
        )
        .answering(&[200, 400]),
        Route::get("/api/v1/approvals/{id}", "An approval with its evidence", show).answering(&[200, 404]),
        Route::get(
            "/api/v1/runs/{id}/tasks/{task}/approval",
            "The newest approval that a task of a run asked for",
            of_task,
        )
        .answering(&[200, 404]),
        // Who is asked stands in the flow; a person may be asked by name.
        Route::post(
            "/api/v1/approvals/{id}/decision",
            "Decides: `{decision, comment, evidence}`",
            decide,
        )
        .for_viewers()
        .answering(&[200, 403, 404, 409, 410, 412, 422]),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// `open` (default) or `all`.
    state: Option<String>,
    cursor: Option<Uuid>,
    limit: Option<usize>,
}

async fn list(State(app): State<App>, Asked(which): Asked<Which>) -> Result<Body<Page<Approval>>, Problem> {
    let closed_too = match which.state.as_deref() {
        None | Some("open") => false,
        Some("all") => true,
        Some(_) => return Err(Problem::bad("`state` is `open` or `all`")),
    };
    let place = (which.cursor, limit(which.limit)?);
    Ok(Body(app.store.approvals(closed_too, place).await?))
}

async fn show(State(app): State<App>, Path(id): Path<String>) -> Result<Body<Approval>, Problem> {
    let found = app.store.approval(approval_id(&id)?).await?;
    found.map(Body).ok_or_else(|| Problem::not_found("approval", &id))
}

async fn of_task(
    State(app): State<App>,
    Path((id, task)): Path<(String, String)>,
) -> Result<Body<Approval>, Problem> {
    let found = app.store.approval_of(run_id(&id)?, &task).await?;
    found
        .map(Body)
        .ok_or_else(|| Problem::not_found("approval of task", &task))
}

async fn decide(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Body<Approval>, Problem> {
    let decision = (approval_id(&id)?, read_json(&body)?);
    let approval = command::decide(&app.store, &visitor.actor, decision, clock::now()).await?;
    Ok(Body(approval))
}
