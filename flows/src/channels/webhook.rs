//! Webhooks: Slack's, and signed ones for programs.
//!
//! A program checks `Tidegate-Signature: v1=HEX`, where HEX is HMAC-SHA256 with the channel's secret over the value of
//! `Tidegate-Timestamp` (seconds since 1970), a dot and the body; refuses what is older than five minutes; and takes each
//! `Tidegate-Notice` once, because a try whose answer was lost comes again.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use serde_json::json;
use tidegate_engine::plugin::chain;
use tidegate_engine::signature::sign;

use super::{Letter, Slack, Webhook};

/// How long a receiver may take.
const LIMIT: Duration = Duration::from_secs(15);
/// Characters of a refusal that are told.
const SHOWN: usize = 200;

/// Reads an address of `http` or `https`.
pub(super) fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| "`url` must be an address, https://…".to_owned())
}

/// A client for all of them. The deployment chose the addresses, so none is denied; redirects are not followed.
pub(super) fn client() -> Result<Client, reqwest::Error> {
    // An error says that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .timeout(LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent("tidegate")
        .build()
}

/// Posts to Slack.
pub(super) async fn slack(client: &Client, slack: &Slack, letter: &Letter) -> Result<(), String> {
    let text = slack_text(letter);
    post(
        client,
        &slack.url,
        (json!({ "text": text }).to_string(), HeaderMap::new()),
    )
    .await
}

/// Bold title, details, a link. Slack's markup begins with these three characters.
fn slack_text(letter: &Letter) -> String {
    let plain = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    };
    let mut text = format!("*{}*", plain(&letter.title));
    if !letter.text.is_empty() {
        text.push_str(&format!("\n{}", plain(&letter.text)));
    }
    if let Some(url) = &letter.url {
        text.push_str(&format!("\n<{}|Open in Tidegate>", plain(url)));
    }
    text
}

/// Posts to a program, signed for this moment.
pub(super) async fn signed(
    client: &Client,
    (hook, now): (&Webhook, i64),
    letter: &Letter,
) -> Result<(), String> {
    let body = serde_json::to_string(letter).map_err(|error| error.to_string())?;
    let timestamp = now.to_string();
    let values = [
        ("tidegate-timestamp", timestamp.clone()),
        (
            "tidegate-signature",
            format!("v1={}", sign(&hook.secret, &timestamp, &body)),
        ),
        ("tidegate-notice", letter.id.to_string()),
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in values {
        let value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
        headers.insert(HeaderName::from_static(name), value);
    }
    post(client, &hook.url, (body, headers)).await
}

/// Errors name no address: it may be a secret.
async fn post(client: &Client, url: &str, (body, headers): (String, HeaderMap)) -> Result<(), String> {
    let request = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .headers(headers)
        .body(body);
    let answer = request
        .send()
        .await
        .map_err(|error| format!("no answer: {}", chain(&error.without_url())))?;
    if answer.status().is_success() {
        return Ok(());
    }
    let status = answer.status();
    let said: String = answer
        .text()
        .await
        .unwrap_or_default()
        .trim()
        .chars()
        .take(SHOWN)
        .collect();
    Err(if said.is_empty() {
        status.to_string()
    } else {
        format!("{status}: {said}")
    })
}
