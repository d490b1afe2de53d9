//! Making a cluster, and running a server on it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::binaries::Binaries;
use super::leftover::{PidFile, works_in};
use super::place::{Place, ROLE};
use super::{EmbeddedError, io};
use crate::clock;

/// Recovery after a crash takes as long as there is log to replay.
const START: Duration = Duration::from_secs(120);
/// How long a fast, then an immediate shutdown may take.
const FAST: Duration = Duration::from_secs(15);
const IMMEDIATE: Duration = Duration::from_secs(5);
/// A longer log is begun anew at the next start.
const LOG_CAP: u64 = 8 << 20;

/// Sized for one machine that does other work too. What is written stays written: `fsync` is left on.
const SETTINGS: &[&str] = &[
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "max_connections=100",
    "shared_buffers=64MB",
    "max_wal_size=256MB",
    "wal_level=minimal",
    "max_wal_senders=0",
    // A container's /dev/shm is often too small for parallel queries, and ours are short.
    "max_parallel_workers_per_gather=0",
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
    "log_min_messages=warning",
    "log_line_prefix=%m [%p] ",
];

/// Makes the cluster, unless it is there. It appears whole or not at all.
pub(super) async fn make_cluster(place: &Place, binaries: &Binaries) -> Result<(), EmbeddedError> {
    let data = place.data();
    if data.join("PG_VERSION").exists() {
        return Ok(());
    }
    let draft = place.root.join("data.new");
    if draft.exists() {
        fs::remove_dir_all(&draft).map_err(io("remove", &draft))?;
    }
    write_password(place)?;
    let made = command(place, &binaries.program("initdb"))
        .args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C"])
        .args(["--auth-local=scram-sha-256", "--auth-host=scram-sha-256"])
        .arg(format!("--username={ROLE}"))
        .arg("--pwfile")
        .arg(place.password_file())
        .arg("-D")
        .arg(&draft)
        .output()
        .await
        .map_err(io("run", &binaries.program("initdb")))?;
    if !made.status.success() {
        return Err(EmbeddedError::Init(tail(&String::from_utf8_lossy(&made.stderr))));
    }
    fs::rename(&draft, &data).map_err(io("rename", &draft))
}

fn write_password(place: &Place) -> Result<(), EmbeddedError> {
    let path = place.password_file();
    let password = hex::encode(clock::random_bytes::<24>());
    let write = || {
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        writeln!(file, "{password}")
    };
    write().map_err(io("write", &path))?;
    place.own(&path)
}

/// A program of PostgreSQL, as the server's account, with nothing of our environment.
fn command(place: &Place, program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs([("PATH", "/usr/bin:/bin"), ("LC_ALL", "C"), ("TZ", "UTC")])
        .current_dir("/")
        .stdin(Stdio::null());
    if let Some(account) = &place.account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

/// A running server: our child, or one whose parent was killed.
#[derive(Debug)]
pub(super) struct Server {
    pid: Pid,
    data: PathBuf,
    child: Option<Child>,
    stopped: bool,
}

impl Server {
    /// One that runs already.
    pub(super) fn adopted(pid: Pid, place: &Place) -> Self {
        Self {
            pid,
            data: place.data(),
            child: None,
            stopped: false,
        }
    }

    /// Starts a server and waits until it accepts connections.
    pub(super) async fn launch(place: &Place, binaries: &Binaries) -> Result<Self, EmbeddedError> {
        let (log, out) = open_log(place)?;
        let mut command = command(place, &binaries.program("postgres"));
        command.arg("-D").arg(place.data()).arg("-k").arg(&place.socket);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        // Ctrl-C goes to the terminal's whole group; the server is to stop after us, not beside us.
        command.process_group(0).stdout(out).stderr(log);
        let child = command
            .spawn()
            .map_err(io("run", &binaries.program("postgres")))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let Some(pid) = pid else {
            return Err(did_not_start(place));
        };
        let mut server = Self {
            pid,
            data: place.data(),
            child: Some(child),
            stopped: false,
        };
        server.wait_until_ready(place).await?;
        Ok(server)
    }

    async fn wait_until_ready(&mut self, place: &Place) -> Result<(), EmbeddedError> {
        let begun = clock::monotonic();
        loop {
            if PidFile::read(&self.data).is_some_and(|file| file.ready && file.pid == self.pid) {
                return Ok(());
            }
            if !self.runs() || begun.elapsed() > START {
                return Err(did_not_start(place));
            }
            clock::sleep(Duration::from_millis(5)).await;
        }
    }

    fn runs(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => works_in(self.pid, &self.data),
        }
    }

    /// Fast shutdown, immediate shutdown, kill: whatever it takes.
    pub(super) async fn stop(&mut self) {
        self.stopped = true;
        for (signal, limit) in [
            (Signal::INT, FAST),
            (Signal::QUIT, IMMEDIATE),
            (Signal::KILL, IMMEDIATE),
        ] {
            if !self.runs() {
                return;
            }
            let _ = kill_process(self.pid, signal);
            let begun = clock::monotonic();
            while self.runs() && begun.elapsed() < limit {
                clock::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.stopped && self.runs() {
            let _ = kill_process(self.pid, Signal::INT);
        }
    }
}

fn open_log(place: &Place) -> Result<(File, File), EmbeddedError> {
    let path = place.log();
    let long = fs::metadata(&path).is_ok_and(|log| log.len() > LOG_CAP);
    if long {
        fs::remove_file(&path).map_err(io("remove", &path))?;
    }
    let file = File::options().append(true).create(true).mode(0o600).open(&path);
    let file = file.map_err(io("open", &path))?;
    let twin = file.try_clone().map_err(io("open", &path))?;
    Ok((file, twin))
}

fn did_not_start(place: &Place) -> EmbeddedError {
    let log = place.log();
    let text = fs::read(&log).unwrap_or_default();
    EmbeddedError::Start {
        tail: tail(&String::from_utf8_lossy(&text)),
        log,
    }
}

/// The last lines, as one.
fn tail(text: &str) -> String {
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .rev()
        .take(5)
        .collect();
    lines.reverse();
    lines.join("; ")
}
