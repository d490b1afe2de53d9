//! `tidegate token`: what programs sign in with.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use tidegate_engine::command::{self, Role, TokenRequest};
use tidegate_engine::view::Token;
use tidegate_engine::{clock, duration};

use super::{Ended, Output, Session, page, say_json, user};
use crate::desk::Desk;
use crate::failure::{Failure, code};
use crate::term::{Cell, Style, Table, complain, say};
use crate::words::{instant, short};

/// Arguments of `token`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token; it is shown once
    Create(Create),
    /// List tokens: yours, or all for an admin
    List {
        /// How the answer is shown
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// End a token at once
    Revoke {
        /// The token: the end of its id, as `list` shows it
        id: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// What it is for
    name: String,
    /// What it may do, no more than you: viewer, operator, approver or admin; may be given several times
    #[arg(long = "role", required = true, value_delimiter = ',', value_parser = user::role)]
    roles: Vec<Role>,
    /// Let it act as this service instead of as you; a service decides nothing
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// How long it is good, at most 366d
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = |text: &str| duration::parse(text))]
    expires: Duration,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Makes, lists, revokes.
pub async fn run(args: Arguments, session: &Session) -> Ended {
    match args.verb {
        Verb::Create(args) => create(args, session).await,
        Verb::List { output } => list(output, session).await,
        Verb::Revoke { id } => revoke(&id, &session.desk().await?).await,
    }
}

/// Beside the database only: a token makes no tokens.
async fn create(args: Create, session: &Session) -> Ended {
    let backend = session.backend().await?;
    let request = TokenRequest {
        name: args.name,
        service: args.service,
        roles: args.roles,
        expires: args.expires,
    };
    if request.service.is_none() && !backend.actor.is_person {
        return Err(nobody(&backend.actor.name));
    }
    let (token, secret) =
        command::create_token(&backend.store, &backend.actor, request, clock::now()).await?;
    if args.output == Output::Json {
        let mut body = json!(token);
        body["secret"] = json!(secret);
        return say_json(&body);
    }
    // Alone on standard output, for a pipe into where it shall lie.
    say(&format!("{secret}\n"));
    complain(&format!(
        "it acts as {} ({}) until {}, and is not shown again; set TIDEGATE_TOKEN to it\n",
        token.owner,
        token.roles.join(", "),
        instant(token.expires_at)
    ));
    Ok(code::DONE)
}

/// An account that is no person owns no token; the way out is to map it, or to name a service.
fn nobody(actor: &str) -> Failure {
    let account = actor.trim_start_matches("os:");
    Failure::usage(format!("{actor} is no person, and a token belongs to a person or a service")).help(format!(
        "name a service (--service ci), make your own on the page /tokens, or let a person act through this account: tidegate user add NAME --role … --os-user {account}"
    ))
}

async fn list(output: Output, session: &Session) -> Ended {
    let tokens = session.desk().await?.tokens().await?;
    if output == Output::Json {
        return say_json(&page(tokens));
    }
    let mut table = Table::new(&["TOKEN", "FOR", "ACTS AS", "ROLES", "STATE", "UNTIL", "USED"], 1);
    for token in &tokens {
        let style = if token.state == "valid" {
            Style::Green
        } else {
            Style::Dim
        };
        table.row(vec![
            Cell::new(short(token.id)),
            Cell::styled(&token.name, Style::Bold),
            Cell::new(&token.owner),
            Cell::new(token.roles.join(", ")),
            Cell::styled(&token.state, style),
            Cell::new(instant(token.expires_at)),
            Cell::maybe(token.used_at.map(instant)),
        ]);
    }
    say(&table.render(&session.term, "there are no tokens; see `tidegate token create`"));
    Ok(code::DONE)
}

async fn revoke(text: &str, desk: &Desk) -> Ended {
    let known = desk.tokens().await?;
    let meant: Vec<&Token> = known
        .iter()
        .filter(|token| token.id.to_string() == text || short(token.id).ends_with(text))
        .collect();
    let [meant] = meant.as_slice() else {
        return Err(
            Failure::refused(format!("no single token `{text}`")).help("`tidegate token list` lists them")
        );
    };
    let revoked = desk.revoke_token(meant.id).await?;
    say(&format!(
        "token {} ({}) opens nothing any more\n",
        short(revoked.id),
        revoked.name
    ));
    Ok(code::DONE)
}
