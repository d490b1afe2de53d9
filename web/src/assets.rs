//! The style sheet, the script and the icon: in the binary, kept by browsers until they change.

use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::route::Route;

const STYLE: &str = include_str!("../assets/tidegate.css");
const SCRIPT: &str = include_str!("../assets/live.js");
const ICON: &str = include_str!("../assets/icon.svg");

/// Changes with what they hold; it stands in their addresses.
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let digest = Sha256::new()
        .chain_update(STYLE)
        .chain_update(SCRIPT)
        .chain_update(ICON);
    hex::encode(&digest.finalize()[..6])
});

pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/assets/tidegate.css", "How it looks", || async {
            asset(STYLE, "text/css")
        })
        .for_anyone(),
        Route::get("/assets/live.js", "How it stays up to date", || async {
            asset(SCRIPT, "text/javascript")
        })
        .for_anyone(),
        Route::get("/assets/icon.svg", "Its sign", || async {
            asset(ICON, "image/svg+xml")
        })
        .for_anyone(),
        Route::get("/favicon.ico", "Its sign", || async {
            asset(ICON, "image/svg+xml")
        })
        .for_anyone(),
    ]
}

fn asset(text: &'static str, kind: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
    headers.insert(header::CACHE_CONTROL, kept);
    response
}
