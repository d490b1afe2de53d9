//! The way to the server: address, credentials, time limits, and answers told apart from refusals.

use std::time::Duration;

use reqwest::header::CONTENT_LENGTH;
use reqwest::{Body, Client, Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidegate_engine::plugin::Ctx;

use super::MlflowError;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longer than any call took on a busy server; a server that hangs costs one attempt this much.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// What an upload gets on top of [`CALL_LIMIT`], for each MB: a line of 8 Mbit/s.
const UPLOAD_LIMIT_PER_MB: Duration = Duration::from_secs(1);
const SHOWN_OF_A_REFUSAL: usize = 600;

enum Login {
    None,
    Bearer(String),
    Basic { user: String, password: String },
}

/// A client for one tracking server. Cheap calls, each with its own time limit; proxies of the environment are not used.
pub struct Mlflow {
    http: Client,
    base: Url,
    login: Login,
}

/// What an upload sends.
pub(super) struct Upload {
    pub(super) body: Body,
    pub(super) size: u64,
}

impl Mlflow {
    /// The server of the attempt's `MLFLOW_TRACKING_URI`, with `MLFLOW_TRACKING_TOKEN` or `MLFLOW_TRACKING_USERNAME` and
    /// `MLFLOW_TRACKING_PASSWORD`; `None` when there is none.
    pub fn of(ctx: &Ctx) -> Result<Option<Self>, MlflowError> {
        let Some(uri) = ctx.env("MLFLOW_TRACKING_URI") else {
            return Ok(None);
        };
        let base = Url::parse(uri)
            .ok()
            .filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
        let base = base.ok_or_else(|| MlflowError::Address(without_login(uri)))?;
        let login = match (
            ctx.env("MLFLOW_TRACKING_TOKEN"),
            ctx.env("MLFLOW_TRACKING_USERNAME"),
        ) {
            (Some(token), _) => Login::Bearer(token.to_owned()),
            (None, Some(user)) => {
                let password = ctx.env("MLFLOW_TRACKING_PASSWORD").unwrap_or_default().to_owned();
                Login::Basic {
                    user: user.to_owned(),
                    password,
                }
            }
            (None, None) => Login::None,
        };
        let http = client().map_err(MlflowError::Client)?;
        Ok(Some(Self { http, base, login }))
    }

    /// Scheme, host and port, without credentials.
    pub fn server(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    pub(super) async fn get<A: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<A, MlflowError> {
        let request = self
            .request(Method::GET, &format!("api/2.0/mlflow/{path}"))
            .query(query);
        self.call(request, format!("GET {path}")).await
    }

    pub(super) async fn send<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, MlflowError> {
        let named = format!("{method} {path}");
        let request = self.request(method, &format!("api/2.0/mlflow/{path}")).json(body);
        self.call(request, named).await
    }

    pub(super) async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, MlflowError> {
        self.send(Method::POST, path, body).await
    }

    /// Sends a file to the server's artifact store, in place of what was there. `path`: below the store's root.
    pub(super) async fn put(&self, path: &str, upload: Upload) -> Result<(), MlflowError> {
        let megabytes = u32::try_from(upload.size >> 20).unwrap_or(u32::MAX);
        let request = self
            .request(Method::PUT, &format!("api/2.0/mlflow-artifacts/artifacts/{path}"))
            .timeout(CALL_LIMIT.saturating_add(UPLOAD_LIMIT_PER_MB.saturating_mul(megabytes)))
            .header(CONTENT_LENGTH, upload.size)
            .body(upload.body);
        let named = format!("PUT of the artifact {path}");
        let answer = self.answer(request, &named).await?;
        answer.bytes().await.map_err(|e| self.unanswered(named, e))?;
        Ok(())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        let request = self.http.request(method, url).timeout(CALL_LIMIT);
        match &self.login {
            Login::None => request,
            Login::Bearer(token) => request.bearer_auth(token),
            Login::Basic { user, password } => request.basic_auth(user, Some(password)),
        }
    }

    async fn call<A: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        named: String,
    ) -> Result<A, MlflowError> {
        let answer = self.answer(request, &named).await?;
        let body = match answer.bytes().await {
            Ok(body) => body,
            Err(source) => return Err(self.unanswered(named, source)),
        };
        serde_json::from_slice(&body).map_err(|source| MlflowError::Shape {
            request: named,
            source,
        })
    }

    async fn answer(&self, request: RequestBuilder, named: &str) -> Result<Response, MlflowError> {
        let answer = request
            .send()
            .await
            .map_err(|e| self.unanswered(named.to_owned(), e))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let text = answer
            .text()
            .await
            .map_err(|e| self.unanswered(named.to_owned(), e))?;
        Err(refusal(named, status, &text))
    }

    fn unanswered(&self, request: String, source: reqwest::Error) -> MlflowError {
        // The URL may hold credentials, and `server` names the place.
        MlflowError::Unanswered {
            server: self.server(),
            request,
            source: source.without_url(),
        }
    }
}

fn client() -> Result<Client, reqwest::Error> {
    // An error says that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .no_proxy()
        .user_agent("tidegate")
        .build()
}

fn refusal(named: &str, status: u16, text: &str) -> MlflowError {
    #[derive(Deserialize)]
    struct Words {
        error_code: String,
        #[serde(default)]
        message: String,
    }
    let words = serde_json::from_str::<Words>(text);
    let words = words.unwrap_or_else(|_| Words {
        error_code: "-".to_owned(),
        message: text.to_owned(),
    });
    let message = words.message.chars().take(SHOWN_OF_A_REFUSAL).collect();
    MlflowError::Refused {
        request: named.to_owned(),
        status,
        code: words.error_code,
        message,
    }
}

fn without_login(uri: &str) -> String {
    match (uri.split_once("://"), uri.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://{place}"),
        _ => uri.to_owned(),
    }
}
