//! The command line: one file a verb. A verb takes its arguments and a [`Session`], and ends with an exit code or a [`Failure`].

mod apply;
mod approvals;
mod backfill;
mod bench;
mod check;
mod db;
mod decide;
#[cfg(feature = "ml")]
mod demo;
mod doctor;
mod freeze;
mod gate;
mod guard;
mod ledger;
mod logs;
mod models;
mod plugins;
mod pool;
mod run;
mod run_task;
mod runs;
mod schedule;
mod secret;
mod serve;
mod show;
mod stop;
mod target;
mod token;
mod user;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;
use tidegate_engine::view::Page;

use crate::backend::Backend;
use crate::config::{Config, Environment};
use crate::desk::Desk;
use crate::failure::{Failure, code};
use crate::term::{Term, say};

pub use target::Ready;

/// A workflow engine for ML teams: flows in TOML, tasks in Rust, promotions behind gates.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, arg_required_else_help = true, max_term_width = 100, after_help = AFTER)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const AFTER: &str = "\
A RUN is an id, its beginning or its end, or `last`. With TIDEGATE_URL and
TIDEGATE_TOKEN the verbs go through that server; else they work on DATABASE_URL,
or on what runs in TIDEGATE_HOME (default .tidegate).

Exit codes: 0 done · 1 run failed · 2 usage, or a flow file that does not check ·
3 rejected · 4 cancelled · 5 server or database out of reach · 6 refused · 124 --timeout
passed · 130 interrupted";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Everything in one process on a private PostgreSQL: scheduler, worker, pages; applies the flows of DIR and watches them
    Dev(serve::Dev),
    /// `dev` on a home with generated events: the nightly retrain runs up to its approval
    #[cfg(feature = "ml")]
    Demo(demo::Demo),
    /// Scheduler and pages on DATABASE_URL, with --worker a worker too; any number of them
    Server(serve::Server),
    /// A worker on DATABASE_URL; any number of them
    Worker(serve::Worker),
    /// Validate flow files, without a server or database
    Check(check::Check),
    /// Store new versions of flows and their schedules; unchanged files change nothing
    Apply(apply::Apply),
    /// Create a run of a flow, or of a flow file
    Run(run::Run),
    /// List runs, newest first
    Runs(runs::Runs),
    /// Show one run as a tree
    Show(show::Show),
    /// Say what each unfinished task of a run waits for
    Why(why::Arguments),
    /// Show what the tasks of a run printed
    Logs(logs::Logs),
    /// Stop a run
    Cancel(stop::Cancel),
    /// Run again what did not succeed, as a new run
    Retry(stop::Retry),
    /// List the decisions that are asked for
    Approvals(approvals::Approvals),
    /// Open a gate
    Approve(decide::Decide),
    /// Close a gate
    Reject(decide::Decide),
    /// Runs for past ticks that made none
    Backfill(backfill::Arguments),
    /// Schedules: list, pause, resume, when they fire next, and what they mean
    Schedule(schedule::Schedule),
    /// Pools: how many task runs hold a slot at once, and who holds them
    Pool(pool::Arguments),
    /// Registered models and where their aliases point
    Models(models::Models),
    /// The record of decisions: verify its chain, export it
    Ledger(ledger::Ledger),
    /// Secrets that tasks may use: set, list, remove
    Secret(secret::Secrets),
    /// People who may sign in
    User(user::User),
    /// Tokens that programs sign in with: create, list, revoke
    Token(token::Arguments),
    /// Measure the workloads of the README's performance table against this machine's PostgreSQL
    Bench(bench::Bench),
    /// Windows in which nothing is promoted or maintained, but by a person with a reason
    Freeze(freeze::Arguments),
    /// Gates: what past runs would have come to under another rule
    Gate(gate::Arguments),
    /// The database: migrations, sizes, old partitions
    Db(db::Db),
    /// Look for what is wrong with configuration, clocks, processes and database
    Doctor(doctor::Doctor),
    /// List the plugins that tasks can use, or describe one
    Plugins(plugins::Plugins),
    /// Print the JSON Schema of a flow file, for editors
    Schema,
    /// Run one attempt for a worker, which speaks on standard input
    #[command(hide = true)]
    RunTask,
    /// Outlive a worker, which speaks on standard input, and end what it left running
    #[command(hide = true)]
    Guard,
}

/// How a list is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs: the bodies of the API
    Json,
}

/// An exit code, or why there is none of the verb's own.
type Ended = Result<u8, Failure>;

/// What every verb is given.
pub struct Session {
    /// The environment.
    pub env: Environment,
    /// Where output goes.
    pub term: Term,
}

impl Session {
    /// File and environment.
    pub fn config(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.env)?)
    }

    /// The server that the environment names, else the database.
    pub async fn desk(&self) -> Result<Desk, Failure> {
        Desk::open(&self.config()?).await
    }

    /// The database, for what is done beside it only.
    pub async fn backend(&self) -> Result<Backend, Failure> {
        Backend::open(&self.config()?).await
    }

    /// Answers the variables that `[vars]` of a flow file may read.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.env.get(name).map(str::to_owned)
    }
}

/// Parses the arguments and carries out the verb.
pub fn main() -> ExitCode {
    let verb = Arguments::parse().verb;
    let env = Environment::read();
    let term = Term::of(&env);
    let session = Session { env, term };
    let ended = match verb {
        Verb::Check(args) => Ok(check::run(&args, &session)),
        Verb::Plugins(args) => plugins::list(&args, &session),
        Verb::Schema => plugins::schema(),
        verb => in_runtime(verb, &session),
    };
    ExitCode::from(ended.unwrap_or_else(|failure| failure.report(&term)))
}

fn in_runtime(verb: Verb, session: &Session) -> Ended {
    let runtime = tokio::runtime::Runtime::new()?;
    let ended = runtime.block_on(carry_out(verb, session));
    // Nobody waits for a thread that still reads from a terminal or a slow disk.
    runtime.shutdown_background();
    ended
}

async fn carry_out(verb: Verb, session: &Session) -> Ended {
    match verb {
        Verb::Dev(args) => serve::dev(args, session).await,
        #[cfg(feature = "ml")]
        Verb::Demo(args) => demo::run(args, session).await,
        Verb::Server(args) => serve::server(args, session).await,
        Verb::Worker(args) => serve::worker(args, session).await,
        Verb::Apply(args) => apply::run(args, session).await,
        Verb::Run(args) => run::run(args, session).await,
        Verb::Runs(args) => runs::list(args, session).await,
        Verb::Show(args) => show::run(args, session).await,
        Verb::Why(args) => why::run(args, session).await,
        Verb::Pool(args) => pool::run(args, session).await,
        Verb::Logs(args) => logs::run(args, session).await,
        Verb::Cancel(args) => stop::cancel(args, session).await,
        Verb::Retry(args) => stop::retry(args, session).await,
        Verb::Approvals(args) => approvals::list(args, session).await,
        Verb::Approve(args) => decide::approve(args, session).await,
        Verb::Reject(args) => decide::reject(args, session).await,
        Verb::Schedule(args) => schedule::run(args, session).await,
        Verb::Models(args) => models::run(args, session).await,
        Verb::Ledger(args) => ledger::run(args, session).await,
        Verb::Secret(args) => secret::run(args, session).await,
        Verb::User(args) => user::run(args, session).await,
        Verb::Token(args) => token::run(args, session).await,
        Verb::Bench(args) => bench::run(args, session).await,
        Verb::Freeze(args) => freeze::run(args, session).await,
        Verb::Backfill(args) => backfill::run(args, session).await,
        Verb::Gate(args) => gate::run(args, session).await,
        Verb::Db(args) => db::run(args, session).await,
        Verb::Doctor(args) => doctor::run(args, session).await,
        Verb::RunTask => run_task::run().await,
        Verb::Guard => guard::run().await,
        Verb::Check(_) | Verb::Plugins(_) | Verb::Schema => Ok(code::DONE),
    }
}

/// Prints a value as JSON.
fn say_json(value: &impl Serialize) -> Ended {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(code::FAILED, format!("the answer has no JSON form: {error}")))?;
    say(&format!("{text}\n"));
    Ok(code::DONE)
}

/// A list that has one page.
fn page<T>(items: Vec<T>) -> Page<T> {
    Page { items, next: None }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    /// The program itself is built without clap's self-checks.
    #[test]
    fn the_arguments_fit_together() {
        super::Arguments::command().debug_assert();
    }
}
