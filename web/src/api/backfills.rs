//! Runs for past ticks.

use axum::body::Bytes;
use axum::extract::{Path, State};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tidegate_engine::store::backfills::Backfill;
use tidegate_engine::view::{BackfillTick, Page};
use tidegate_engine::{clock, command};

use super::{Body, read_json};
use crate::app::App;
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;

pub fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "/api/v1/flows/{flow}/backfill",
            "Makes runs of past ticks that have none",
            backfill,
        )
        .answering(&[200, 404, 422]),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    from: Timestamp,
    to: Timestamp,
    schedule: Option<String>,
    max_active: Option<u32>,
    #[serde(default)]
    dry_run: bool,
}

async fn backfill(
    State(app): State<App>,
    visitor: Visitor,
    Path(flow): Path<String>,
    body: Bytes,
) -> Result<Body<Page<BackfillTick>>, Problem> {
    let wanted: Wanted = read_json(&body)?;
    if wanted.max_active == Some(0) {
        return Err(Problem::invalid("max_active is at least 1"));
    }
    let asked = Backfill {
        flow,
        schedule: wanted.schedule,
        // The first instant itself is meant too.
        after: wanted
            .from
            .saturating_sub(SignedDuration::from_nanos(1))
            .unwrap_or(wanted.from),
        to: wanted.to,
        max_active: wanted.max_active,
        actor: String::new(),
    };
    let items = command::backfill(&app.store, &visitor.actor, (asked, wanted.dry_run), clock::now()).await?;
    Ok(Body(Page { items, next: None }))
}
