//! Errors as RFC 9457 problem documents. For people, `pages::error` makes a page of the same facts.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tidegate_engine::command::CommandError;
use tidegate_engine::plugin::chain;
use tidegate_engine::rollback::Refusal;
use tidegate_engine::store::StoreError;

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// The kind, the last part of `type`.
    pub kind: &'static str,
    /// The kind in words.
    pub title: &'static str,
    /// This case in words.
    pub detail: String,
    /// What programs may need besides.
    pub extras: Box<Map<String, Value>>,
}

impl Problem {
    fn new(
        status: StatusCode,
        (kind, title): (&'static str, &'static str),
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            title,
            detail: detail.into(),
            extras: Box::default(),
        }
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.extras.insert(name.to_owned(), value);
        self
    }

    /// 400.
    pub fn bad(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            ("bad-request", "The request can't be read"),
            detail,
        )
    }

    /// 401.
    pub fn not_signed_in() -> Self {
        let detail = "sign in, or send `Authorization: Bearer`";
        Self::new(
            StatusCode::UNAUTHORIZED,
            ("not-signed-in", "Not signed in"),
            detail,
        )
    }

    /// 403.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, ("forbidden", "Not allowed"), detail)
    }

    /// 404.
    pub fn not_found(what: &str, name: &str) -> Self {
        Self::missing(format!("there is no {what} `{name}`"))
    }

    fn missing(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ("not-found", "Not found"), detail)
    }

    /// 401, of a message that carries its own credential.
    fn unsigned(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ("unsigned", "It is not signed"), detail)
    }

    /// 408.
    pub fn too_slow() -> Self {
        let detail = "the body did not arrive within 10 s";
        Self::new(StatusCode::REQUEST_TIMEOUT, ("too-slow", "Too slow"), detail)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        let detail = format!("a body has at most {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ("too-large", "Too large"), detail)
    }

    /// 415.
    pub fn media(wanted: &str) -> Self {
        let detail = format!("the body must be {wanted}, not compressed");
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ("media-type", "Another media type is needed"),
            detail,
        )
    }

    /// 422.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            ("invalid", "It does not fit"),
            detail,
        )
    }

    /// 503.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ("unavailable", "Not available now"),
            detail,
        )
    }

    fn broken() -> Self {
        let detail = "something went wrong here; the server's log says what";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ("internal", "An error of ours"),
            detail,
        )
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Map::from_iter([
            (
                "type".to_owned(),
                json!(format!("urn:tidegate:problem:{}", self.kind)),
            ),
            ("title".to_owned(), json!(self.title)),
            ("status".to_owned(), json!(self.status.as_u16())),
            ("detail".to_owned(), json!(self.detail)),
        ]);
        body.extend(
            self.extras
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        Value::Object(body).to_string().into_bytes()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let said = error.to_string();
        let conflict = |kind: &'static str, title: &'static str| {
            Self::new(StatusCode::CONFLICT, (kind, title), said.clone())
        };
        match error {
            CommandError::Forbidden { why } => Self::forbidden(why),
            CommandError::Unsigned => Self::unsigned(said),
            CommandError::NotReady { why } => Self::unavailable(why),
            CommandError::NotFound { .. } => Self::missing(said),
            CommandError::Params(problems) => {
                let listed: Vec<String> = problems.iter().map(ToString::to_string).collect();
                Self::invalid(listed.join("; ")).with("problems", json!(problems))
            }
            CommandError::Flows(found) => {
                let listed: Vec<String> = found.iter().map(ToString::to_string).collect();
                Self::invalid(listed.join("; ")).with("diagnostics", json!(found))
            }
            CommandError::Invalid { why } => Self::invalid(why),
            CommandError::Decided { approval, .. } => {
                conflict("already-decided", "Decided already").with("approval", json!(approval))
            }
            CommandError::Over { run, state } => conflict("run-over", "The run is over")
                .with("run", json!(run))
                .with("state", json!(state)),
            CommandError::KeyReused { .. } => conflict("key-reused", "The key stands for another request"),
            CommandError::NotRolledBack(refusal) => {
                let problem = conflict("not-rolled-back", "It is not rolled back");
                match refusal {
                    Refusal::Moved { now, .. } => problem.with("now", json!(now)),
                    Refusal::NeverThere { possible, .. } => problem.with("possible", json!(possible)),
                    Refusal::UnderWay { run, .. } => problem.with("run", json!(run)),
                    Refusal::There { .. } | Refusal::NothingBefore { .. } => problem,
                }
            }
            CommandError::Expired { at } => {
                Self::new(StatusCode::GONE, ("expired", "Expired"), said).with("expired_at", json!(at))
            }
            CommandError::EvidenceChanged { now } => {
                let kind = ("evidence-changed", "The evidence changed");
                Self::new(StatusCode::PRECONDITION_FAILED, kind, said).with("evidence", json!(now))
            }
            CommandError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NotFound { .. } => return Self::missing(error.to_string()),
            StoreError::Refused { why } => return Self::invalid(why),
            StoreError::Stale => {
                let detail = "another request was faster; look again";
                return Self::new(StatusCode::CONFLICT, ("stale", "Out of date"), detail);
            }
            _ => {}
        }
        if error.is_passing() {
            tracing::warn!(error = chain(&error), "the database is away");
            return Self::unavailable("the database does not answer; it is tried again with every request");
        }
        tracing::error!(error = chain(&error), "a request failed");
        Self::broken()
    }
}

/// Paths that lead nowhere.
pub async fn nothing_here(request: Request) -> Problem {
    Problem::missing(format!("there is nothing at {}", request.uri().path()))
}

/// Methods that a path does not know.
pub async fn wrong_method(request: Request) -> Problem {
    let detail = format!("{} can't be asked of {}", request.method(), request.uri().path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, ("method", "Wrong method"), detail)
}
