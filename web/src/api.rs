//! The JSON interface under `/api/v1`.

mod approvals;
mod backfills;
mod catalog;
mod flows;
mod freezes;
mod openapi;
mod pools;
mod rollbacks;
mod runs;
mod stream;
mod tokens;
mod webhooks;

pub use stream::is_over;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tidegate_engine::id::RunId;
use uuid::Uuid;

use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;

/// Entries of a list when nobody says how many, and at most.
const LIMIT: usize = 50;
const LIMIT_MOST: usize = 200;

pub fn routes() -> Vec<Route> {
    let mut routes = vec![
        Route::get(
            "/api/openapi.json",
            "This interface, described",
            openapi::document,
        )
        .for_anyone(),
        Route::get("/api/v1/me", "Who is signed in, with which grants", me),
    ];
    routes.extend(catalog::routes());
    routes.extend(flows::routes());
    routes.extend(pools::routes());
    routes.extend(freezes::routes());
    routes.extend(backfills::routes());
    routes.extend(rollbacks::routes());
    routes.extend(runs::routes());
    routes.extend(approvals::routes());
    routes.extend(tokens::routes());
    routes.extend(webhooks::routes());
    routes
}

async fn me(visitor: Visitor) -> Body<serde_json::Value> {
    let Visitor { actor, csrf, .. } = visitor;
    Body(json!({"name": actor.name, "roles": actor.roles, "csrf": csrf}))
}

/// A JSON body of ours.
pub struct Body<T>(pub T);

impl<T: Serialize> IntoResponse for Body<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => {
                let mut response = bytes.into_response();
                let kind = HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            Err(error) => {
                tracing::error!(%error, "a view has no JSON form");
                Problem::unavailable("the answer could not be written").into_response()
            }
        }
    }
}

/// The query of an address; what it does not know, it refuses.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(Self(query)),
            Err(error) => Err(Problem::bad(error.body_text())),
        }
    }
}

/// A body that was sent: 400 when it is no JSON, 422 when it is another one than is asked for.
pub fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Problem::invalid(error.to_string()),
        _ => Problem::bad(format!("the body is no JSON: {error}")),
    })
}

/// A run's id as it stands in an address.
pub fn run_id(text: &str) -> Result<RunId, Problem> {
    text.parse().map_err(|_| Problem::not_found("run", text))
}

/// An approval's id as it stands in an address.
pub fn approval_id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::not_found("approval", text))
}

/// How many entries a list shall have.
pub fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(LIMIT),
        Some(limit @ 1..=LIMIT_MOST) => Ok(limit),
        Some(_) => Err(Problem::bad(format!("a limit lies between 1 and {LIMIT_MOST}"))),
    }
}

/// What a client calls its request, to have it carried out once.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    match key.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) => Ok(Some(key)),
        _ => Err(Problem::bad("an Idempotency-Key has 1 to 255 ASCII characters")),
    }
}
