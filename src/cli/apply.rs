//! `tidegate apply`: new versions of flows, and their schedules.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tidegate_engine::store::flows::Applied;
use tidegate_engine::{clock, command};

use super::{Ended, Output, Session, page, say_json, target};
use crate::backend::Backend;
use crate::failure::{Failure, code};
use crate::lacking;
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

/// What became of a flow.
struct Change {
    flow: String,
    version: Option<String>,
    change: &'static str,
}

/// Stores what is new; nothing at all when one of the files does not check.
pub async fn run(args: Apply, session: &Session) -> Ended {
    let config = session.config()?;
    let backend = Backend::open(&config).await?;
    let versions = target::versions(&args.paths, &backend.actor.name, session)?;
    if versions.is_empty() {
        return Err(Failure::usage("there are no flow files under these paths"));
    }
    let mut changes = Vec::new();
    for version in versions {
        let (flow, hash) = (version.flow.name.to_string(), version.hash.clone());
        lacking::warn_of(&backend.store, &config, &version.flow).await?;
        let applied = command::apply(&backend.store, &backend.actor, version, clock::now()).await?;
        changes.push(Change {
            flow,
            version: Some(hash.to_string()),
            change: word(applied),
        });
    }
    if args.prune {
        let keep: Vec<String> = changes.iter().map(|change| change.flow.clone()).collect();
        let removed = command::prune(&backend.store, &backend.actor, keep, clock::now()).await?;
        changes.extend(removed.into_iter().map(|flow| Change {
            flow,
            version: None,
            change: "removed",
        }));
    }
    show(&changes, args.output, session)
}

/// The word for what applying did.
pub fn word(applied: Applied) -> &'static str {
    match applied {
        Applied::Created => "created",
        Applied::Changed => "changed",
        Applied::Unchanged => "unchanged",
    }
}

fn show(changes: &[Change], output: Output, session: &Session) -> Ended {
    if output == Output::Json {
        let items = changes
            .iter()
            .map(|c| json!({"flow": c.flow, "version": c.version, "change": c.change}));
        return say_json(&page(items.collect()));
    }
    let mut table = Table::new(&["FLOW", "CHANGE", "VERSION"], 0);
    for change in changes {
        let style = match change.change {
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
            Cell::styled(change.change, style),
            Cell::maybe(version),
        ]);
    }
    say(&table.render(&session.term, ""));
    Ok(code::DONE)
}
