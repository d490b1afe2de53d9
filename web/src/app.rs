//! What every handler is given, and the router.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use tidegate_engine::plugin::Registry;
use tidegate_engine::secrets::KeySource;
use tidegate_engine::store::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{guard, headers, pages, problem, route};

/// How the web part behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// People reach it over TLS, be it through a proxy: cookies are `Secure` and bound to the host.
    pub https: bool,
    /// Connections at once; more wait in the kernel.
    pub connections: usize,
    /// Streams of events and logs at once; more are told to come again.
    pub streams: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            https: false,
            connections: 4096,
            streams: 256,
        }
    }
}

/// What it stands on.
#[derive(Clone)]
pub struct Services {
    /// The database.
    pub store: Store,
    /// The plugins that flow files may name.
    pub registry: Registry,
    /// Where the key of the secrets is: webhooks are checked with them.
    pub secret_key: KeySource,
}

/// What every handler is given. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The database.
    pub store: Store,
    /// The plugins that flow files may name.
    pub registry: Registry,
    pub(crate) secret_key: KeySource,
    /// How to behave.
    pub config: Arc<Config>,
    /// Ends streams when the process shall end.
    pub stop: CancellationToken,
    pub(crate) streams: Arc<Semaphore>,
}

impl App {
    /// Puts together what handlers are given.
    pub fn new(config: Config, services: Services, stop: CancellationToken) -> Self {
        Self {
            store: services.store,
            registry: services.registry,
            secret_key: services.secret_key,
            streams: Arc::new(Semaphore::new(config.streams)),
            config: Arc::new(config),
            stop,
        }
    }
}

/// The router: all of [`route::all`], each behind its guard.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for entry in route::all() {
        let rule = guard::Rule {
            app: app.clone(),
            access: entry.access,
            api: entry.is_api(),
            bytes: entry.bytes,
        };
        let guarded = entry.handler.route_layer(from_fn_with_state(rule, guard::guard));
        router = router.route(entry.path, guarded);
    }
    router
        .fallback(problem::nothing_here)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(from_fn(guard::refuse_secrets_in_query))
        .layer(from_fn(guard::in_time))
        .layer(from_fn(pages::error::dress))
        .layer(from_fn_with_state(app.clone(), headers::add))
        .with_state(app)
}
