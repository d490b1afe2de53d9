//! `http`: one request, its answer as outputs.
//!
//! What may help later is tried again by the task's retry policy: no connection, a timeout, 408, 425, 429, 5xx; a `Retry-After` is
//! waited for. Any other status that was not expected fails the task. Tasks run at least once, so POST and PATCH carry an
//! `Idempotency-Key` of the task run.

mod answer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_engine::plugin::{
    Ctx, Isolation, Objection, Plugin, TaskError, is_given, literal, no_durations, unread,
};

use crate::net::{Answer, Ask, NetError, Places, fetch, shown};

/// The plugin.
pub struct Http;

/// Its `with`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What is asked; default GET.
    #[serde(default)]
    pub method: Verb,
    /// `http://…` or `https://…`.
    pub url: String,
    /// Headers of the request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What is added to the address after `?`: texts, numbers, booleans; encoded here.
    #[serde(default)]
    pub query: BTreeMap<String, Value>,
    /// A body of JSON. Either this or `text`.
    #[serde(default)]
    pub json: Option<Value>,
    /// A body of text.
    #[serde(default)]
    pub text: Option<String>,
    /// Statuses that are a success; default: 200 to 299.
    #[serde(default)]
    pub expected: Vec<u16>,
    /// How long all of it may take, redirects included.
    #[serde(default = "half_a_minute", with = "tidegate_engine::duration::text")]
    #[schemars(with = "String", default = "half_a_minute_as_text")]
    pub timeout: Duration,
    /// How many redirects are followed.
    #[serde(default = "five")]
    #[schemars(range(min = 0, max = 20))]
    pub redirects: u32,
    /// Bytes of the answer at most; a longer one fails the task.
    #[serde(default = "quarter_of_a_mebibyte")]
    #[schemars(range(min = 0, max = 786_432))]
    pub max_bytes: u32,
}

/// A method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    /// Reads.
    #[default]
    Get,
    /// Reads headers only.
    Head,
    /// Makes or does.
    Post,
    /// Puts in place.
    Put,
    /// Changes.
    Patch,
    /// Removes.
    Delete,
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

fn half_a_minute_as_text() -> &'static str {
    "30s"
}

fn five() -> u32 {
    5
}

fn quarter_of_a_mebibyte() -> u32 {
    256 << 10
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Output {
    /// Status of the last answer.
    pub status: u16,
    /// `content-type`, `etag`, `last-modified`, `link`, `location` and `x-request-id`, where the answer has them.
    pub headers: BTreeMap<String, String>,
    /// The body, where it is JSON; else null.
    pub json: Value,
    /// The body, where it is no JSON; else null.
    pub text: Option<String>,
}

impl Verb {
    fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Head => Method::HEAD,
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Patch => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }
}

impl Input {
    fn ask(&self, ctx: &Ctx) -> Result<Ask, TaskError> {
        let mut headers = headers_of(&self.headers)?;
        let (kind, body) = match (&self.json, &self.text) {
            (Some(_), Some(_)) => return Err(TaskError::fail("give either `json` or `text`, not both")),
            (Some(json), None) => ("application/json", Some(Bytes::from(json.to_string()))),
            (None, Some(text)) => ("text/plain; charset=utf-8", Some(Bytes::from(text.clone()))),
            (None, None) => ("", None),
        };
        if body.is_some() {
            headers
                .entry(CONTENT_TYPE)
                .or_insert(HeaderValue::from_static(kind));
        }
        if matches!(self.method, Verb::Post | Verb::Patch)
            && let Ok(key) = HeaderValue::from_str(&ctx.attempt.idempotency_key())
        {
            headers.entry("idempotency-key").or_insert(key);
        }
        Ok(Ask {
            method: self.method.method(),
            url: self.address()?,
            headers,
            body,
            redirects: self.redirects.min(20),
            cap: self.max_bytes as usize,
        })
    }

    fn address(&self) -> Result<Url, TaskError> {
        let mut url = Url::parse(&self.url).map_err(|e| {
            TaskError::fail(format_args!(
                "`url` is no address ({e}): write http://… or https://…"
            ))
        })?;
        for (name, value) in &self.query {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ => {
                    return Err(TaskError::fail(format_args!(
                        "query.{name} must be a text, a number or a boolean"
                    )));
                }
            };
            url.query_pairs_mut().append_pair(name, &text);
        }
        Ok(url)
    }

    fn expects(&self, status: u16) -> bool {
        if self.expected.is_empty() {
            (200..300).contains(&status)
        } else {
            self.expected.contains(&status)
        }
    }
}

/// Headers as a flow file gives them.
pub(crate) fn headers_of(given: &BTreeMap<String, String>) -> Result<HeaderMap, TaskError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let key = name.parse::<HeaderName>().ok();
        let key = key.ok_or_else(|| TaskError::fail(format_args!("`{name}` is no name of a header")))?;
        let value = value.parse().ok();
        let value =
            value.ok_or_else(|| TaskError::fail(format_args!("`{name}` has no value of a header")))?;
        headers.insert(key, value);
    }
    Ok(headers)
}

/// An address, as written at a key, to which no request could go.
pub(crate) fn unaskable(with: &Value, key: &str) -> Option<Objection> {
    let url = Url::parse(literal(with, key)?);
    let askable = url.is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    let message = || format!("`{key}` is no address that can be asked");
    (!askable).then(|| Objection::hopeless(key, message(), "write http://… or https://…"))
}

/// The places that this deployment lets plugins ask, beside public ones.
pub(crate) fn places(ctx: &Ctx) -> Result<Places, TaskError> {
    Places::parse(&ctx.deployment.http_allow).map_err(TaskError::fail)
}

/// Asks within a time, or until the attempt should stop.
pub(crate) async fn ask_within(
    ctx: &Ctx,
    (places, ask): (&Places, Ask),
    limit: Duration,
) -> Result<Answer, TaskError> {
    let told = format!("{} {}", ask.method, shown(&ask.url));
    let asked = tokio::select! {
        () = ctx.cancelled() => return Err(TaskError::Cancelled),
        asked = tokio::time::timeout(limit, fetch(places, ask)) => asked,
    };
    let asked = asked.map_err(|_| TaskError::retry(format_args!("{told}: no answer within {limit:?}")))?;
    asked.map_err(|error: NetError| {
        let message = format!("{told}: {error}");
        if error.is_passing() {
            TaskError::retry(message)
        } else {
            TaskError::fail(message)
        }
    })
}

#[async_trait]
impl Plugin for Http {
    type Input = Input;
    type Output = Output;

    const NAME: &'static str = "http";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str =
        "Asks a URL and hands its answer on; private addresses only where the deployment allows them";
    const ISOLATION: Isolation = Isolation::Inline;
    const FOLDERS: bool = false;

    async fn run(&self, ctx: &Ctx, input: Input) -> Result<Output, TaskError> {
        ctx.checkpoint()?;
        let ask = input.ask(ctx)?;
        let told = format!("{} {}", ask.method, shown(&ask.url));
        let answer = ask_within(ctx, (&places(ctx)?, ask), input.timeout).await?;
        ctx.info(format!("{told}: {}, {} bytes", answer.status, answer.body.len()));
        if !input.expects(answer.status.as_u16()) {
            return Err(answer::unexpected(&told, &answer));
        }
        answer::output(&told, answer, input.max_bytes)
    }

    fn objections(with: &Value) -> Vec<Objection> {
        let both = ["json", "text"].iter().all(|key| is_given(with, key));
        let bodies = both.then(|| {
            let message = "a request has one body: `json` or `text`";
            Objection::hopeless("text", message, "leave one of them out")
        });
        let no_span = no_durations(with, &["timeout"]);
        bodies
            .into_iter()
            .chain(unaskable(with, "url"))
            .chain(no_span)
            .collect()
    }

    fn idle_keys(_with: &Value) -> Vec<Objection> {
        unread(&["env", "files"])
    }
}
