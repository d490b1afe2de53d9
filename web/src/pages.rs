//! The pages: one file each, with its handler, its view struct, and a template of the same name.

pub mod admin;
pub mod approval;
pub mod approvals;
pub mod error;
pub mod flow;
pub mod flows;
mod frame;
pub mod ledger;
pub mod model;
pub mod models;
pub mod overview;
mod readable;
pub mod rollback;
pub mod run;
pub mod runs;
pub mod schedules;
mod shared;
pub mod sign_in;
pub mod tokens;
pub mod workers;

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

pub use frame::Frame;

use crate::problem::Problem;
use crate::route::Route;

pub fn routes() -> Vec<Route> {
    let pages = [
        sign_in::routes(),
        overview::routes(),
        approvals::routes(),
        approval::routes(),
        runs::routes(),
        run::routes(),
        flows::routes(),
        flow::routes(),
        models::routes(),
        model::routes(),
        rollback::routes(),
        schedules::routes(),
        workers::routes(),
        ledger::routes(),
        tokens::routes(),
        admin::routes(),
    ];
    pages.into_iter().flatten().collect()
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
