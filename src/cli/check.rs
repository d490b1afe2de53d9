//! `tidegate check`: every problem of the flow files at once.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tidegate_engine::spec::{self, Diagnostic};

use super::Session;
use crate::failure::code;
use crate::term::{complain, say};
use crate::words::count;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Flow files, or folders of them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// How problems are shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How `check` shows problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
    /// Workflow commands that annotate a pull request
    Github,
}

/// Checks the files; 0 when all are right, 2 when one is not.
pub fn run(args: &Check, session: &Session) -> u8 {
    let registry = tidegate_flows::registry();
    let loaded = spec::load(&args.paths);
    let mut problems = loaded.problems;
    let mut shown = spec::render_text(&problems, "", session.term.color);
    let checked = spec::check_all(&loaded.sources, &registry, &|name| session.variable(name));
    for (source, checked) in loaded.sources.iter().zip(checked) {
        if let Err(found) = checked {
            shown.push_str(&spec::render_text(&found, &source.text, session.term.color));
            problems.extend(found);
        }
    }
    report(&problems, (&shown, loaded.sources.len()), args.format);
    if problems.is_empty() {
        code::DONE
    } else {
        code::USAGE
    }
}

fn report(problems: &[Diagnostic], (shown, files): (&str, usize), format: Format) {
    match format {
        Format::Json => {
            let body = serde_json::json!({ "items": problems });
            say(&format!("{body:#}\n"));
        }
        Format::Github => {
            say(&spec::render_github(problems));
        }
        Format::Text if problems.is_empty() => {
            say(&format!("{} checked, no problems\n", count(files, "flow file")));
        }
        Format::Text => {
            say(shown);
            let (files, problems) = (count(files, "flow file"), count(problems.len(), "problem"));
            complain(&format!("{files} checked, {problems}\n"));
        }
    }
}
