//! `tidegate models`: what there is, `history`, `rollback`.

use clap::{Args, Subcommand};
use tidegate_engine::command::RollbackRequest;
use tidegate_engine::spec;
use tidegate_engine::view::{AliasMove, Model};

use super::run::{Watching, follow};
use super::{Ended, Output, Session, page, say_json};
use crate::desk::Desk;
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
    /// Move an alias back to a version that it pointed to before; kept in the ledger
    Rollback(Rollback),
}

#[derive(Debug, Args)]
struct Rollback {
    /// The alias: ranking_model@production
    #[arg(value_name = "NAME@ALIAS", value_parser = place)]
    place: (String, String),
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The version to go back to [default: the one before]
    #[arg(long, value_name = "VERSION", value_parser = version)]
    to: Option<i64>,
    #[command(flatten)]
    watching: Watching,
}

/// `NAME@ALIAS`, split.
fn place(text: &str) -> Result<(String, String), String> {
    let split = text.rsplit_once('@');
    let split = split.filter(|(model, alias)| !model.is_empty() && !alias.is_empty());
    let (model, alias) = split.ok_or("an alias is written NAME@ALIAS: ranking_model@production")?;
    Ok((model.to_owned(), alias.to_owned()))
}

/// `6` or `v6`.
fn version(text: &str) -> Result<i64, String> {
    let number = text.strip_prefix('v').unwrap_or(text).parse();
    number.map_err(|_| "a version is a number: 6".to_owned())
}

/// Lists the models or the moves of one, or moves an alias back.
pub async fn run(args: Models, session: &Session) -> Ended {
    let desk = session.desk().await?;
    let models = desk.models().await?;
    match args.verb {
        None if args.output == Output::Json => say_json(&page(models)),
        None => {
            say(&list(&models).render(&session.term, "no models are registered"));
            Ok(code::DONE)
        }
        Some(Verb::History { name }) => {
            let model = find(&models, &name)?;
            show(&desk, model, (args.output, session)).await
        }
        Some(Verb::Rollback(back)) => {
            let model = find(&models, &back.place.0)?;
            roll_back(&desk, (model, back), session).await
        }
    }
}

async fn show(desk: &Desk, model: &Model, (output, session): (Output, &Session)) -> Ended {
    let moves = desk.alias_moves(&model.name).await?;
    if output == Output::Json {
        return say_json(&page(moves));
    }
    say(&history(&moves).render(&session.term, "no alias of this model was ever moved"));
    Ok(code::DONE)
}

/// From where the alias points to now: if somebody else moves it meanwhile, nothing is done.
async fn roll_back(desk: &Desk, (model, back): (&Model, Rollback), session: &Session) -> Ended {
    let name = &back.place.1;
    let Some(alias) = model.aliases.iter().find(|alias| alias.alias == *name) else {
        let known = model.aliases.iter().map(|alias| alias.alias.as_str());
        let help = spec::suggest(name, "it has", known).unwrap_or_else(|| "it has none yet".to_owned());
        return Err(Failure::refused(format!("no alias `{name}` of `{}`", model.name)).help(help));
    };
    let request = RollbackRequest {
        from: alias.version,
        to: back.to,
        reason: back.reason,
    };
    let made = desk.roll_back((&model.name, name), request).await?;
    follow(desk, &made, (&back.watching, session)).await
}

fn find<'m>(models: &'m [Model], name: &str) -> Result<&'m Model, Failure> {
    let found = models.iter().find(|model| model.name == name);
    found.ok_or_else(|| {
        let help = spec::suggest(name, "there are", models.iter().map(|model| model.name.as_str()));
        let help = help.unwrap_or_else(|| "none is registered yet".to_owned());
        Failure::refused(format!("no model `{name}`")).help(help)
    })
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
    let mut table = Table::new(&["WHEN", "ALIAS", "MOVE", "RUN", "BY", "ON WHAT"], 5);
    for step in moves {
        let before = step
            .before
            .map_or_else(|| "none".to_owned(), |version| format!("v{version}"));
        table.row(vec![
            Cell::new(instant(step.at)),
            Cell::new(&step.alias),
            Cell::new(format!("{before} → v{}", step.version)),
            Cell::maybe(step.run.map(short)),
            Cell::new(&step.actor),
            Cell::maybe(basis(step)),
        ]);
    }
    table
}

/// On what a move rests, where that is more than rules.
fn basis(step: &AliasMove) -> Option<String> {
    let evidence = step.evidence.as_ref().map(|digest| {
        let short: String = digest.chars().take(8).collect();
        format!("evidence {short}")
    });
    let rollback = || Some(format!("rollback: {}", step.rollback.as_ref()?));
    evidence.or_else(rollback)
}
