//! `tidegate check`: every problem of the flow files at once.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use tidegate_engine::spec::{self, Diagnostic};

use super::{Format, USAGE, complain, say};

/// Checks the files; 0 when all are right, 2 when one is not.
pub fn run(paths: &[PathBuf], format: Format) -> ExitCode {
    let registry = tidegate_flows::registry();
    let loaded = spec::load(paths);
    let mut problems = loaded.problems;
    let mut shown = spec::render_text(&problems, "", color());
    for source in &loaded.sources {
        if let Err(found) = spec::check(source, &registry, &variable) {
            shown.push_str(&spec::render_text(&found, &source.text, color()));
            problems.extend(found);
        }
    }
    report(&problems, (&shown, loaded.sources.len()), format);
    if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(USAGE)
    }
}

fn report(problems: &[Diagnostic], (shown, files): (&str, usize), format: Format) {
    match format {
        Format::Json => {
            let body = serde_json::json!({ "items": problems });
            say(&format!("{body:#}\n"));
        }
        Format::Github => say(&spec::render_github(problems)),
        Format::Text if problems.is_empty() => say(&format!("{files} flow files checked, no problems\n")),
        Format::Text => {
            say(shown);
            complain(&format!(
                "{files} flow files checked, {} problems\n",
                problems.len()
            ));
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the binary is where the environment is read"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn color() -> bool {
    variable("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stdout().is_terminal()
}
