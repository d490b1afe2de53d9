//! `tidegate freeze`: windows in which nothing is promoted or maintained.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use tidegate_engine::store::freezes::NewFreeze;
use tidegate_engine::view::Freeze;
use tidegate_engine::{clock, duration};

use super::{Ended, Output, Session, page, say_json};
use crate::desk::Desk;
use crate::failure::{Failure, code};
use crate::term::{Cell, Style, Table, say};
use crate::words::{instant, short};

/// Arguments of `freeze`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Let nothing be promoted or maintained for a while, but by a person with a reason
    Add(Add),
    /// Windows that are on or to come
    List {
        /// Also those that are over
        #[arg(long)]
        all: bool,
        /// How the answer is shown
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// End a window before its time
    End {
        /// The window: the end of its id, as `list` shows it
        id: String,
    },
}

#[derive(Debug, Args)]
struct Add {
    /// Why
    #[arg(long)]
    reason: String,
    /// Its end: an instant, or how long from its beginning
    #[arg(long, value_name = "TIME|DURATION")]
    until: String,
    /// Its beginning [default: now]
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Stop only this flow, and its ticks too
    #[arg(long)]
    flow: Option<String>,
}

/// Makes, lists, ends.
pub async fn run(args: Arguments, session: &Session) -> Ended {
    let desk = session.desk().await?;
    match args.verb {
        Verb::Add(add) => make(add, &desk).await,
        Verb::List { all, output } => list(desk.freezes(all).await?, output, session),
        Verb::End { id } => end(&id, &desk).await,
    }
}

async fn make(add: Add, desk: &Desk) -> Ended {
    let from = add.from.unwrap_or_else(clock::now);
    let new = NewFreeze {
        flow: add.flow,
        from,
        until: end_of(&add.until, from)?,
        reason: add.reason,
    };
    let made = desk.add_freeze(new).await?;
    say(&format!("{}  {}\n", short(made.id), made.sentence()));
    Ok(code::DONE)
}

fn end_of(text: &str, from: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    let wrong = || {
        Failure::usage(format!("`{text}` is no instant and no duration"))
            .help("write 2026-12-01T08:00:00Z or 3d")
    };
    let long: Duration = duration::parse(text).map_err(|_| wrong())?;
    from.checked_add(long).map_err(|_| wrong())
}

fn list(freezes: Vec<Freeze>, output: Output, session: &Session) -> Ended {
    if output == Output::Json {
        return say_json(&page(freezes));
    }
    let mut table = Table::new(&["FREEZE", "OF", "FROM", "UNTIL", "BY", "WHY"], 5);
    for freeze in &freezes {
        let style = if freeze.active { Style::Yellow } else { Style::Dim };
        table.row(vec![
            Cell::styled(short(freeze.id), style),
            Cell::new(freeze.flow.as_deref().unwrap_or("all flows")),
            Cell::new(instant(freeze.from_at)),
            Cell::new(instant(freeze.ended_at.unwrap_or(freeze.until_at))),
            Cell::new(&freeze.created_by),
            Cell::new(&freeze.reason),
        ]);
    }
    say(&table.render(&session.term, "nothing is frozen"));
    Ok(code::DONE)
}

async fn end(text: &str, desk: &Desk) -> Ended {
    let known = desk.freezes(true).await?;
    let meant: Vec<&Freeze> = known
        .iter()
        .filter(|freeze| freeze.id.to_string() == text || short(freeze.id).ends_with(text))
        .collect();
    let [meant] = meant.as_slice() else {
        return Err(
            Failure::refused(format!("no single freeze `{text}`")).help("`tidegate freeze list` lists them")
        );
    };
    desk.end_freeze(meant.id).await?;
    say(&format!("freeze {} is over\n", short(meant.id)));
    Ok(code::DONE)
}
