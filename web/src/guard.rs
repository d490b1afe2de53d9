//! Who asks, from where, and with what right: before any handler sees a request.
//!
//! - A session comes in a cookie, or as `Authorization: Bearer`, as tokens (`tg_…`) do; never in the address.
//! - What changes something and rests on a cookie must come from a page of ours: forms carry the session's token, JSON carries it in
//!   `X-CSRF-Token` or comes, as the browser says, from our own origin.
//! - The grant that the table of routes asks for must be there.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{self, HeaderMap};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use subtle::ConstantTimeEq;
use tidegate_engine::clock;
use tidegate_engine::command::Actor;
use tidegate_engine::store::tokens;

use crate::app::App;
use crate::origin::{self, Origin};
use crate::problem::Problem;
use crate::route::Access;
use crate::{cookie, next};

/// Whoever asks is answered within this, also where the database is not there and does not say so.
const ANSWER: Duration = Duration::from_secs(12);
/// A body must be there within this.
const BODY: Duration = Duration::from_secs(10);

/// Someone who signed in.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// Who, with the grants of this moment.
    pub actor: Actor,
    /// What the forms of this session carry; empty, and fitting none, where a program came with a token.
    pub csrf: String,
    /// The session, or the program's token.
    pub token: String,
}

impl Visitor {
    /// It is a program with a token, not a person with a session.
    pub fn is_program(&self) -> bool {
        tokens::is_token(&self.token)
    }
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(Problem::not_signed_in)
    }
}

/// What a route asks of those who come.
#[derive(Clone)]
pub struct Rule {
    pub(crate) app: App,
    pub(crate) access: Access,
    pub(crate) api: bool,
    pub(crate) bytes: usize,
}

/// Lets a request through to its handler, or answers it.
pub async fn guard(State(rule): State<Rule>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let visitor = match visitor(&rule, &parts.headers).await {
        Ok(visitor) => visitor,
        Err(problem) => return problem.into_response(),
    };
    if visitor.is_none() && rule.access != Access::Anyone {
        return lead_to_sign_in(&rule, &parts);
    }
    let mut response = match admit(&rule, &parts, body, visitor.as_ref()).await {
        Ok(body) => {
            if let Some(visitor) = &visitor {
                parts.extensions.insert(visitor.clone());
            }
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    };
    if let Some(visitor) = visitor {
        response.extensions_mut().insert(visitor);
    }
    response
}

/// What needs no one does not ask the database who comes.
async fn visitor(rule: &Rule, headers: &HeaderMap) -> Result<Option<Visitor>, Problem> {
    if rule.access == Access::Anyone {
        return Ok(None);
    }
    let https = is_https(&rule.app, headers);
    let (store, now) = (&rule.app.store, clock::now());
    let sent = bearer(headers);
    // A token counts in its header only: a browser would add a cookie by itself.
    if let Some(token) = sent.clone().filter(|token| tokens::is_token(token)) {
        let actor = store.bearer(&token, now).await?;
        let csrf = String::new();
        return Ok(actor.map(|actor| Visitor { actor, csrf, token }));
    }
    let Some(token) = sent.or_else(|| cookie::token(headers, https)) else {
        return Ok(None);
    };
    let signed = store.session(&token, now).await?;
    Ok(signed.map(|signed| Visitor {
        actor: signed.actor,
        csrf: signed.csrf,
        token,
    }))
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().to_owned())
}

/// Over TLS, as configured or as the proxy in front says.
pub fn is_https(app: &App, headers: &HeaderMap) -> bool {
    app.config.https
        || headers
            .get("x-forwarded-proto")
            .is_some_and(|proto| proto == "https")
}

fn lead_to_sign_in(rule: &Rule, parts: &Parts) -> Response {
    if rule.api {
        return Problem::not_signed_in().into_response();
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let back = if parts.method.is_safe() { path } else { "/" };
    Redirect::to(&next::sign_in(back)).into_response()
}

/// The body, read, if the request may go on.
async fn admit(rule: &Rule, parts: &Parts, body: Body, visitor: Option<&Visitor>) -> Result<Body, Problem> {
    if let (Access::Role(role), Some(visitor)) = (rule.access, visitor) {
        visitor.actor.needs(role)?;
    }
    if parts.method.is_safe() {
        return Ok(body);
    }
    let body = take(&parts.headers, (body, rule.bytes)).await?;
    let from = origin::of(&parts.headers);
    if from == Origin::Foreign {
        return Err(Problem::forbidden(
            "the request comes from a page that is not ours",
        ));
    }
    if rule.api {
        check_json(parts, &body, from, visitor)?;
    } else {
        check_form(parts, &body, visitor)?;
    }
    Ok(Body::from(body))
}

async fn take(headers: &HeaderMap, (body, most): (Body, usize)) -> Result<Bytes, Problem> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Problem::media("plain"));
    }
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    if length
        .and_then(|length| length.parse::<u64>().ok())
        .is_some_and(|length| length > most as u64)
    {
        return Err(Problem::too_large(most));
    }
    match tokio::time::timeout(BODY, to_bytes(body, most)).await {
        Err(_) => Err(Problem::too_slow()),
        Ok(Err(error)) => Err(match std::error::Error::source(&error) {
            Some(source) if source.is::<http_body_util::LengthLimitError>() => Problem::too_large(most),
            _ => Problem::bad("the body broke off"),
        }),
        Ok(Ok(bytes)) => Ok(bytes),
    }
}

fn media_is(headers: &HeaderMap, wanted: &str) -> bool {
    let media = headers
        .get(header::CONTENT_TYPE)
        .and_then(|media| media.to_str().ok());
    let media = media.and_then(|media| media.split(';').next());
    media.is_some_and(|media| media.trim().eq_ignore_ascii_case(wanted))
}

fn check_json(parts: &Parts, body: &Bytes, from: Origin, visitor: Option<&Visitor>) -> Result<(), Problem> {
    if !body.is_empty() && !media_is(&parts.headers, "application/json") {
        return Err(Problem::media("application/json"));
    }
    let Some(visitor) = visitor else {
        return Ok(());
    };
    let token = parts.headers.get("x-csrf-token").map(|token| token.as_bytes());
    let by_token = token.is_some_and(|token| same(token, visitor.csrf.as_bytes()));
    // A program's credential is sent by the program alone; a browser adds a cookie to whatever a page asks for.
    if bearer(&parts.headers).is_some() || by_token || (token.is_none() && from == Origin::Ours) {
        return Ok(());
    }
    Err(Problem::forbidden(
        "with a cookie, a change needs the session's `X-CSRF-Token`",
    ))
}

fn check_form(parts: &Parts, body: &Bytes, visitor: Option<&Visitor>) -> Result<(), Problem> {
    let wanted = "application/x-www-form-urlencoded";
    if !media_is(&parts.headers, wanted) {
        return Err(Problem::media(wanted));
    }
    let Some(visitor) = visitor else {
        return Ok(());
    };
    let token = field(body, "csrf").unwrap_or_default();
    if same(token.as_bytes(), visitor.csrf.as_bytes()) {
        return Ok(());
    }
    Err(Problem::forbidden(
        "the form is out of date: load the page again and repeat what you did",
    ))
}

fn same(left: &[u8], right: &[u8]) -> bool {
    !right.is_empty() && bool::from(left.ct_eq(right))
}

/// A field of a form.
pub fn field(body: &[u8], name: &str) -> Option<String> {
    fields(body)
        .into_iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
}

/// The fields of a form, in order; none when it can't be read.
pub fn fields(body: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(body).into_owned().collect()
}

/// An answer begins in time, or is that there is none. What was begun meanwhile in a transaction comes to its end all the same, as
/// it does when whoever asked hangs up.
pub async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable("the database does not answer; ask again in a moment").into_response(),
    }
}

/// Credentials in an address end up in histories, logs and referrers.
pub async fn refuse_secrets_in_query(request: Request, next: Next) -> Response {
    let secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        matches!(
            name.as_str(),
            "token" | "access_token" | "bearer" | "api_key" | "apikey" | "session" | "password" | "csrf"
        )
    };
    let query = request.uri().query().unwrap_or("");
    if fields(query.as_bytes()).iter().any(|(name, _)| secret(name)) {
        return Problem::bad("credentials do not belong into an address").into_response();
    }
    next.run(request).await
}
