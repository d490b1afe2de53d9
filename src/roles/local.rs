//! Everything in one process, on the private PostgreSQL of the home.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate_engine::embedded::{self, Embedded};
use tidegate_engine::graph::EVERY_QUEUE;
use tokio_util::sync::CancellationToken;

use super::{House, interrupted, listen};
use crate::backend::{self, Backend};
use crate::cli::Session;
use crate::config::Config;
use crate::failure::{Failure, code};

/// How long its worker lets task runs go on when it ends, with somebody waiting at the terminal: they are given back and run
/// again next time.
const DRAIN: Duration = Duration::from_secs(2);

/// A house on a PostgreSQL of its own.
pub struct Local {
    /// Its database, and who works on it from here.
    pub backend: Backend,
    /// Its configuration.
    pub config: Config,
    /// Its roles.
    pub house: House,
    /// Ends it.
    pub stop: CancellationToken,
    postgres: Embedded,
}

impl Local {
    /// Starts PostgreSQL, brings the schema up to date; no role runs yet. All of it ends with `stop`, which must hear signals by
    /// now: PostgreSQL would outlive a process that is killed here.
    pub async fn open(mut config: Config, stop: CancellationToken) -> Result<Self, Failure> {
        let worker = &mut config.settings.worker;
        worker.drain = worker.drain.min(DRAIN);
        // There is no other worker that could.
        worker.queues.get_or_insert_with(|| vec![EVERY_QUEUE.to_owned()]);
        backend::refuse_server(&config)?;
        let options = embedded::Options {
            home: config.home.clone(),
            bin: config.settings.postgres.bin.clone(),
            path: config.path.clone().map(Into::into),
        };
        let postgres = embedded::start(&options).await?;
        match Self::furnish(config, postgres.url()).await {
            Ok((backend, config)) => Ok(Self {
                house: House::new(backend.store.clone(), config.clone(), stop.clone()),
                backend,
                config,
                stop,
                postgres,
            }),
            Err(failure) => {
                postgres.stop().await;
                Err(failure)
            }
        }
    }

    async fn furnish(config: Config, url: &str) -> Result<(Backend, Config), Failure> {
        let store = backend::connect(url, config.settings.database.connections).await?;
        store.migrate().await?;
        let actor = store.actor_of_account(&backend::account()).await?;
        Ok((Backend { store, actor }, config))
    }

    /// Starts it with scheduler and worker, without pages: for one run.
    pub async fn start(session: &Session) -> Result<Self, Failure> {
        let early = interrupted()?;
        let mut local = Self::open(session.config()?, CancellationToken::new()).await?;
        if early.is_cancelled() {
            local.stop().await?;
            return Err(Failure::new(code::INTERRUPTED, "interrupted before anything ran"));
        }
        local.house.add_scheduler(None)?;
        local.house.add_worker(None);
        Ok(local)
    }

    /// Starts all roles; answers the address of the pages.
    pub async fn start_all(&mut self, bind: Option<SocketAddr>) -> Result<String, Failure> {
        let listener = listen(bind, &self.config).await?;
        let url = self.house.add_web(listener)?;
        self.house.add_scheduler(Some(url.clone()))?;
        self.house.add_worker(Some(url.clone()));
        Ok(url)
    }

    /// Ends the roles as they should, then PostgreSQL.
    pub async fn stop(mut self) -> Result<(), Failure> {
        self.stop.cancel();
        let ended = self.house.live().await;
        let Self {
            backend, postgres, ..
        } = self;
        backend.store.close().await;
        postgres.stop().await;
        ended
    }
}
