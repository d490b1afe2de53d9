//! Signed messages of other programs.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidegate_engine::clock;
use tidegate_engine::command::{self, Message};
use uuid::Uuid;

use super::Body;
use crate::app::App;
use crate::problem::Problem;
use crate::route::Route;

pub fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "/api/v1/flows/{flow}/webhook",
            "Takes a signed message for the flow's webhook trigger: 201 with the run that it makes, 200 where it came before or asks for none",
            receive,
        )
        .for_anyone()
        .answering(&[200, 201, 401, 422, 503]),
    ]
}

/// What a sender is told: it may trigger the flow, not read it.
#[derive(Debug, Serialize)]
struct Received {
    /// The run that the message made; `null`: it asks for none.
    run: Option<Uuid>,
}

async fn receive(
    State(app): State<App>,
    (Path(flow), headers): (Path<String>, HeaderMap),
    body: Bytes,
) -> Result<Response, Problem> {
    let message = Message {
        flow: &flow,
        header: &|name| headers.get(name).and_then(|value| value.to_str().ok()),
        body: &body,
    };
    let done = command::receive(&app.store, &app.secret_key, message, clock::now()).await?;
    let Some(done) = done else {
        return Ok(Body(Received { run: None }).into_response());
    };
    let run = done.run.summary.id;
    let status = match done.created {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    let mut response = (status, Body(Received { run: Some(run) })).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("/api/v1/runs/{run}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}
