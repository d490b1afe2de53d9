//! `tidegate doctor`: what is wrong with configuration, clocks, processes and database, and the way out of each.

use clap::Args;
use tidegate_engine::view::Check;

use super::{Ended, Output, Session, page, say_json};
use crate::backend::{self, Backend};
use crate::failure::{Failure, code};
use crate::term::{Style, harmless, paint, say};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Also check everything that must hold in the database: reads all of it
    #[arg(long)]
    audit: bool,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Looks at everything; ends with 1 when something is bad.
pub async fn run(args: Doctor, session: &Session) -> Ended {
    let mut checks = Vec::new();
    match session.config() {
        Ok(config) => {
            backend::refuse_server(&config)?;
            let home = config.home.display();
            let place = match &config.settings.database.url {
                Some(_) => "DATABASE_URL".to_owned(),
                None => format!("the home {home}"),
            };
            checks.push(Check::ok(
                "configuration",
                format!("holds; the database is that of {place}"),
            ));
            match Backend::open(&config).await {
                Ok(backend) => of_database(&mut checks, (&backend, args.audit)).await?,
                Err(failure) => checks.push(unreachable(&failure)),
            }
        }
        Err(failure) => checks.push(Check::bad("configuration", failure.why(), failure.way_out())),
    }
    let bad = checks.iter().any(|check| check.state == "bad");
    if args.output == Output::Json {
        say_json(&page(checks))?;
    } else {
        say(&text(&checks, session.term.color));
    }
    Ok(if bad { code::FAILED } else { code::DONE })
}

fn unreachable(failure: &Failure) -> Check {
    Check::bad("database", failure.why(), failure.way_out())
}

async fn of_database(checks: &mut Vec<Check>, (backend, audit): (&Backend, bool)) -> Result<(), Failure> {
    checks.extend(backend.store.checkup().await?);
    if !audit {
        return Ok(());
    }
    let findings = backend.store.audit().await?;
    if findings.is_empty() {
        checks.push(Check::ok("audit", "everything that must hold holds"));
    }
    let help = "keep the database as it is and report this: it must not happen";
    let found = findings.iter().map(|found| {
        let detail = format!("not so: {}: {}", found.invariant, found.detail);
        Check::bad("audit", detail, help)
    });
    checks.extend(found);
    Ok(())
}

fn text(checks: &[Check], color: bool) -> String {
    let width = checks
        .iter()
        .map(|check| check.name.chars().count())
        .max()
        .unwrap_or(0);
    let mut shown = String::new();
    for check in checks {
        let (mark, style) = match check.state.as_str() {
            "ok" => ("✓", Style::Green),
            "warn" => ("!", Style::Yellow),
            _ => ("✗", Style::Red),
        };
        let mark = paint(mark, style, color);
        shown.push_str(&format!(
            "{mark} {:<width$}  {}\n",
            harmless(&check.name),
            harmless(&check.detail)
        ));
        if let Some(help) = check.help.as_ref().filter(|help| !help.is_empty()) {
            shown.push_str(&format!(
                "  {:<width$}  {}\n",
                "",
                paint(&harmless(help), Style::Dim, color)
            ));
        }
    }
    shown
}
