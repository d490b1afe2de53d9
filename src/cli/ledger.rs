//! `tidegate ledger verify` and `ledger export`.

use clap::{Args, Subcommand};
use tidegate_engine::view::LedgerEntry;

use super::{Ended, Output, Session, say_json};
use crate::desk::Desk;
use crate::failure::{Failure, code};
use crate::term::say;
use crate::words::count;

/// Entries that are read at once.
const PAGE: usize = 200;

/// Arguments of `ledger`.
#[derive(Debug, Args)]
pub struct Ledger {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Walk the chain of hashes; names the first entry that does not fit, and ends with 1
    Verify {
        /// How the answer is shown
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Print all entries, oldest first, a JSON object a line
    Export,
}

/// Verifies or exports.
pub async fn run(args: Ledger, session: &Session) -> Ended {
    let desk = session.desk().await?;
    match args.verb {
        Verb::Verify { output } => verify(&desk, output).await,
        Verb::Export => export(&desk).await,
    }
}

async fn verify(desk: &Desk, output: Output) -> Ended {
    let report = desk.verify_ledger().await?;
    let ended = if report.broken.is_some() {
        code::FAILED
    } else {
        code::DONE
    };
    if output == Output::Json {
        say_json(&report)?;
        return Ok(ended);
    }
    let entries =
        count(u64::try_from(report.entries).unwrap_or_default(), "entry").replace("entrys", "entries");
    match &report.broken {
        None => say(&format!("the chain holds: {entries}\nhead {}\n", report.head)),
        Some(at) => say(&format!("the chain is broken at entry {}: {}\n", at.seq, at.why)),
    };
    Ok(ended)
}

async fn export(desk: &Desk) -> Ended {
    let mut entries: Vec<LedgerEntry> = Vec::new();
    let mut before = None;
    loop {
        let page = desk.ledger(before, PAGE).await?;
        before = page.items.last().map(|entry| entry.seq);
        entries.extend(page.items);
        if page.next.is_none() {
            break;
        }
    }
    for entry in entries.iter().rev() {
        let line =
            serde_json::to_string(entry).map_err(|error| Failure::new(code::FAILED, error.to_string()))?;
        if !say(&format!("{line}\n")) {
            break;
        }
    }
    Ok(code::DONE)
}
