//! The pages: one file each, with its handler, its view struct, and a template of the same name.

pub mod error;
mod frame;
mod sign_in;

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

pub use frame::Frame;

use crate::problem::Problem;
use crate::route::Route;

pub fn routes() -> Vec<Route> {
    let mut routes = sign_in::routes();
    routes.extend(Vec::new());
    routes
}

/// A page.
pub fn html(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => {
            let mut response = (status, text).into_response();
            let kind = HeaderValue::from_static("text/html; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be drawn");
            Problem::unavailable("the page could not be drawn").into_response()
        }
    }
}

/// After a form was carried out: where to look at it.
fn see(place: &str) -> Response {
    Redirect::to(place).into_response()
}
