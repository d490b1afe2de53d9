//! What a process is made of: scheduler, worker and pages, on a database of somebody's or on the home's own.

mod flow_folder;
mod local;
mod login;
mod signals;
mod tracing;

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_engine::graph::DEFAULT_QUEUE;
use tidegate_engine::plugin::{Deployment, chain};
use tidegate_engine::scheduler::{self, SchedulerConfig};
use tidegate_engine::store::Store;
use tidegate_engine::worker::{self, WorkerConfig};
use tidegate_flows::channels::{self, Courier};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{BIND, Config};
use crate::failure::{Failure, code};
use crate::term::complain;

pub use flow_folder::FlowFolder;
pub use local::Local;
#[cfg(feature = "ml")]
pub use login::Login;
pub use login::{first_login, password};
pub use signals::{ENDING, interrupted, stop_on_signal};
pub use tracing::{Quiet, trace, warn_of_otlp};

/// The roles that run in this process.
pub struct House {
    store: Store,
    config: Config,
    stop: CancellationToken,
    roles: JoinSet<(&'static str, Result<(), String>)>,
}

impl House {
    /// A house without roles, whose wake-ups reach other processes and theirs it, unless it is told to do without. Its roles end
    /// with `stop`.
    pub fn new(store: Store, config: Config, stop: CancellationToken) -> Self {
        if config.settings.database.notify {
            store.link(stop.clone());
        }
        Self {
            store,
            config,
            stop,
            roles: JoinSet::new(),
        }
    }

    /// Starts a scheduler, and a courier that tells people what happened. `url`: where they reach the pages.
    pub fn add_scheduler(&mut self, url: Option<String>) -> Result<(), Failure> {
        let channels = self.config.settings.channels.clone();
        let courier = Courier::new(self.store.clone(), channels, url);
        let courier =
            courier.map_err(|error| Failure::refused(format!("no client for channels: {error}")))?;
        let stop = self.stop.clone();
        self.roles.spawn(async move {
            channels::run(courier, stop).await;
            ("courier", Ok(()))
        });
        let (store, stop) = (self.store.clone(), self.stop.clone());
        self.roles.spawn(async move {
            let bell = store.scheduler_bell();
            let ended = scheduler::run(SchedulerConfig::default(), store, bell, stop).await;
            ("scheduler", ended.map_err(|error| chain(&error)))
        });
        Ok(())
    }

    /// Starts a worker. `url`: where people reach the pages, for links that plugins leave.
    pub fn add_worker(&mut self, url: Option<String>) {
        let config = worker_config(&self.config, url);
        let services = (self.store.clone(), tidegate_flows::registry());
        let (bell, stop) = (self.store.workers_bell(), self.stop.clone());
        self.roles.spawn(async move {
            let ended = worker::run(config, services, bell, stop).await;
            ("worker", ended.map_err(|error| chain(&error)))
        });
    }

    /// Starts the pages on a listener; answers the address under which people reach them.
    pub fn add_web(&mut self, listener: TcpListener) -> Result<String, Failure> {
        let url = public_url(&self.config, listener.local_addr()?);
        let config = tidegate_web::Config {
            https: url.starts_with("https:"),
            ..tidegate_web::Config::default()
        };
        let services = tidegate_web::Services {
            store: self.store.clone(),
            registry: tidegate_flows::registry(),
            secret_key: self.config.secret_key.clone(),
        };
        let stop = self.stop.clone();
        self.roles.spawn(async move {
            let ended = tidegate_web::serve(config, services, listener, stop).await;
            ("web", ended.map_err(|error| error.to_string()))
        });
        Ok(url)
    }

    /// Waits until the roles ended: all when told to stop, or the first that ends by itself, which is a failure.
    pub async fn live(&mut self) -> Result<(), Failure> {
        let mut failed = None;
        while let Some(ended) = self.roles.join_next().await {
            let (role, why) = match ended {
                Ok((_, Ok(()))) if self.stop.is_cancelled() => continue,
                Ok((role, Ok(()))) => (role, "it ended".to_owned()),
                Ok((role, Err(why))) => (role, why),
                Err(panicked) => ("part", panicked.to_string()),
            };
            self.stop.cancel();
            failed
                .get_or_insert_with(|| Failure::new(code::UNREACHABLE, format!("the {role} stopped: {why}")));
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Listens where the flag, the configuration or the default says. Nobody having said anything, a port that is taken is no obstacle.
pub async fn listen(flag: Option<SocketAddr>, config: &Config) -> Result<TcpListener, Failure> {
    let told = flag.or(config.settings.web.bind);
    let bind = told.unwrap_or(BIND);
    match TcpListener::bind(bind).await {
        Ok(listener) => Ok(listener),
        Err(error) if told.is_none() && error.kind() == std::io::ErrorKind::AddrInUse => {
            Ok(TcpListener::bind(SocketAddr::new(bind.ip(), 0)).await?)
        }
        Err(error) => Err(Failure::refused(format!("cannot listen on {bind}: {error}"))
            .help("choose another address with TIDEGATE_WEB__BIND, or --port")),
    }
}

fn public_url(config: &Config, bound: SocketAddr) -> String {
    let given = config
        .settings
        .web
        .url
        .as_ref()
        .map(|url| url.trim_end_matches('/').to_owned());
    given.unwrap_or_else(|| format!("http://{bound}"))
}

fn worker_config(config: &Config, url: Option<String>) -> WorkerConfig {
    let settings = &config.settings.worker;
    let mut env = config.for_plugins.clone();
    env.extend(url.map(|url| ("TIDEGATE_URL".to_owned(), url)));
    WorkerConfig {
        name: settings.name.clone().unwrap_or_else(host_and_process),
        queues: settings
            .queues
            .clone()
            .unwrap_or_else(|| vec![DEFAULT_QUEUE.to_owned()]),
        slots: settings.slots,
        home: config.home.clone(),
        env: Arc::new(env),
        deployment: Deployment {
            http_allow: config.settings.http.allow.clone(),
        },
        child: vec![own_program(), "run-task".to_owned()],
        guard: vec![own_program(), "guard".to_owned()],
        secret_key: config.secret_key.clone(),
        drain: settings.drain,
    }
}

fn host_and_process() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() {
        "localhost"
    } else {
        host.trim()
    };
    format!("{host}:{}", std::process::id())
}

/// This very program, also when its file was replaced or removed since it started.
fn own_program() -> String {
    let link = "/proc/self/exe";
    if std::path::Path::new(link).exists() {
        return link.to_owned();
    }
    std::env::current_exe().map_or_else(|_| "tidegate".to_owned(), |path| path.display().to_string())
}

/// Tells a step of a start on standard error.
pub fn step(text: &str) {
    complain(&format!("{text}\n"));
}
