//! `tidegate dev`, `server` and `worker`: processes that go on until they are told to end.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use tidegate_engine::clock;
use tidegate_engine::command::{Actor, Role};
use tidegate_engine::graph::EVERY_QUEUE;
use tidegate_engine::id::TaskName;
use tidegate_engine::store::Store;
use tidegate_engine::store::migrate::Standing;
use tokio_util::sync::CancellationToken;

use super::{Ended, Session};
use crate::backend::{self, Backend};
use crate::config::Config;
use crate::failure::{Failure, code};
use crate::roles::{
    ENDING, FlowFolder, House, Local, Quiet, first_login, listen, step, stop_on_signal, trace, warn_of_otlp,
};

/// Arguments of `dev`.
#[derive(Debug, Args)]
pub struct Dev {
    /// Folder of flow files [default: flows, else this one]
    dir: Option<PathBuf>,
    /// Port of the pages on 127.0.0.1 [default: 8080, else a free one]
    #[arg(long)]
    port: Option<u16>,
}

/// Arguments of `server`.
#[derive(Debug, Args)]
pub struct Server {
    /// Run tasks in this process too
    #[arg(long)]
    worker: bool,
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS:PORT")]
    bind: Option<SocketAddr>,
}

/// Arguments of `worker`.
#[derive(Debug, Args)]
pub struct Worker {
    /// A queue to serve, repeatable; `*` serves all [default: default]
    #[arg(long = "queue", value_name = "QUEUE", value_parser = queue)]
    queues: Vec<String>,
    /// Task runs at once
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    slots: Option<u32>,
}

/// Scheduler and pages, and a worker where asked.
pub async fn server(args: Server, session: &Session) -> Ended {
    trace(session, Quiet::No);
    warn_of_otlp(session);
    let config = session.config()?;
    let store = production_store(&config).await?;
    let migrated = store.migrate().await?;
    let listener = listen(args.bind, &config).await?;
    let stop = CancellationToken::new();
    stop_on_signal(&stop, ENDING)?;
    let mut house = House::new(store, config, stop);
    let url = house.add_web(listener)?;
    house.add_scheduler(Some(url.clone()))?;
    if args.worker {
        house.add_worker(Some(url.clone()));
    }
    tracing::info!(url, migrated, "server is up");
    house.live().await?;
    Ok(code::DONE)
}

/// A worker.
pub async fn worker(args: Worker, session: &Session) -> Ended {
    trace(session, Quiet::No);
    warn_of_otlp(session);
    let mut config = session.config()?;
    if let Some(slots) = args.slots {
        config.settings.worker.slots = slots;
    }
    if !args.queues.is_empty() {
        config.settings.worker.queues = Some(args.queues);
    }
    let store = production_store(&config).await?;
    let stop = CancellationToken::new();
    stop_on_signal(&stop, ENDING)?;
    wait_for_schema(&store, &stop).await?;
    let url = config.settings.web.url.clone();
    let slots = config.settings.worker.slots;
    let mut house = House::new(store, config, stop);
    house.add_worker(url);
    tracing::info!(slots, "worker is up");
    house.live().await?;
    Ok(code::DONE)
}

fn queue(text: &str) -> Result<String, String> {
    if text != EVERY_QUEUE {
        TaskName::new(text).map_err(|error| error.to_string())?;
    }
    Ok(text.to_owned())
}

async fn production_store(config: &Config) -> Result<Store, Failure> {
    backend::refuse_server(config)?;
    let url = config.settings.database.url.as_ref().ok_or_else(|| {
        Failure::unreachable("DATABASE_URL is not set")
            .help("set it to postgres://user@host/name, or use `tidegate dev`, which brings a PostgreSQL of its own")
    })?;
    backend::connect(url, config.settings.database.connections).await
}

/// A worker may start before the server that migrates.
async fn wait_for_schema(store: &Store, stop: &CancellationToken) -> Result<(), Failure> {
    let mut told = false;
    loop {
        match store.standing().await? {
            Standing::Ahead(_) => {
                return Err(Failure::unreachable(
                    "the database belongs to a newer version of tidegate",
                ));
            }
            Standing::Behind(_) if !stop.is_cancelled() => {}
            Standing::Current | Standing::Behind(_) => return Ok(()),
        }
        if !told {
            tracing::info!("waiting for a server to bring the database up to date");
            told = true;
        }
        clock::sleep(Duration::from_millis(500)).await;
    }
}

/// Everything in one process.
pub async fn dev(args: Dev, session: &Session) -> Ended {
    let dir = flows_folder(args.dir)?;
    trace(session, Quiet::Yes);
    warn_of_otlp(session);
    let began = clock::monotonic();
    let stop = CancellationToken::new();
    stop_on_signal(&stop, ENDING)?;
    let mut local = Local::open(session.config()?, stop).await?;
    let ended = dev_in(&mut local, (dir, args.port), (session, began)).await;
    let stopped = local.stop().await;
    ended.and(stopped)?;
    Ok(code::DONE)
}

async fn dev_in(
    local: &mut Local,
    (dir, port): (PathBuf, Option<u16>),
    (session, began): (&Session, Instant),
) -> Result<(), Failure> {
    let bind = port.map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    let url = local.start_all(bind).await?;
    if let Some(login) = first_login(&local.backend.store, "admin", &[Role::Admin]).await? {
        step(&format!("sign in as {} with {}", login.name, login.password));
    }
    let took = clock::monotonic() - began;
    step(&format!(
        "tidegate is up at {url} after {:.1} s; Ctrl-C ends it",
        took.as_secs_f64()
    ));
    // What a file says here is nobody's decision: it is applied by the account, whomever that stands for.
    let backend = Backend {
        store: local.backend.store.clone(),
        actor: Actor::os(&backend::account()),
    };
    let mut folder = FlowFolder::new(dir, backend);
    tokio::select! {
        () = folder.keep_applied(session) => Ok(()),
        ended = local.house.live() => ended,
    }
}

fn flows_folder(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let dir = given.unwrap_or_else(|| {
        let usual = PathBuf::from("flows");
        if usual.is_dir() { usual } else { PathBuf::from(".") }
    });
    if dir.exists() {
        return Ok(dir);
    }
    Err(Failure::usage(format!("there is no folder {}", dir.display())))
}
