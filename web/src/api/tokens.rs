//! Tokens of programs.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidegate_engine::view::{Page, Token};
use tidegate_engine::{clock, command};

use super::{Body, read_json};
use crate::app::App;
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;

pub fn routes() -> Vec<Route> {
    vec![
        Route::get(
            "/api/v1/tokens",
            "Tokens of who asks; for administrators all",
            list,
        ),
        // Whose it may be and what it may do, the verb checks.
        Route::post(
            "/api/v1/tokens",
            "Makes a token; the only answer that has its `secret`",
            create,
        )
        .for_viewers()
        .answering(&[201, 403, 422]),
        Route::post("/api/v1/tokens/{id}/revoke", "Ends a token at once", revoke)
            .for_viewers()
            .answering(&[200, 404]),
    ]
}

async fn list(State(app): State<App>, visitor: Visitor) -> Result<Body<Page<Token>>, Problem> {
    let items = command::tokens(&app.store, &visitor.actor, clock::now()).await?;
    Ok(Body(Page { items, next: None }))
}

/// A token just made.
#[derive(Serialize)]
struct Made {
    #[serde(flatten)]
    token: Token,
    secret: String,
}

async fn create(State(app): State<App>, visitor: Visitor, body: Bytes) -> Result<Response, Problem> {
    if visitor.is_program() {
        return Err(Problem::forbidden(
            "a token makes no tokens: it could outlive its own end; sign in as a person",
        ));
    }
    let request = read_json(&body)?;
    let (token, secret) = command::create_token(&app.store, &visitor.actor, request, clock::now()).await?;
    Ok((StatusCode::CREATED, Body(Made { token, secret })).into_response())
}

async fn revoke(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Body<Token>, Problem> {
    let token = id.parse().map_err(|_| Problem::not_found("token", &id))?;
    Ok(Body(
        command::revoke_token(&app.store, &visitor.actor, token, clock::now()).await?,
    ))
}
