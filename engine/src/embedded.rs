//! A private PostgreSQL under `$TIDEGATE_HOME/pg`, for a machine on which nobody has set one up.
//!
//! ```text
//! HOME/pg.lock        held (flock) by the process that started the server; says who that is
//! HOME/pg/            0700, of the account that the server runs as
//!   data/             the cluster; appears whole, by a rename, or not at all
//!   password          0600, random
//!   server.log
//!   .s.PGSQL.5432     its only door; in a folder of /tmp when HOME is too deep for a socket's path
//! ```
//!
//! PostgreSQL refuses root. As root the server therefore runs as `postgres`, or else as `nobody`; where that account cannot reach HOME
//! (`/root` is closed to it), `pg` is a link to a folder in `/var/lib/tidegate`.
//!
//! # When its parent is killed
//!
//! The server lives on: it has a process group of its own and holds only its data. The next start finds it by `postmaster.pid`, proves by
//! its working folder that it is ours, and takes it over. If the server was killed itself, its orphans are waited for (two servers
//! on one folder would destroy it) and the log is replayed. A `postmaster.pid` that names a stranger is removed, and only
//! when no process works in the data folder.

mod account;
mod binaries;
mod hold;
mod leftover;
mod place;
mod server;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use account::Account;
use binaries::Binaries;
use hold::Hold;
use leftover::Found;
use place::Place;
use server::Server;

/// Where, and with which PostgreSQL.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `$TIDEGATE_HOME`; made when it is not there.
    pub home: PathBuf,
    /// Folder of `initdb` and `postgres`, when it is not to be searched for.
    pub bin: Option<PathBuf>,
    /// `$PATH`, searched before the usual folders.
    pub path: Option<OsString>,
}

/// Why there is no private PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Not installed.
    #[error(
        "no PostgreSQL {} or newer is installed; install it with: apt-get install -y --no-install-recommends postgresql",
        binaries::OLDEST
    )]
    NoBinaries,
    /// The explicit folder does not serve.
    #[error("{} holds no `initdb` and `postgres` of version {} or newer", .0.display(), binaries::OLDEST)]
    NotThere(PathBuf),
    /// The cluster is of a version that is not installed (any more).
    #[error(
        "the data in {} is of PostgreSQL {version}, which is not installed; install it with: \
         apt-get install -y --no-install-recommends postgresql-{version}", .data.display()
    )]
    OtherVersion { data: PathBuf, version: u32 },
    /// Another process uses this home.
    #[error("{} is in use by process {pid}: {command}", .home.display())]
    Held {
        home: PathBuf,
        pid: String,
        command: String,
    },
    /// We are root, and there is no account to run the server as.
    #[error("PostgreSQL does not run as root, and there is neither a `postgres` nor a `nobody` account")]
    NoAccount,
    /// The server's account cannot get to its data.
    #[error("{account}, whom the server runs as, cannot reach {}; set TIDEGATE_HOME to a folder that is open to it", .folder.display())]
    Closed { account: String, folder: PathBuf },
    /// Somebody else's folder lies where the socket should.
    #[error("{} is not ours alone; remove it", .0.display())]
    Foreign(PathBuf),
    /// The cluster could not be made.
    #[error("initdb failed: {0}")]
    Init(String),
    /// The server did not come up.
    #[error("PostgreSQL did not start: {tail} (see {})", .log.display())]
    Start { tail: String, log: PathBuf },
    /// Processes of a server before this one do not end.
    #[error("processes of an earlier server still use {}", .0.display())]
    Leftover(PathBuf),
    /// A file or a folder.
    #[error("{what} {}", .path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// Adds what was tried to an error of the file system.
fn io<'p>(what: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> EmbeddedError + 'p {
    move |source| EmbeddedError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

/// A running private PostgreSQL. Dropped without [`Embedded::stop`] it is told to stop and not waited for.
#[derive(Debug)]
pub struct Embedded {
    url: String,
    server: Server,
    _hold: Hold,
}

/// Starts the private PostgreSQL of a home, makes it first when there is none, takes over one whose parent was killed.
pub async fn start(options: &Options) -> Result<Embedded, EmbeddedError> {
    let home = &options.home;
    std::fs::create_dir_all(home).map_err(io("make", home))?;
    let home = home.canonicalize().map_err(io("find", home))?;
    let hold = Hold::take(&home)?;
    let place = Place::open(&home, Account::of_server()?)?;
    let binaries = Binaries::find(options, &place)?;
    server::make_cluster(&place, &binaries).await?;
    let server = match leftover::settle(&place).await? {
        Found::Running(pid) => Server::adopted(pid, &place),
        Found::Nothing => Server::launch(&place, &binaries).await?,
    };
    Ok(Embedded {
        url: place.url()?,
        server,
        _hold: hold,
    })
}

impl Embedded {
    /// Address with user and password, for `DATABASE_URL` and sqlx.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Fast shutdown: sessions are ended, a checkpoint is written. Answers when the server is gone.
    pub async fn stop(mut self) {
        self.server.stop().await;
    }
}

/// Address of the private PostgreSQL that runs for a home, whoever started it; `None` when none runs, or it is not ours to use.
pub fn url_of(home: &Path) -> Option<String> {
    let home = home.canonicalize().ok()?;
    let place = Place::look(&home)?;
    leftover::answers(&place).then(|| place.url().ok())?
}
