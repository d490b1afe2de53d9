//! `tidegate gate test`: what past runs would have come to under another rule.

use clap::{Args, Subcommand};
use tidegate_engine::command::GateTrial;
use tidegate_engine::view::Trial;

use super::{Ended, Output, Session, page, say_json};
use crate::failure::{Failure, code};
use crate::term::{Cell, Style, Table, say};
use crate::words::{count, instant, short};

/// Arguments of `gate`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Judge what past runs measured by another rule; changes nothing
    Test(Test),
}

#[derive(Debug, Args)]
struct Test {
    /// The gate
    #[arg(value_name = "FLOW/TASK")]
    gate: String,
    /// Another bound, e.g. above=0.36, max_drop=5%, borderline=0.01; may be given several times
    #[arg(long = "set", required = true, value_name = "BOUND=VALUE")]
    changes: Vec<String>,
    /// Which rule is meant, from 1, where it is not clear
    #[arg(long)]
    rule: Option<usize>,
    /// How many runs, the newest
    #[arg(short = 'n', long = "last", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
    last: u16,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Tries another rule.
pub async fn run(args: Arguments, session: &Session) -> Ended {
    let Verb::Test(test) = args.verb;
    let desk = session.desk().await?;
    let (flow, task) = test
        .gate
        .split_once('/')
        .ok_or_else(|| Failure::usage(format!("`{}` names no gate: write FLOW/TASK", test.gate)))?;
    let asked = GateTrial {
        changes: test.changes,
        rule: test.rule,
        last: test.last.into(),
    };
    let trials = desk.try_gate((flow, task), asked).await?;
    if test.output == Output::Json {
        return say_json(&page(trials));
    }
    show(&trials, session);
    Ok(code::DONE)
}

fn show(trials: &[Trial], session: &Session) {
    let mut table = Table::new(&["RUN", "REACHED", "WAS", "WOULD BE", "WHY"], 4);
    for trial in trials {
        let style = if trial.was == trial.would {
            Style::Dim
        } else {
            Style::Yellow
        };
        table.row(vec![
            Cell::new(short(trial.run)),
            Cell::new(instant(trial.at)),
            Cell::styled(&trial.was, Style::Dim),
            Cell::styled(&trial.would, style),
            Cell::new(trial.why.join("; ")),
        ]);
    }
    say(&table.render(&session.term, "no run has reached this gate yet"));
    let other = trials.iter().filter(|trial| trial.was != trial.would).count();
    if !trials.is_empty() {
        say(&format!(
            "of {} {other} would have come to something else\n",
            count(trials.len() as u64, "run")
        ));
    }
}
