//! The keys of `tidegate.toml`, their types and defaults. An unknown key or a wrong type is an error with its place.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tidegate_flows::channels::Channels;

/// All sections.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `[database]`
    pub database: Database,
    /// `[web]`
    pub web: Web,
    /// `[worker]`
    pub worker: Worker,
    /// `[http]`
    pub http: Http,
    /// `[channels.NAME]`
    pub channels: Channels,
    /// `[postgres]`
    pub postgres: Postgres,
}

/// Sections and their keys, for hints about variables.
pub(super) const KEYS: [(&str, &str); 12] = [
    ("database", "url"),
    ("database", "connections"),
    ("database", "notify"),
    ("web", "bind"),
    ("web", "url"),
    ("worker", "name"),
    ("worker", "slots"),
    ("worker", "queues"),
    ("worker", "drain"),
    ("worker", "env"),
    ("postgres", "bin"),
    ("http", "allow"),
];

/// Where the state lives.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `postgres://…`; without it the home's private PostgreSQL.
    pub url: Option<String>,
    /// Connections that a server or worker keeps at most.
    pub connections: u32,
    /// Whether processes wake one another by NOTIFY; without it each finds what is new when it looks, within two seconds.
    pub notify: bool,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            connections: 16,
            notify: true,
        }
    }
}

/// The pages and the API.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// Address and port to listen on; else [`BIND`].
    pub bind: Option<SocketAddr>,
    /// Address under which people reach it, for links; else `http://` and `bind`.
    pub url: Option<String>,
}

/// Where the pages are when nobody says otherwise.
pub const BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The private PostgreSQL.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Postgres {
    /// Folder of `initdb` and `postgres`, when they are not to be searched for.
    pub bin: Option<PathBuf>,
}

/// What plugins may ask that take addresses from flow files.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Places that are not public, and may be asked all the same: `10.0.0.0/8`, `127.0.0.1:5000`, `mlflow.internal`.
    pub allow: Vec<String>,
}

/// A worker of this process.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Worker {
    /// Name for people; else host and process.
    pub name: Option<String>,
    /// Task runs at once.
    pub slots: u32,
    /// Queues that it serves; `["*"]`: all. Else `default` only, in `dev`, `demo` and `run FILE` all.
    pub queues: Option<Vec<String>>,
    /// How long running task runs may take to end when the worker is told to stop.
    #[serde(with = "tidegate_engine::duration::text")]
    pub drain: Duration,
    /// Variables of this process that plugins may see, beside `MLFLOW_*`, `AWS_*` and `MILVUS_*`.
    pub env: BTreeSet<String>,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            name: None,
            slots: 4,
            queues: None,
            drain: Duration::from_secs(30),
            env: BTreeSet::new(),
        }
    }
}

/// Where the file is when nobody says otherwise.
pub(super) fn default_path() -> PathBuf {
    PathBuf::from("tidegate.toml")
}
