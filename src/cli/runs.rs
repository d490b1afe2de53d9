//! `tidegate runs`: what ran, newest first.

use clap::Args;
use jiff::Timestamp;
use tidegate_engine::store::read::RunFilter;
use tidegate_engine::view::RunSummary;
use tidegate_engine::{clock, duration};

use super::{Ended, Output, Session, say_json};
use crate::failure::code;
use crate::term::{Cell, Style, Table, say};
use crate::words::{distance, short, took};

/// States of a run, as words of the command line.
const STATES: [&str; 8] = [
    "queued",
    "running",
    "waiting",
    "cancelling",
    "succeeded",
    "failed",
    "rejected",
    "cancelled",
];

/// Arguments of `runs`.
#[derive(Debug, Args)]
pub struct Runs {
    /// Only of this flow
    #[arg(long)]
    flow: Option<String>,
    /// Only in this state; may be given several times
    #[arg(long, value_parser = STATES, value_delimiter = ',')]
    state: Vec<String>,
    /// Only since an instant (2026-11-25T02:00:00Z) or for a time (2h, 7d)
    #[arg(long, value_parser = since)]
    since: Option<Timestamp>,
    /// At most so many
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago = duration::parse(text).map_err(|error| format!("neither an instant nor a duration: {error}"))?;
    clock::now().checked_sub(ago).map_err(|error| error.to_string())
}

/// Lists the runs that fit.
pub async fn list(args: Runs, session: &Session) -> Ended {
    let desk = session.desk().await?;
    let now = clock::now();
    let filter = RunFilter {
        flow: args.flow,
        states: args.state,
        since: args.since,
        before: None,
        limit: args.limit.into(),
    };
    let runs = desk.runs(&filter).await?;
    if let (Some(flow), true) = (&filter.flow, runs.items.is_empty()) {
        // Refused, with what may be meant, where there is none of that name.
        desk.flow(flow).await?;
    }
    if args.output == Output::Json {
        return say_json(&runs);
    }
    say(&table(&runs.items, now).render(&session.term, "no runs"));
    Ok(code::DONE)
}

fn table(runs: &[RunSummary], now: Timestamp) -> Table {
    let mut table = Table::new(&["RUN", "FLOW", "STATE", "TRIGGER", "TASKS", "TOOK", "AGE"], 1);
    for run in runs {
        table.row(vec![
            Cell::new(short(run.id)),
            Cell::new(&run.flow),
            Cell::state(&run.state, run.reason.as_deref()),
            Cell::styled(&run.trigger, Style::Dim),
            Cell::new(format!("{}/{}", run.tasks_done, run.tasks_total)),
            Cell::maybe(run.took(now).map(took)),
            Cell::styled(distance(now.duration_since(run.created_at)), Style::Dim),
        ]);
    }
    table
}
