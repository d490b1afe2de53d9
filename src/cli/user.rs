//! `tidegate user`: who may sign in, and what they may do.

use std::io::{self, BufRead};

use clap::{Args, Subcommand};
use tidegate_engine::clock;
use tidegate_engine::command::{self, Role};
use tidegate_engine::store::people::NewPerson;
use tidegate_engine::view::Person;

use super::{Ended, Output, Session, page, say_json};
use crate::backend::{self, Backend};
use crate::failure::{Failure, code};
use crate::term::{Cell, Style, Table, complain, paint, say};
use crate::words::instant;

/// Arguments of `user`.
#[derive(Debug, Args)]
pub struct User {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a person
    Add(Add),
    /// List people
    List {
        /// How the answer is shown
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Give a person other roles, in place of those held
    Role {
        /// The person
        name: String,
        /// viewer, operator, approver or admin; may be given several times
        #[arg(required = true, value_parser = role)]
        roles: Vec<Role>,
    },
}

#[derive(Debug, Args)]
struct Add {
    /// Name to sign in with
    name: String,
    /// viewer, operator, approver or admin; may be given several times
    #[arg(long = "role", required = true, value_delimiter = ',', value_parser = role)]
    roles: Vec<Role>,
    /// Read the password from the first line of standard input
    #[arg(long)]
    password_stdin: bool,
    /// Account of the operating system that acts as this person on this command line
    #[arg(long, value_name = "ACCOUNT")]
    os_user: Option<String>,
}

pub(super) fn role(word: &str) -> Result<Role, String> {
    Role::parse(word).ok_or_else(|| "a role is viewer, operator, approver or admin".to_owned())
}

/// Makes, lists, changes.
pub async fn run(args: User, session: &Session) -> Ended {
    let backend = session.backend().await?;
    match args.verb {
        Verb::Add(args) => add(&backend, args, session).await,
        Verb::List { output } => list(&backend, output, session).await,
        Verb::Role { name, roles } => {
            let grants = (name.as_str(), roles.as_slice());
            command::set_roles(&backend.store, &backend.actor, grants, clock::now()).await?;
            say(&format!("{name} is {}\n", words(&roles)));
            let own = backend.actor.is_person && backend.actor.name == name;
            if own && !roles.contains(&Role::Admin) {
                warn_of_loss(&name, &roles, session);
            }
            Ok(code::DONE)
        }
    }
}

async fn add(backend: &Backend, args: Add, session: &Session) -> Ended {
    backend.actor.needs(Role::Admin)?;
    if !args.password_stdin && args.os_user.is_none() {
        return Err(Failure::usage(
            "this person could do nothing: give a password with --password-stdin, or --os-user",
        )
        .help(format!(
            "printf '%s' PASSWORD | tidegate user add {} --role … --password-stdin",
            args.name
        )));
    }
    let password = if args.password_stdin {
        Some(first_line()?)
    } else {
        None
    };
    let said = format!("{} is made, {}\n", args.name, words(&args.roles));
    let own = args.os_user.as_deref() == Some(backend::account().as_str());
    let person = NewPerson {
        name: args.name.clone(),
        roles: args.roles.clone(),
        password,
        os_user: args.os_user,
    };
    if !command::add_person(&backend.store, &backend.actor, person, clock::now()).await? {
        return Err(Failure::refused(format!(
            "there is a person called `{}` already",
            args.name
        )));
    }
    say(&said);
    if own && !args.roles.contains(&Role::Admin) {
        warn_of_loss(&args.name, &args.roles, session);
    }
    Ok(code::DONE)
}

/// This account has just given away what it could do; it cannot take that back itself.
fn warn_of_loss(name: &str, roles: &[Role], session: &Session) {
    let head = paint("warning:", Style::Yellow, session.term.color_err);
    let account = backend::account();
    complain(&format!(
        "{head} the account {account} acts as {name} from now on, and may do no more than: {}\n  \
         another admin gives it back: tidegate user role {name} admin, or in SQL the owner of the database: \
         update person set os_user = null where name = '{name}'\n",
        words(roles)
    ));
}

fn first_line() -> Result<String, Failure> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let password = line.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(Failure::usage("there is no password on standard input"));
    }
    Ok(password)
}

fn words(roles: &[Role]) -> String {
    roles
        .iter()
        .map(|role| role.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

async fn list(backend: &Backend, output: Output, session: &Session) -> Ended {
    let people = backend.store.people().await?;
    if output == Output::Json {
        return say_json(&page(people));
    }
    say(&table(&people).render(&session.term, "there are no people yet; see `tidegate user add`"));
    Ok(code::DONE)
}

fn table(people: &[Person]) -> Table {
    let mut table = Table::new(&["NAME", "ROLES", "ACCOUNT", "SINCE", ""], 1);
    for person in people {
        let disabled = if person.disabled_at.is_some() {
            "disabled"
        } else {
            ""
        };
        table.row(vec![
            Cell::styled(&person.name, Style::Bold),
            Cell::new(person.roles.join(", ")),
            Cell::maybe(person.os_user.as_ref()),
            Cell::styled(instant(person.created_at), Style::Dim),
            Cell::styled(disabled, Style::Red),
        ]);
    }
    table
}
