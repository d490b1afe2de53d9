//! Problems as pages: what happened, and what can be done about it.

use askama::Template;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tidegate_engine::clock;

use super::{Frame, html};
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route;

/// A problem, for people.
#[derive(Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    frame: Frame,
    status: u16,
    title: &'static str,
    detail: String,
    advice: &'static str,
}

impl ErrorPage {
    /// Of a problem.
    pub fn new(problem: &Problem, frame: Frame) -> Self {
        Self {
            frame,
            status: problem.status.as_u16(),
            title: problem.title,
            detail: problem.detail.clone(),
            advice: advice(problem.status),
        }
    }
}

fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN => "An admin can grant what is missing: `tidegate user role`.",
        StatusCode::NOT_FOUND => {
            "It may be an old link, or a name with a slip in it. The lists above hold all there is."
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            "Nothing is lost: runs go on as soon as the database is back. Load the page again in a few seconds."
        }
        StatusCode::INTERNAL_SERVER_ERROR => {
            "Nothing was half done. The log of the server says what went wrong."
        }
        _ => "Go back, load the page again, and repeat what you did.",
    }
}

/// Makes a page of a problem that a person would see.
pub async fn dress(request: Request, next: Next) -> Response {
    let api = route::is_api(request.uri().path());
    let mut response = next.run(request).await;
    if api {
        return response;
    }
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let now = clock::now();
    let frame = match response.extensions_mut().remove::<Visitor>() {
        Some(visitor) => Frame::of(&visitor, ("", 0), now),
        None => Frame::nobody(now),
    };
    let mut page = html(problem.status, &ErrorPage::new(&problem, frame));
    for name in [header::ALLOW, header::RETRY_AFTER] {
        if let Some(value) = response.headers_mut().remove(&name) {
            page.headers_mut().insert(name, value);
        }
    }
    page
}
