//! Problem documents as failures: the sentence, the way out, the exit code.

use reqwest::{Response, StatusCode, header};
use serde::Deserialize;
use tidegate_engine::spec::Diagnostic;
use tidegate_engine::spec::params::ParamProblem;

use crate::failure::{Failure, code};

/// What is read of a problem document.
#[derive(Debug, Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    detail: String,
    #[serde(default)]
    problems: Vec<ParamProblem>,
    #[serde(default)]
    diagnostics: Vec<Diagnostic>,
}

/// Nobody answered, or not to the end.
pub(super) fn unreached(error: &reqwest::Error, address: &str) -> Failure {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_timeout() {
        return silent(address);
    }
    Failure::unreachable(format!("the server at {address} cannot be reached: {cause}"))
        .help("is it running, and is TIDEGATE_URL right?")
}

/// Somebody is there and says nothing.
pub(super) fn silent(address: &str) -> Failure {
    Failure::unreachable(format!("the server at {address} does not answer in time"))
}

/// Whether an answer is a problem document, and not another server's page.
pub(super) fn is_one(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json"))
}

/// Something else answers there.
pub(super) fn no_server(address: &str) -> Failure {
    Failure::unreachable(format!("what answers at {address} is no tidegate server"))
        .help("is TIDEGATE_URL right? It is the address of the pages, without a path behind it")
}

/// A refusal, in the server's words.
pub(super) async fn refusal(response: Response, address: &str) -> Failure {
    let status = response.status();
    if status.is_redirection() {
        let place = response.headers().get(header::LOCATION);
        let place = place
            .and_then(|place| place.to_str().ok())
            .unwrap_or("another place");
        return Failure::unreachable(format!("{address} leads on to {place}"))
            .help("set TIDEGATE_URL to where the server is: a token is not sent after a redirect");
    }
    let body = response.bytes().await.unwrap_or_default();
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) if problem.kind.starts_with("urn:tidegate:problem:") => told(status, problem),
        _ if status.is_server_error() => {
            Failure::unreachable(format!("the server at {address} cannot be reached: {status}"))
        }
        _ => no_server(address),
    }
}

fn told(status: StatusCode, problem: Problem) -> Failure {
    if status == StatusCode::UNAUTHORIZED {
        return Failure::refused("the server does not know this token: it is wrong, expired, or revoked")
            .help("make another: `tidegate token create` beside the database, or the page /tokens of the server");
    }
    let lines = |texts: Vec<String>| texts.join("\n       ");
    let why = if !problem.problems.is_empty() {
        lines(problem.problems.iter().map(ToString::to_string).collect())
    } else if !problem.diagnostics.is_empty() {
        lines(problem.diagnostics.iter().map(ToString::to_string).collect())
    } else {
        problem.detail
    };
    Failure::new(code_of(status), why)
}

/// As the same refusal ends the verb beside the database.
fn code_of(status: StatusCode) -> u8 {
    match status {
        StatusCode::BAD_REQUEST
        | StatusCode::UNPROCESSABLE_ENTITY
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE => code::USAGE,
        status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => code::UNREACHABLE,
        _ => code::REFUSED,
    }
}
