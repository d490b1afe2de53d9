//! `tidegate models` and `tidegate models history`.

use clap::{Args, Subcommand};
use tidegate_engine::spec;
use tidegate_engine::view::{AliasMove, Model};

use super::{Ended, Output, Session, page, say_json};
use crate::failure::{Failure, code};
use crate::term::{Cell, Style, Table, say};
use crate::words::{instant, short};

/// Arguments of `models`.
#[derive(Debug, Args)]
pub struct Models {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table, global = true)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What an alias pointed to when, who moved it, on what evidence
    History {
        /// The model
        name: String,
    },
}

/// Lists the models, or the moves of one.
pub async fn run(args: Models, session: &Session) -> Ended {
    let desk = session.desk().await?;
    let models = desk.models().await?;
    let Some(Verb::History { name }) = args.verb else {
        if args.output == Output::Json {
            return say_json(&page(models));
        }
        say(&list(&models).render(&session.term, "no models are registered"));
        return Ok(code::DONE);
    };
    if !models.iter().any(|model| model.name == name) {
        let help = spec::suggest(&name, "there are", models.iter().map(|model| model.name.as_str()));
        let help = help.unwrap_or_else(|| "none is registered yet".to_owned());
        return Err(Failure::refused(format!("no model `{name}`")).help(help));
    }
    let moves = desk.alias_moves(&name).await?;
    if args.output == Output::Json {
        return say_json(&page(moves));
    }
    say(&history(&moves).render(&session.term, "no alias of this model was ever moved"));
    Ok(code::DONE)
}

fn list(models: &[Model]) -> Table {
    let mut table = Table::new(&["MODEL", "VERSIONS", "NEWEST", "ALIASES"], 3);
    for model in models {
        let aliases = model.aliases.iter();
        let aliases: Vec<String> = aliases
            .map(|alias| format!("{} v{}", alias.alias, alias.version))
            .collect();
        table.row(vec![
            Cell::styled(&model.name, Style::Bold),
            Cell::new(model.versions.to_string()),
            Cell::maybe(model.newest.map(|version| format!("v{version}"))),
            Cell::new(aliases.join(", ")),
        ]);
    }
    table
}

fn history(moves: &[AliasMove]) -> Table {
    let mut table = Table::new(&["WHEN", "ALIAS", "MOVE", "RUN", "EVIDENCE", "BY"], 5);
    for step in moves {
        let before = step
            .before
            .map_or_else(|| "none".to_owned(), |version| format!("v{version}"));
        table.row(vec![
            Cell::new(instant(step.at)),
            Cell::new(&step.alias),
            Cell::new(format!("{before} → v{}", step.version)),
            Cell::maybe(step.run.map(short)),
            Cell::maybe(
                step.evidence
                    .as_ref()
                    .map(|digest| digest.chars().take(8).collect::<String>()),
            ),
            Cell::new(&step.actor),
        ]);
    }
    table
}
