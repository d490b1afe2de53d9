//! Signing in and out.

use askama::Template;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use tidegate_engine::clock;

use super::{Frame, html, see};
use crate::api::Asked;
use crate::app::App;
use crate::guard::{Visitor, field, is_https};
use crate::problem::Problem;
use crate::route::Route;
use crate::{cookie, next};

pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/sign-in", "The form to sign in", show).for_anyone(),
        Route::post("/sign-in", "Signs in", enter)
            .for_anyone()
            .answering(&[303, 403]),
        Route::post("/sign-out", "Signs out", leave)
            .for_viewers()
            .answering(&[303]),
    ]
}

/// The form.
#[derive(Template)]
#[template(path = "sign_in.html")]
pub struct SignIn {
    frame: Frame,
    next: String,
    name: String,
    refused: bool,
}

impl SignIn {
    /// The form as it comes back after a failure.
    pub fn refused(frame: Frame, name: &str) -> Self {
        Self {
            frame,
            next: "/".to_owned(),
            name: name.to_owned(),
            refused: true,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Query {
    next: Option<String>,
}

async fn show(Asked(query): Asked<Query>) -> Response {
    let page = SignIn {
        frame: Frame::nobody(clock::now()),
        next: next::safe(query.next.as_deref()).to_owned(),
        name: String::new(),
        refused: false,
    };
    html(StatusCode::OK, &page)
}

/// One message for every failure: whether there is such a person is nobody's business.
async fn enter(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let now = clock::now();
    let name = field(&body, "name").unwrap_or_default();
    let password = field(&body, "password").unwrap_or_default();
    let back = field(&body, "next");
    let back = next::safe(back.as_deref());
    let https = is_https(&app, &headers);
    let Some(opened) = app.store.sign_in(&name, &password, now).await? else {
        let page = SignIn {
            next: back.to_owned(),
            ..SignIn::refused(Frame::nobody(now), &name)
        };
        return Ok(html(StatusCode::FORBIDDEN, &page));
    };
    if let Some(old) = cookie::token(&headers, https) {
        app.store.sign_out(&old).await?;
    }
    let mut response = see(back);
    if let Some(cookie) = cookie::set(&opened.token, https) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

async fn leave(State(app): State<App>, visitor: Visitor, headers: HeaderMap) -> Result<Response, Problem> {
    app.store.sign_out(&visitor.token).await?;
    let mut response = see("/sign-in");
    if let Some(cookie) = cookie::clear(is_https(&app, &headers)) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
