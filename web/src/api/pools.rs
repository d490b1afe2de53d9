//! Pools: how many task runs hold a slot at once.

use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;
use tidegate_engine::view::{Page, Pool};
use tidegate_engine::{clock, command};

use super::{Body, read_json};
use crate::app::App;
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;

pub fn routes() -> Vec<Route> {
    vec![
        Route::get(
            "/api/v1/pools",
            "Pools, who holds their slots and how many wait",
            list,
        ),
        Route::post(
            "/api/v1/pools/{name}",
            "Makes a pool, or gives it another size",
            set,
        )
        .for_admins()
        .answering(&[200, 422]),
        Route::post(
            "/api/v1/pools/{name}/remove",
            "Removes a pool that no flow names",
            remove,
        )
        .for_admins()
        .answering(&[200, 404]),
    ]
}

async fn list(State(app): State<App>) -> Result<Body<Page<Pool>>, Problem> {
    let items = app.store.pools().await?;
    Ok(Body(Page { items, next: None }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Size {
    size: u32,
}

async fn set(
    State(app): State<App>,
    visitor: Visitor,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Body<Page<Pool>>, Problem> {
    let wanted: Size = read_json(&body)?;
    command::set_pool(&app.store, &visitor.actor, (&name, wanted.size), clock::now()).await?;
    list(State(app)).await
}

async fn remove(
    State(app): State<App>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Body<Page<Pool>>, Problem> {
    command::remove_pool(&app.store, &visitor.actor, &name, clock::now()).await?;
    list(State(app)).await
}
