//! What becomes of an answer: outputs, or an error with its class.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use serde_json::Value;
use tidegate_engine::clock;
use tidegate_engine::plugin::TaskError;

use super::Output;
use crate::net::Answer;

/// Headers that are handed on.
const SHOWN: [&str; 6] = [
    "content-type",
    "etag",
    "last-modified",
    "link",
    "location",
    "x-request-id",
];
/// What a server may ask to be left alone for, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Characters of a refusal's body in the error.
const SHOWN_OF_A_REFUSAL: usize = 300;

/// The outputs of an answer that was expected.
pub(super) fn output(told: &str, answer: Answer, cap: u32) -> Result<Output, TaskError> {
    if answer.cut {
        return Err(TaskError::fail(format_args!(
            "{told}: the answer has more than {cap} bytes (`max_bytes`)"
        )));
    }
    let (mut json, mut text) = (Value::Null, None);
    if is_json(&answer.headers) && !answer.body.is_empty() {
        json = serde_json::from_slice(&answer.body).map_err(|e| {
            TaskError::fail(format_args!(
                "{told}: the answer says it is JSON, but it is not: {e}"
            ))
        })?;
    } else {
        text = Some(String::from_utf8_lossy(&answer.body).into_owned());
    }
    let headers = SHOWN.iter().filter_map(|name| {
        let value = answer.headers.get(*name)?;
        Some((
            (*name).to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        ))
    });
    Ok(Output {
        status: answer.status.as_u16(),
        headers: headers.collect::<BTreeMap<_, _>>(),
        json,
        text,
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let essence = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// The error of a status that was not expected.
pub(super) fn unexpected(told: &str, answer: &Answer) -> TaskError {
    let status = answer.status.as_u16();
    let body = String::from_utf8_lossy(&answer.body);
    let said: String = body.trim().chars().take(SHOWN_OF_A_REFUSAL).collect();
    let message = match said.is_empty() {
        true => format!("{told}: {}", answer.status),
        false => format!("{told}: {}: {said}", answer.status),
    };
    if !matches!(status, 408 | 425 | 429 | 500..=599) {
        return TaskError::fail(message);
    }
    match retry_after(&answer.headers) {
        Some(after) => TaskError::Later { message, after },
        None => TaskError::retry(message),
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            date.duration_since(clock::now()).try_into().unwrap_or_default()
        }
    };
    Some(pause.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_say_when_in_seconds_or_by_date_and_not_for_ever() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(of("120"), Some(Duration::from_secs(120)));
        assert_eq!(of("999999"), Some(LONGEST_PAUSE));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("Wed, 21 Oct 2065 07:28:00 GMT"), Some(LONGEST_PAUSE));
        assert_eq!(of("soon"), None);
    }
}
