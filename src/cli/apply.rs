//! `tidegate apply`: new versions of flows, and their schedules.

use std::path::PathBuf;

use clap::Args;
use tidegate_engine::view::FlowChange;

use super::{Ended, Output, Session, page, say_json, target};
use crate::desk::Desk;
use crate::failure::{Failure, code};
use crate::term::{Cell, Style, Table, say};

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// Flow files, or folders of them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Remove the flows that are not among these files; their runs and versions stay
    #[arg(long)]
    prune: bool,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Stores what is new; nothing at all when one of the files does not check.
pub async fn run(args: Apply, session: &Session) -> Ended {
    let config = session.config()?;
    let desk = Desk::open(&config).await?;
    let ready = target::ready(&args.paths, session)?;
    if ready.flows.is_empty() {
        return Err(Failure::usage("there are no flow files under these paths"));
    }
    let names = ready.names();
    let changes = desk.apply(ready, args.prune).await?;
    for name in &names {
        desk.warn_of_lacking(name, &config).await?;
    }
    show(&changes, args.output, session)
}

fn show(changes: &[FlowChange], output: Output, session: &Session) -> Ended {
    if output == Output::Json {
        return say_json(&page(changes.to_vec()));
    }
    let mut table = Table::new(&["FLOW", "CHANGE", "VERSION"], 0);
    for change in changes {
        let style = match change.change.as_str() {
            "unchanged" => Style::Dim,
            "removed" => Style::Yellow,
            _ => Style::Green,
        };
        let version = change
            .version
            .as_ref()
            .map(|hash| hash.chars().take(12).collect::<String>());
        table.row(vec![
            Cell::new(&change.flow),
            Cell::styled(&change.change, style),
            Cell::maybe(version),
        ]);
    }
    say(&table.render(&session.term, ""));
    Ok(code::DONE)
}
