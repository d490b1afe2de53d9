//! `tidegate gate test`: what past runs would have come to under another rule.

use clap::{Args, Subcommand};
use tidegate_engine::gate::{Change, Gate, TrialError};
use tidegate_engine::spec;
use tidegate_engine::view::Trial;

use super::{Ended, Output, Session, page, say_json};
use crate::desk::Desk;
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
    let backend = session.backend().await?;
    let (flow, task) = test
        .gate
        .split_once('/')
        .ok_or_else(|| Failure::usage(format!("`{}` names no gate: write FLOW/TASK", test.gate)))?;
    let known = Desk::from(&backend).flow(flow).await?;
    let gated: Vec<_> = known.tasks.iter().filter(|task| task.gate.is_some()).collect();
    let Some(gate) = gated
        .iter()
        .find(|known| known.name == task)
        .and_then(|task| task.gate.as_ref())
    else {
        let help = spec::suggest(task, "it has", gated.iter().map(|task| task.name.as_str()));
        let help = help.unwrap_or_else(|| "none of its tasks has one".to_owned());
        return Err(Failure::refused(format!("flow `{flow}` has no gate `{task}`")).help(help));
    };
    let gate = changed(gate, &test).map_err(|error| Failure::usage(error.to_string()))?;
    let trials = backend
        .store
        .try_gate((flow, task), &gate, test.last.into())
        .await?;
    if test.output == Output::Json {
        return say_json(&page(trials));
    }
    show(&trials, session);
    Ok(code::DONE)
}

fn changed(gate: &Gate, test: &Test) -> Result<Gate, TrialError> {
    let mut gate = gate.clone();
    for change in &test.changes {
        gate = Change::parse(change)?.of(&gate, test.rule)?;
    }
    Ok(gate)
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
