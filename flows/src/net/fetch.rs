//! One request, with its redirects.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Client, Method, Response, StatusCode, Url};
use tidegate_engine::plugin::chain;

use super::Places;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What is asked.
#[derive(Debug, Clone)]
pub struct Ask {
    /// GET, POST, …
    pub method: Method,
    /// Where, query included.
    pub url: Url,
    /// Headers; they do not go to another origin.
    pub headers: HeaderMap,
    /// Body.
    pub body: Option<Bytes>,
    /// Redirects that are followed.
    pub redirects: u32,
    /// Bytes of the answer that are taken, at most.
    pub cap: usize,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, at most as long as the cap.
    pub body: Bytes,
    /// There was more than the cap.
    pub cut: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Not `http` or `https`, credentials in the address, no host.
    #[error("{0}")]
    Address(String),
    /// Its address is not public, and not allowed.
    #[error(
        "{place} is not public: private, local and metadata addresses are denied; whoever runs Tidegate may allow it with http.allow in tidegate.toml"
    )]
    Denied {
        /// Host, and the address it stands for.
        place: String,
    },
    /// A redirect that is not followed.
    #[error("a redirect to {to} is not followed: {why}")]
    Redirect {
        /// Where to, without its query.
        to: String,
        /// Why not.
        why: &'static str,
    },
    /// The name has no address now.
    #[error("`{host}` cannot be resolved: {why}")]
    Unresolved {
        /// Name.
        host: String,
        /// What the system said.
        why: String,
    },
    /// No connection, or none to the end.
    #[error("{place} did not answer: {why}")]
    Unanswered {
        /// Origin.
        place: String,
        /// What went wrong.
        why: String,
    },
}

impl NetError {
    /// Trying again may help.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unresolved { .. } | Self::Unanswered { .. })
    }
}

/// Asks, and follows redirects; every address on the way must be one of the permitted.
pub async fn fetch(places: &Places, mut ask: Ask) -> Result<Answer, NetError> {
    loop {
        let response = send(places, &ask).await?;
        match next(&ask, &response)? {
            Some(further) => ask = further,
            None => return take(&ask, response).await,
        }
    }
}

async fn send(places: &Places, ask: &Ask) -> Result<Response, NetError> {
    let (host, addrs) = permitted(places, &ask.url).await?;
    let client = client(&host, &addrs).map_err(|e| unanswered(&ask.url, e))?;
    let request = client
        .request(ask.method.clone(), ask.url.clone())
        .headers(ask.headers.clone());
    let request = match &ask.body {
        Some(body) => request.body(body.clone()),
        None => request,
    };
    request.send().await.map_err(|e| unanswered(&ask.url, e))
}

/// The host and the addresses a connection may go to.
async fn permitted(places: &Places, url: &Url) -> Result<(String, Vec<SocketAddr>), NetError> {
    let address = |why: &str| NetError::Address(format!("`{}` cannot be asked: {why}", shown(url)));
    if !matches!(url.scheme(), "http" | "https") {
        return Err(address("only http and https can"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(address("credentials belong into a header"));
    }
    let host = url
        .host_str()
        .ok_or_else(|| address("it names no host"))?
        .to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, port)).await;
    let found: Vec<SocketAddr> = found
        .map_err(|e| NetError::Unresolved {
            host: host.clone(),
            why: e.to_string(),
        })?
        .collect();
    let fits = |addr: &&SocketAddr| places.permit((bare, port), addr.ip());
    let good: Vec<SocketAddr> = found.iter().filter(fits).copied().collect();
    match found.first() {
        Some(first) if good.is_empty() => {
            let addr = first.ip().to_string();
            let place = if addr == bare {
                addr
            } else {
                format!("{bare} ({addr})")
            };
            Err(NetError::Denied { place })
        }
        Some(_) => Ok((host, good)),
        None => Err(NetError::Unresolved {
            host,
            why: "it has no address".to_owned(),
        }),
    }
}

/// A client that knows one host by the addresses that passed, and no other way: no proxy, no redirects of its own.
fn client(host: &str, addrs: &[SocketAddr]) -> Result<Client, reqwest::Error> {
    // An error says that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .resolve_to_addrs(host, addrs)
        .no_proxy()
        .user_agent("tidegate")
        .build()
}

/// The request that a redirect leads to.
fn next(ask: &Ask, response: &Response) -> Result<Option<Ask>, NetError> {
    let status = response.status();
    let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
    let (Some(location), 301 | 302 | 303 | 307 | 308) = (location, status.as_u16()) else {
        return Ok(None);
    };
    if ask.redirects == 0 {
        return Ok(None);
    }
    let wrong = |why| NetError::Redirect {
        to: location.split(['?', '#']).next().unwrap_or_default().to_owned(),
        why,
    };
    let url = ask.url.join(location).map_err(|_| wrong("it is no address"))?;
    if ask.url.scheme() == "https" && url.scheme() == "http" {
        return Err(wrong("it leaves https"));
    }
    let mut further = Ask {
        redirects: ask.redirects - 1,
        ..ask.clone()
    };
    let keeps = matches!(status.as_u16(), 307 | 308) || matches!(ask.method, Method::GET | Method::HEAD);
    if !keeps {
        (further.method, further.body) = (Method::GET, None);
        further.headers.remove(reqwest::header::CONTENT_TYPE);
    }
    if url.origin() != ask.url.origin() {
        if further.body.is_some() {
            return Err(wrong("it would hand the body to another server"));
        }
        further.headers.clear();
    }
    further.url = url;
    Ok(Some(further))
}

async fn take(ask: &Ask, mut response: Response) -> Result<Answer, NetError> {
    let (status, headers) = (response.status(), response.headers().clone());
    let (mut body, mut cut) = (BytesMut::new(), false);
    while let Some(chunk) = response.chunk().await.map_err(|e| unanswered(&ask.url, e))? {
        let room = ask.cap - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            cut = true;
            break;
        }
    }
    Ok(Answer {
        status,
        headers,
        body: body.freeze(),
        cut,
    })
}

/// An address without what may be secret in it.
pub fn shown(url: &Url) -> String {
    let origin = url.origin();
    if origin.is_tuple() {
        format!("{}{}", origin.ascii_serialization(), url.path())
    } else {
        format!("{}:…", url.scheme())
    }
}

fn unanswered(url: &Url, error: reqwest::Error) -> NetError {
    let why = chain(&error.without_url());
    NetError::Unanswered {
        place: url.origin().ascii_serialization(),
        why,
    }
}
