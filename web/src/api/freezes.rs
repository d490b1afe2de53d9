//! Freeze windows, and the second person of an emergency.

use axum::body::Bytes;
use axum::extract::{Path, State};
use jiff::Timestamp;
use serde::Deserialize;
use tidegate_engine::command::Decline;
use tidegate_engine::store::freezes::NewFreeze;
use tidegate_engine::view::{Freeze, Page, Run};
use tidegate_engine::{clock, command};

use super::{Asked, Body, read_json, run_id};
use crate::app::App;
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;

pub fn routes() -> Vec<Route> {
    vec![
        Route::get(
            "/api/v1/freezes",
            "Freeze windows that are on or to come; with `all` those that are over, too",
            list,
        ),
        Route::post("/api/v1/freezes", "Makes a freeze window", add).answering(&[200, 404, 422]),
        Route::post(
            "/api/v1/freezes/{id}/end",
            "Ends a freeze window before its time",
            end,
        )
        .answering(&[200, 404, 422]),
        Route::post(
            "/api/v1/runs/{id}/confirm",
            "Lets an emergency go, as a second person",
            confirm,
        )
        .for_approvers()
        .answering(&[200, 404, 409, 422]),
        Route::post(
            "/api/v1/runs/{id}/decline",
            "Stops an emergency that waits: as a second person, or as an operator",
            decline,
        )
        // Approvers and operators; which of them somebody is, the verb looks at.
        .for_viewers()
        .answering(&[200, 404, 409, 422]),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Also those that are over.
    #[serde(default)]
    all: bool,
}

async fn list(State(app): State<App>, Asked(which): Asked<Which>) -> Result<Body<Page<Freeze>>, Problem> {
    freezes(&app, which.all).await
}

async fn freezes(app: &App, past_too: bool) -> Result<Body<Page<Freeze>>, Problem> {
    let items = app.store.freezes(past_too).await?;
    Ok(Body(Page { items, next: None }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    flow: Option<String>,
    from: Option<Timestamp>,
    until: Timestamp,
    reason: String,
}

async fn add(State(app): State<App>, visitor: Visitor, body: Bytes) -> Result<Body<Freeze>, Problem> {
    let wanted: Wanted = read_json(&body)?;
    let now = clock::now();
    let new = NewFreeze {
        flow: wanted.flow,
        from: wanted.from.unwrap_or(now),
        until: wanted.until,
        reason: wanted.reason,
    };
    Ok(Body(
        command::add_freeze(&app.store, &visitor.actor, new, now).await?,
    ))
}

async fn end(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Body<Page<Freeze>>, Problem> {
    let freeze = id.parse().map_err(|_| Problem::not_found("freeze", &id))?;
    command::end_freeze(&app.store, &visitor.actor, freeze, clock::now()).await?;
    freezes(&app, false).await
}

async fn confirm(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Body<Run>, Problem> {
    let run = command::confirm(&app.store, &visitor.actor, run_id(&id)?, clock::now()).await?;
    Ok(Body(run))
}

async fn decline(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Body<Run>, Problem> {
    let decline: Decline = if body.is_empty() {
        Decline::default()
    } else {
        read_json(&body)?
    };
    let asked = (run_id(&id)?, decline);
    let run = command::decline(&app.store, &visitor.actor, asked, clock::now()).await?;
    Ok(Body(run))
}
