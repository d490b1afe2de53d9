//! What the workloads stand on: a database of their own, a folder, somebody who may trigger.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tidegate_engine::clock;
use tidegate_engine::command::Role;
use tidegate_engine::embedded::{self, Embedded};
use tidegate_engine::store::Store;
use tidegate_engine::store::people::NewPerson;
use url::Url;

use super::Options;
use super::measure::{ms, percentile};

const PERSON: &str = "bench";

/// A database, a folder, a session.
pub struct Ground {
    /// Address of the database of this measurement.
    pub url: String,
    /// A folder that ends with it.
    pub folder: PathBuf,
    /// Opens the pages.
    pub token: String,
    store: Store,
    database: String,
    admin: String,
    postgres: Option<Embedded>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Processors.
    pub cores: usize,
    /// Load of the minute before: what else was going on.
    pub load: String,
    /// Version of PostgreSQL.
    pub postgres: String,
    /// Milliseconds that an fdatasync of 8 KiB takes in the folder of the measurement.
    pub fdatasync_ms: f64,
    /// How this program was built.
    pub build: &'static str,
}

impl Ground {
    /// A database on the server that is given, or on one made for this.
    pub async fn open(options: &Options) -> Result<Self> {
        let folder = options.home.join(format!("bench-{}", clock::new_id().simple()));
        std::fs::create_dir_all(&folder).context("no folder for the measurement")?;
        let (bin, path) = options.postgres.clone();
        let postgres = match &options.database {
            Some(_) => None,
            None => {
                let private = embedded::Options {
                    home: folder.clone(),
                    bin,
                    path: path.map(Into::into),
                };
                Some(embedded::start(&private).await?)
            }
        };
        let admin = options.database.clone();
        let admin = admin.or(postgres.as_ref().map(|server| server.url().to_owned()));
        let admin = admin.context("no database")?;
        let database = format!("tidegate_bench_{}", clock::new_id().simple());
        let mut conn = connect(&admin).await?;
        refuse_unsafe(&mut conn).await?;
        execute(&mut conn, &format!("create database {database}")).await?;
        let url = with_database(&admin, &database)?;
        let store = Store::connect(&url, 4).await?;
        store.migrate().await?;
        let token = sign_in(&store).await?;
        Ok(Self {
            url,
            folder,
            token,
            store,
            database,
            admin,
            postgres,
        })
    }

    /// Connections to the database.
    pub fn pool(&self) -> &PgPool {
        self.store.pool()
    }

    /// The engine's way to the database.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A connection of one's own.
    pub async fn connect(&self) -> Result<PgConnection> {
        connect(&self.url).await
    }

    /// Where this is.
    pub async fn machine(&self) -> Result<Machine> {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Ok(Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            postgres: sqlx::query_scalar("show server_version")
                .fetch_one(self.pool())
                .await?,
            fdatasync_ms: sync_time(&self.folder)?,
            build: if cfg!(debug_assertions) {
                "development"
            } else {
                "optimised"
            },
        })
    }

    /// Removes all of it.
    pub async fn close(self) {
        self.store.close().await;
        if let Ok(mut conn) = connect(&self.admin).await {
            let _ = execute(
                &mut conn,
                &format!("drop database {} with (force)", self.database),
            )
            .await;
        }
        if let Some(postgres) = self.postgres {
            postgres.stop().await;
        }
        // Where PostgreSQL's account cannot reach the home, its folder lies elsewhere.
        if let Ok(elsewhere) = self.folder.join("pg").canonicalize() {
            let _ = std::fs::remove_dir_all(elsewhere);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn connect(url: &str) -> Result<PgConnection> {
    let options = PgConnectOptions::from_str(url)?.disable_statement_logging();
    Ok(PgConnection::connect_with(&options).await?)
}

async fn execute(conn: &mut PgConnection, sql: &str) -> Result<()> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(conn)
        .await?;
    Ok(())
}

/// Numbers of a server that forgets are worth nothing.
async fn refuse_unsafe(conn: &mut PgConnection) -> Result<()> {
    for setting in ["fsync", "synchronous_commit"] {
        let value: String = sqlx::query_scalar("select current_setting($1)")
            .bind(setting)
            .fetch_one(&mut *conn)
            .await?;
        if value != "on" {
            bail!("this PostgreSQL has {setting} = {value}; it must be on for the numbers to mean anything");
        }
    }
    Ok(())
}

fn with_database(url: &str, database: &str) -> Result<String> {
    let mut url = Url::parse(url).context("the database's address cannot be read")?;
    url.set_path(database);
    Ok(url.into())
}

/// An operator and a session; the password is forgotten at once.
async fn sign_in(store: &Store) -> Result<String> {
    let password = crate::roles::password();
    let person = NewPerson {
        name: PERSON.to_owned(),
        roles: vec![Role::Operator],
        password: Some(password.clone()),
        os_user: None,
    };
    store.add_person(person, clock::now()).await?;
    let opened = store.sign_in(PERSON, &password, clock::now()).await?;
    Ok(opened.context("the bench could not sign in")?.token)
}

fn sync_time(folder: &Path) -> Result<f64> {
    let mut file = std::fs::File::create(folder.join("sync"))?;
    let mut times = Vec::new();
    for _ in 0..200 {
        file.write_all(&[0; 8192])?;
        let begun = clock::monotonic();
        file.sync_data()?;
        times.push(ms(begun.elapsed()));
    }
    Ok(percentile(&times, 50.0))
}

/// Waits until something is so, looking every few milliseconds; an error after `limit`.
pub async fn until(what: &str, limit: Duration, mut so: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let begun = clock::monotonic();
    while !so().await? {
        if begun.elapsed() > limit {
            bail!("{what} did not come to its end within {} s", limit.as_secs());
        }
        clock::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
