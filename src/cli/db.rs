//! `tidegate db`: migrations, sizes and days until the disk is full, old partitions.

use std::time::Duration;

use clap::{Args, Subcommand};
use tidegate_engine::store::Store;
use tidegate_engine::view::DbStatus;
use tidegate_engine::{clock, command, duration, embedded};

use super::{Ended, Output, Session, say_json};
use crate::backend;
use crate::failure::{Failure, code};
use crate::term::{Cell, Table, say};
use crate::words::count;

/// Arguments of `db`.
#[derive(Debug, Args)]
pub struct Db {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Bring the schema up to this version, as `server` does when it starts
    Migrate,
    /// Migrations, sizes of the tables, and how long the disk will do
    Status {
        /// How the answer is shown
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Drop the events and logs of days that are older, as a scheduler does every hour
    Prune {
        /// How long they are kept
        #[arg(long, default_value = "90d", value_parser = duration::parse)]
        keep: Duration,
    },
}

/// Migrates, tells, prunes.
pub async fn run(args: Db, session: &Session) -> Ended {
    match args.verb {
        Verb::Migrate => migrate(session).await,
        Verb::Status { output } => status(output, session).await,
        Verb::Prune { keep } => prune(keep, session).await,
    }
}

/// The schema may be old, so this does not go through what other verbs need.
async fn migrate(session: &Session) -> Ended {
    let config = session.config()?;
    backend::refuse_server(&config)?;
    let own = config.settings.database.url.clone();
    let url = own.or_else(|| embedded::url_of(&config.home)).ok_or_else(|| {
        Failure::unreachable(
            "there is no database to migrate: DATABASE_URL is not set, and nothing runs in the home",
        )
        .help("`tidegate dev` migrates its own when it starts")
    })?;
    let store: Store = backend::connect(&url, 2).await?;
    match command::migrate(&store, &backend::account()).await? {
        0 => say("the schema is up to date\n"),
        ran => say(&format!("{} ran\n", count(ran as u64, "migration"))),
    };
    Ok(code::DONE)
}

async fn status(output: Output, session: &Session) -> Ended {
    let backend = session.backend().await?;
    let status = backend.store.db_status().await?;
    if output == Output::Json {
        return say_json(&status);
    }
    let mut table = Table::new(&["TABLE", "SIZE", "ROWS", "DEAD", "DAYS"], 0);
    for size in status.tables.iter().take(15) {
        table.row(vec![
            Cell::new(&size.table),
            Cell::new(bytes(size.bytes as f64)),
            Cell::new(size.rows.to_string()),
            Cell::new(size.dead.to_string()),
            Cell::maybe((size.partitions > 0).then(|| size.partitions.to_string())),
        ]);
    }
    say(&table.render(&session.term, "there are no tables"));
    say(&format!(
        "{} of {} migrations ran; the database takes {}\n{}\n",
        status.migrations,
        status.known,
        bytes(status.bytes as f64),
        outlook(&status)
    ));
    Ok(code::DONE)
}

/// Beyond it nobody plans by the day.
const TEN_YEARS: f64 = 3650.0;

/// How long the disk will do. Only where the server's data lie on a disk of this machine.
fn outlook(status: &DbStatus) -> String {
    let Some(growth) = status.bytes_a_day.filter(|growth| *growth > 0.0) else {
        return "there is no whole day of events and logs yet: growth is not known".to_owned();
    };
    let free = status
        .directory
        .as_ref()
        .and_then(|folder| rustix::fs::statvfs(folder.as_str()).ok());
    let told = format!("events and logs take {} a day", bytes(growth));
    match free {
        Some(disk) => {
            let free = disk.f_bavail as f64 * disk.f_frsize as f64;
            let days = free / growth;
            let lasts = if days > TEN_YEARS {
                "more than ten years".to_owned()
            } else {
                format!("{days:.0} days")
            };
            format!(
                "{told}\n{} are free: enough for {lasts} if nothing is pruned",
                bytes(free)
            )
        }
        None => format!("{told}; the server's disk cannot be seen from here"),
    }
}

async fn prune(keep: Duration, session: &Session) -> Ended {
    let backend = session.backend().await?;
    let (dropped, swept) = command::prune(&backend.store, &backend.actor, keep, clock::now()).await?;
    say(&format!(
        "{} dropped, {} swept\n",
        count(dropped as u64, "partition"),
        count(swept as u64, "row")
    ));
    Ok(code::DONE)
}

fn bytes(count: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = count;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && size < 100.0);
    format!("{size:.digits$} {}", units[unit])
}
