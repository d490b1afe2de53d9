//! A server seen from the command line: the API of `TIDEGATE_URL`, as whom `TIDEGATE_TOKEN` stands for.

mod problem;
mod stream;

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tidegate_engine::view::Page;
use url::{Host, Url};

use crate::config::Config;
use crate::failure::Failure;
use crate::term::complain;

pub use stream::Stream;

/// How long a server may take to be reached, and to answer.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(60);

/// A server, and the token it is asked with.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: String,
}

impl Client {
    /// The client that the environment asks for; `None`: it names no server.
    pub fn of(config: &Config) -> Result<Option<Self>, Failure> {
        let Some(address) = &config.server else {
            return Ok(None);
        };
        let base = base_of(address)?;
        let token = config.token.clone().ok_or_else(|| {
            Failure::usage("TIDEGATE_URL is set, but TIDEGATE_TOKEN is not")
                .help("make a token (`tidegate token create`, or the page /tokens of the server), or unset TIDEGATE_URL to work on the database")
        })?;
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::usage(
                "TIDEGATE_TOKEN is no token: they begin with tg_ and are one word",
            ));
        }
        if goes_in_the_clear(&base) {
            let host = base.host_str().unwrap_or_default();
            complain(&format!(
                "warning: TIDEGATE_URL is not https: the token goes to {host} in the clear\n"
            ));
        }
        Ok(Some(Self {
            http: http()?,
            base,
            token,
        }))
    }

    /// Where it is, for messages.
    pub fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Reads.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        let request = self.request(Method::GET, path).query(query);
        self.answer(self.send(request).await?).await
    }

    /// Changes something.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let response = self.send(self.request(Method::POST, path).json(body)).await?;
        self.answer(response).await
    }

    /// Makes something, once under a key. `true`: it was made now.
    pub async fn create<T: DeserializeOwned>(
        &self,
        path: &[&str],
        (body, key): (&impl Serialize, Option<&str>),
    ) -> Result<(T, bool), Failure> {
        let mut request = self.request(Method::POST, path).json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = self.send(request).await?;
        let created = response.status() == StatusCode::CREATED;
        Ok((self.answer(response).await?, created))
    }

    /// Reads what may not be there.
    pub async fn find<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Option<T>, Failure> {
        let sent = self.request(Method::GET, path).send().await;
        let response = sent.map_err(|error| problem::unreached(&error, self.address()))?;
        if response.status() == StatusCode::NOT_FOUND && problem::is_one(&response) {
            return Ok(None);
        }
        self.answer(self.checked(response).await?).await.map(Some)
    }

    /// All of a list, page by page.
    pub async fn all<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Vec<T>, Failure> {
        let (mut items, mut query) = (Vec::new(), query.to_vec());
        loop {
            let mut page: Page<T> = self.get(path, &query).await?;
            items.append(&mut page.items);
            let Some(next) = page.next else {
                return Ok(items);
            };
            query.retain(|(name, _)| *name != "cursor");
            query.push(("cursor", next));
        }
    }

    /// A request that answers within its time.
    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.unbounded(method, path).timeout(ANSWER)
    }

    /// A request whose answer may go on for ever.
    fn unbounded(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        self.http.request(method, url).bearer_auth(&self.token)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request
            .send()
            .await
            .map_err(|error| problem::unreached(&error, self.address()))?;
        self.checked(response).await
    }

    async fn checked(&self, response: Response) -> Result<Response, Failure> {
        if response.status().is_success() {
            return Ok(response);
        }
        Err(problem::refusal(response, self.address()).await)
    }

    async fn answer<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let strange = || problem::no_server(self.address());
        let body = response
            .bytes()
            .await
            .map_err(|error| problem::unreached(&error, self.address()))?;
        serde_json::from_slice(&body).map_err(|_| strange())
    }
}

/// An empty body.
pub fn nothing() -> Value {
    json!({})
}

fn base_of(address: &str) -> Result<Url, Failure> {
    let wrong = || {
        Failure::usage(format!("TIDEGATE_URL is no address of a server: {address}"))
            .help("write https://tidegate.example, with nothing behind the path")
    };
    let url = Url::parse(address).map_err(|_| wrong())?;
    let plain = matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    if !plain || url.host().is_none() {
        return Err(wrong());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Failure::usage("TIDEGATE_URL must not carry a name or password")
            .help("the token is all it takes"));
    }
    Ok(url)
}

fn goes_in_the_clear(url: &Url) -> bool {
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => true,
    };
    url.scheme() == "http" && !here
}

fn http() -> Result<reqwest::Client, Failure> {
    // An error means that another part of the process was faster with the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        // A token is sent where one said, and nowhere else.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| Failure::usage(format!("no client can be made: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_token_goes_in_the_clear_to_other_machines_only() {
        let clear = |address: &str| goes_in_the_clear(&base_of(address).unwrap());
        for here in [
            "http://localhost:8080",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "https://tidegate.example",
        ] {
            assert!(!clear(here), "{here}");
        }
        for there in [
            "http://tidegate.example",
            "http://10.0.0.7:8080",
            "http://localhost.example",
        ] {
            assert!(clear(there), "{there}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in [
            "tidegate.example",
            "postgres://a/b",
            "https://a/?x=1",
            "https://anna:pw@a/",
            "http://",
        ] {
            assert!(base_of(wrong).is_err(), "{wrong}");
        }
        assert!(base_of("https://example.org/tidegate/").is_ok());
    }
}
