//! `tidegate secret`: values that tasks may use and nobody sees.

use std::io::{self, Read};

use clap::{Args, Subcommand};
use tidegate_engine::clock;
use tidegate_engine::command::{self, Role};
use tidegate_engine::secrets::LONGEST;
use tidegate_engine::view::Secret;

use super::{Ended, Output, Session, page, say_json};
use crate::backend::Backend;
use crate::failure::{Failure, code};
use crate::term::{Cell, Style, Table, say};
use crate::words::instant;

/// Arguments of `secret`.
#[derive(Debug, Args)]
pub struct Secrets {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Set a secret to what stands on standard input, one line end at its end apart
    Set {
        /// Its name, as in {{ secrets.NAME }}
        name: String,
    },
    /// List secrets, without their values
    List {
        /// How the answer is shown
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Remove a secret
    Rm {
        /// Its name
        name: String,
    },
}

/// Sets, lists, removes.
pub async fn run(args: Secrets, session: &Session) -> Ended {
    let backend = session.backend().await?;
    match args.verb {
        Verb::Set { name } => set(&backend, &name, session).await,
        Verb::List { output } => list(&backend, output, session).await,
        Verb::Rm { name } => {
            command::remove_secret(&backend.store, &backend.actor, &name, clock::now()).await?;
            say(&format!("{name} is removed\n"));
            Ok(code::DONE)
        }
    }
}

async fn set(backend: &Backend, name: &str, session: &Session) -> Ended {
    backend.actor.needs(Role::Admin)?;
    let value = value()?;
    let key = session.config()?.secret_key.load_or_make();
    let key = key.map_err(|error| Failure::refused(tidegate_engine::plugin::chain(&error)))?;
    let made =
        command::set_secret(&backend.store, &backend.actor, (&key, name, &value), clock::now()).await?;
    say(&format!("{name} is {}\n", if made { "set" } else { "set anew" }));
    Ok(code::DONE)
}

/// Standard input, never an argument: those are seen by every process of the machine.
fn value() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(LONGEST as u64 + 2)
        .read_to_string(&mut text)?;
    let value = text.strip_suffix('\n').unwrap_or(&text);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() {
        return Err(Failure::usage("there is no value on standard input")
            .help("printf '%s' VALUE | tidegate secret set NAME"));
    }
    Ok(value.to_owned())
}

async fn list(backend: &Backend, output: Output, session: &Session) -> Ended {
    backend.actor.needs(Role::Viewer)?;
    let secrets = backend.store.secrets().await?;
    if output == Output::Json {
        return say_json(&page(secrets));
    }
    say(&table(&secrets).render(&session.term, "there are no secrets; see `tidegate secret set`"));
    Ok(code::DONE)
}

fn table(secrets: &[Secret]) -> Table {
    let mut table = Table::new(&["NAME", "SET", "BY", "KEY"], 2);
    for secret in secrets {
        table.row(vec![
            Cell::styled(&secret.name, Style::Bold),
            Cell::styled(instant(secret.updated_at), Style::Dim),
            Cell::new(&secret.updated_by),
            Cell::styled(&secret.key, Style::Dim),
        ]);
    }
    table
}
