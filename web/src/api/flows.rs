//! Applying flow files.

use axum::body::Bytes;
use axum::extract::State;
use tidegate_engine::view::{FlowChange, Page};
use tidegate_engine::{clock, command};

use super::{Body, read_json};
use crate::app::App;
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;

/// Bytes of flow files with the files they name, in one request.
const MOST: usize = 16 * 1024 * 1024;

pub fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "/api/v1/flows",
            "Applies flow files, all or none; `diagnostics` says what is wrong with them",
            apply,
        )
        .for_admins()
        .taking(MOST)
        .answering(&[200, 413, 422]),
    ]
}

async fn apply(
    State(app): State<App>,
    visitor: Visitor,
    body: Bytes,
) -> Result<Body<Page<FlowChange>>, Problem> {
    let asked = (read_json(&body)?, &app.registry);
    let items = command::submit(&app.store, &visitor.actor, asked, clock::now()).await?;
    Ok(Body(Page { items, next: None }))
}
