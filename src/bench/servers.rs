//! Processes of this program, and what they and PostgreSQL spend.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tidegate_engine::clock;
use tokio::process::{Child, Command};

use super::Ground;
use super::ground::until;
use super::measure::Spent;

/// How long a server may take to its end, and a start to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// Linux tells programs of processor time in hundredths of a second, whatever its own clock does.
const HERTZ: f64 = 100.0;

/// What runs for a workload.
#[derive(Default)]
pub struct Servers {
    children: Vec<Child>,
    /// Address of the first server's pages.
    pub url: String,
    /// Speaks with it.
    pub client: reqwest::Client,
    token: String,
    database: Option<String>,
}

/// A command of this very program, with nothing of our environment.
pub fn program(ground: &Ground, words: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(words)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("DATABASE_URL", &ground.url)
        .env("TIDEGATE_HOME", ground.folder.join("home"))
        .env("RUST_LOG", "error")
        .current_dir(&ground.folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

impl Servers {
    /// A server with a worker of `slots` in it.
    pub async fn with_worker(ground: &Ground, slots: u32) -> Result<Self> {
        let mut servers = Self::client(ground);
        servers.start(ground, (&["--worker"], slots)).await?;
        Ok(servers)
    }

    /// The same, with a database that is reached by way of somebody.
    pub async fn by_way_of(ground: &Ground, database: &str) -> Result<Self> {
        let mut servers = Self::client(ground);
        servers.database = Some(database.to_owned());
        servers.start(ground, (&["--worker"], 4)).await?;
        Ok(servers)
    }

    /// A server, and a worker in a process of its own.
    pub async fn with_worker_apart(ground: &Ground) -> Result<Self> {
        let mut servers = Self::client(ground);
        servers.start(ground, (&[], 4)).await?;
        servers.children.push(program(ground, &["worker"]).spawn()?);
        until("the worker", PATIENCE, async || {
            let alive: i64 = sqlx::query_scalar("select count(*) from worker where stopped_at is null")
                .fetch_one(ground.pool())
                .await?;
            Ok(alive > 0)
        })
        .await?;
        Ok(servers)
    }

    /// A server that runs no tasks.
    pub async fn without_worker(ground: &Ground) -> Result<Self> {
        let mut servers = Self::client(ground);
        servers.start(ground, (&[], 4)).await?;
        Ok(servers)
    }

    fn client(ground: &Ground) -> Self {
        // The client wants one, though nothing here is encrypted. The first that is installed stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            token: ground.token.clone(),
            ..Self::default()
        }
    }

    /// Another server.
    pub async fn start(&mut self, ground: &Ground, (words, slots): (&[&str], u32)) -> Result<()> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let bind = format!("127.0.0.1:{port}");
        let words = [&["server", "--bind", &bind], words].concat();
        let mut child = program(ground, &words);
        child.env("TIDEGATE_WORKER__SLOTS", slots.to_string());
        if let Some(database) = &self.database {
            child.env("DATABASE_URL", database);
        }
        let child = child.spawn().context("the server did not start")?;
        self.children.push(child);
        let url = format!("http://{bind}");
        let client = self.client.clone();
        until("the start of a server", PATIENCE, async || {
            let answer = client.get(format!("{url}/readyz")).send().await;
            Ok(answer.is_ok_and(|answer| answer.status().is_success()))
        })
        .await?;
        if self.url.is_empty() {
            self.url = url;
        }
        Ok(())
    }

    /// Asks for a run; answers when it is there.
    pub async fn trigger(&self, flow: &str) -> Result<()> {
        let request = self.client.post(format!("{}/api/v1/flows/{flow}/runs", self.url));
        let answer = request.bearer_auth(&self.token).send().await?;
        if answer.status() != reqwest::StatusCode::CREATED {
            bail!("{flow}: {}", answer.text().await?);
        }
        answer.bytes().await?;
        Ok(())
    }

    /// Opens a page or asks the API; answers status and body.
    pub async fn get(&self, path: &str) -> Result<(reqwest::StatusCode, String)> {
        let request = self.client.get(format!("{}{path}", self.url));
        let answer = request.bearer_auth(&self.token).send().await?;
        Ok((answer.status(), answer.text().await?))
    }

    /// Process ids.
    pub fn pids(&self) -> Vec<u32> {
        self.children.iter().filter_map(Child::id).collect()
    }

    /// Ends them as they should.
    pub async fn stop(mut self) {
        for child in &self.children {
            if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        for child in &mut self.children {
            let _ = tokio::time::timeout(PATIENCE, child.wait()).await;
        }
    }
}

/// The state of the counters at a moment.
pub struct Counters {
    xid: i64,
    own: f64,
    postgres: Option<f64>,
}

impl Counters {
    /// Reads them.
    pub async fn read(ground: &Ground, servers: &Servers) -> Result<Self> {
        let (xid, backend): (String, i32) =
            sqlx::query_as("select pg_snapshot_xmax(pg_current_snapshot())::text, pg_backend_pid()")
                .fetch_one(ground.pool())
                .await?;
        let own = servers.pids().into_iter().filter_map(cpu).sum();
        let postgres = parent(backend.cast_unsigned()).map(|postmaster| {
            let children = processes().filter(|pid| parent(*pid) == Some(postmaster));
            children.filter_map(cpu).sum()
        });
        Ok(Self {
            xid: xid.parse()?,
            own,
            postgres,
        })
    }

    /// What was spent since.
    pub async fn spent(self, ground: &Ground, servers: &Servers) -> Result<Spent> {
        let now = Self::read(ground, servers).await?;
        Ok(Spent {
            commits: now.xid - self.xid,
            round_trips: None,
            own_cpu: now.own - self.own,
            postgres_cpu: now.postgres.zip(self.postgres).map(|(now, then)| now - then),
        })
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The fields of a process's `stat` after its name, from the state on.
fn stat(pid: u32) -> Option<Vec<String>> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let text = std::fs::read_to_string(path).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// Seconds on a processor, of a process and of its children that it waited for.
pub fn cpu(pid: u32) -> Option<f64> {
    let fields = stat(pid)?;
    let ticks: Option<Vec<f64>> = (11..15).map(|at| fields.get(at)?.parse().ok()).collect();
    Some(ticks?.iter().sum::<f64>() / HERTZ)
}

/// Megabytes that a process keeps in memory.
pub fn memory(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1024.0)
}

/// Runs a verb to its end; answers how long it took.
pub async fn verb(ground: &Ground, words: &[&str]) -> Result<Duration> {
    let begun = clock::monotonic();
    let done = program(ground, words)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .await?;
    if !done.status.success() {
        bail!("{}: {}", words.join(" "), String::from_utf8_lossy(&done.stderr));
    }
    Ok(begun.elapsed())
}
