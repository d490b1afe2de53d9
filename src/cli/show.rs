//! `tidegate show`: one run as a tree.

use clap::Args;
use tidegate_engine::clock;
use tidegate_engine::id::RunId;

use super::{Ended, Output, Session, run, say_json};
use crate::failure::code;
use crate::term::say;
use crate::watch::tree;

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The run
    run: String,
    /// Go on showing it until it ends, and exit with its code
    #[arg(short, long)]
    watch: bool,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Shows the run.
pub async fn run(args: Show, session: &Session) -> Ended {
    let desk = session.desk().await?;
    let shown = desk.run(&args.run).await?;
    if args.watch {
        let watching = run::Watching::until_its_end(args.output);
        return run::watch(&desk, RunId(shown.summary.id), (&watching, session)).await;
    }
    if args.output == Output::Json {
        return say_json(&shown);
    }
    let why = desk.why(&shown).await?;
    let lines = tree::lines_with(&shown, &why, clock::now());
    say(&lines
        .iter()
        .map(|line| line.show(session.term.color) + "\n")
        .collect::<String>());
    Ok(code::DONE)
}
