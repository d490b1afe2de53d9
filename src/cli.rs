//! The command line: one file a verb.

mod check;
mod plugins;
mod run_task;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Exit code for wrong usage and for flow files that do not check.
const USAGE: u8 = 2;
/// Exit code for what is not found or not allowed.
const REFUSED: u8 = 6;

/// A workflow engine for ML teams: flows in TOML, tasks in Rust, promotions behind gates.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Validate flow files, without a server or database
    Check {
        /// Flow files, or folders of them
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// How problems are shown
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// List the plugins that tasks can use, or describe one
    Plugins {
        /// Plugin to describe
        name: Option<String>,
        /// How the answer is shown
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Print the JSON Schema of a flow file, for editors
    Schema,
    /// Run one attempt for a worker, which speaks on standard input
    #[command(hide = true)]
    RunTask,
}

/// How `check` shows problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// Workflow commands that annotate a pull request.
    Github,
}

/// How a list is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Parses the arguments and carries out the verb.
pub fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Check { paths, format } => check::run(&paths, format),
        Verb::Plugins { name, output } => plugins::list(name.as_deref(), output),
        Verb::Schema => plugins::schema(),
        Verb::RunTask => run_task::run(),
    }
}

/// Writes to standard output; a reader that went away (`| head`) is no error.
fn say(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Writes to standard error.
fn complain(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
