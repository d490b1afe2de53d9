//! A database to work on, as an account of the operating system. `desk.rs` stands before it, and before a server.

use std::path::Path;
use std::time::Duration;

use tidegate_engine::command::{Actor, CommandError};
use tidegate_engine::embedded;
use tidegate_engine::store::Store;
use tidegate_engine::store::migrate::Standing;

use crate::config::Config;
use crate::failure::Failure;

/// Connections of a verb.
const CONNECTIONS: u32 = 2;
/// How long a database may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A database and who works on it.
#[derive(Clone)]
pub struct Backend {
    /// The database.
    pub store: Store,
    /// The person whom the operating system's account stands for, else `os:NAME`.
    pub actor: Actor,
}

impl Backend {
    /// Opens the configured database, else the one that runs in the home.
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        refuse_server(config)?;
        let url = match &config.settings.database.url {
            Some(url) => url.clone(),
            None => embedded::url_of(&config.home).ok_or_else(|| nothing_runs(&config.home))?,
        };
        let store = connect(&url, CONNECTIONS).await?;
        check_schema(&store).await?;
        if config.settings.database.notify {
            store.call_out();
        }
        let actor = store.actor_of_account(&account()).await?;
        Ok(Self { store, actor })
    }

    /// A refused decision. An account that is no person cannot decide; the way out is to map it to one.
    pub fn explain(&self, error: CommandError) -> Failure {
        let no_person = matches!(error, CommandError::Forbidden { .. }) && !self.actor.is_person;
        let failure = Failure::from(error);
        if !no_person {
            return failure;
        }
        let account = self.actor.name.trim_start_matches("os:");
        // No lesser role: the account would be left with no more than that, and nobody could give it back from here.
        failure.help(format!(
            "decide in the browser, or let a person act through this account: tidegate user add NAME --role admin --os-user {account}\n  \
             (an admin has all, but still can't approve a run of their own)"
        ))
    }
}

/// Connects, for at most [`PATIENCE`].
pub async fn connect(url: &str, connections: u32) -> Result<Store, Failure> {
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        return Err(Failure::usage("DATABASE_URL is no address of PostgreSQL")
            .help("write postgres://user@host/name"));
    }
    let connecting = tokio::time::timeout(PATIENCE, Store::connect(url, connections));
    match connecting.await {
        Ok(store) => Ok(store?),
        Err(_) => Err(Failure::unreachable(format!(
            "PostgreSQL does not answer within {} s",
            PATIENCE.as_secs()
        ))
        .help("is it running, and is DATABASE_URL right?")),
    }
}

/// Fails where somebody expects to work through a server, for what is done beside the database only.
pub fn refuse_server(config: &Config) -> Result<(), Failure> {
    if config.server.is_none() {
        return Ok(());
    }
    Err(
        Failure::usage("this works beside the database, not through a server, and TIDEGATE_URL is set")
            .help("unset TIDEGATE_URL (env -u TIDEGATE_URL tidegate …), and set DATABASE_URL or work in the home of `tidegate dev`"),
    )
}

fn nothing_runs(home: &Path) -> Failure {
    Failure::unreachable(format!(
        "there is no database: DATABASE_URL is not set, and nothing runs in {}",
        home.display()
    ))
    .help("start `tidegate dev` here, or set DATABASE_URL, or set TIDEGATE_HOME to a home where one runs")
}

async fn check_schema(store: &Store) -> Result<(), Failure> {
    match store.standing().await? {
        Standing::Current => Ok(()),
        Standing::Behind(_) => Err(Failure::unreachable(
            "the database is not set up for this version of tidegate",
        )
        .help("`tidegate db migrate` brings it up to date; `server` and `dev` do so when they start")),
        Standing::Ahead(_) => Err(Failure::unreachable(
            "the database belongs to a newer version of tidegate",
        )
        .help("use that version's program")),
    }
}

/// Name of the account this process runs under; its number where it has none.
pub fn account() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    name.unwrap_or(uid)
}
