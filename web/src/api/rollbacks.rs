//! Moving an alias of a model back.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use tidegate_engine::clock;
use tidegate_engine::command::{self, Way};

use super::runs::created;
use super::{idempotency_key, read_json};
use crate::app::App;
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;

pub fn routes() -> Vec<Route> {
    // Operators and approvers may, which do not include each other: the verb asks.
    vec![
        Route::post(
            "/api/v1/models/{name}/aliases/{alias}/rollback",
            "A run that moves an alias back to a version that it pointed to before: `{from, to, reason}`",
            roll_back,
        )
        .for_viewers()
        .answering(&[201, 200, 404, 409, 422, 503]),
    ]
}

async fn roll_back(
    State(app): State<App>,
    visitor: Visitor,
    (Path((model, alias)), headers): (Path<(String, String)>, HeaderMap),
    body: Bytes,
) -> Result<Response, Problem> {
    let way = Way {
        registry: &app.registry,
        trigger: "api",
        key: idempotency_key(&headers)?,
    };
    let asked = ((model.as_str(), alias.as_str()), read_json(&body)?, way);
    let done = command::roll_back(&app.store, &visitor.actor, asked, clock::now()).await?;
    Ok(created(done))
}
