//! For machines that watch: is it alive, can it work, what does it count.

mod numbers;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tidegate_engine::plugin::chain;

use crate::app::App;
use crate::problem::Problem;
use crate::route::Route;

pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/healthz", "Whether the process answers", alive).for_anyone(),
        Route::get(
            "/readyz",
            "Whether it can work: database, migrations, a live scheduler",
            ready,
        )
        .for_anyone()
        .answering(&[200, 503]),
        Route::get("/metrics", "Numbers for Prometheus", metrics).for_anyone(),
    ]
}

async fn alive() -> Json<serde_json::Value> {
    Json(json!({"status": "alive"}))
}

/// 503 with every reason that stands in the way.
async fn ready(State(app): State<App>) -> Response {
    let reasons = match app.store.pulse().await {
        Ok(pulse) => pulse.hindrances(),
        Err(error) => {
            tracing::warn!(error = chain(&error), "not ready");
            vec!["the database does not answer".to_owned()]
        }
    };
    if reasons.is_empty() {
        return Json(json!({"status": "ready"})).into_response();
    }
    let body = Json(json!({"status": "not ready", "reasons": reasons}));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let text = numbers::text(&app.store).await?;
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
