//! `tidegate run`: creates a run, and watches it where asked.
//!
//! A flow file with no database configured runs here, in this process, on the home's private PostgreSQL, until the run ended.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};
use tidegate_engine::command::{CommandError, Request, Triggered};
use tidegate_engine::id::RunId;
use tidegate_engine::spec::params;
use tidegate_engine::view::FlowDetail;
use tidegate_engine::{clock, duration, embedded};

use super::{Ended, Output, Session, say_json, target};
use crate::desk::Desk;
use crate::failure::{Failure, code};
use crate::roles::{Local, Quiet, interrupted, trace};
use crate::term::{complain, say};
use crate::watch::{self, Screen, Until, Why, exit_code, tree};

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// A flow that was applied, or a flow file
    #[arg(value_name = "FLOW|FILE")]
    flow: String,
    /// A param of the run; lists and objects are written as JSON
    #[arg(short, long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    param: Vec<(String, String)>,
    /// Repeats of this request under the same key make no second run
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Take nothing from the cache; what is made goes into it
    #[arg(long)]
    no_cache: bool,
    /// Go before everything else, once a second person says so (`tidegate approve RUN`); kept in the ledger
    #[arg(long, requires = "reason")]
    emergency: bool,
    /// Why it is an emergency
    #[arg(long, requires = "emergency", value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    watching: Watching,
}

/// How a run is followed.
#[derive(Debug, Args)]
pub struct Watching {
    /// Show the run until it ends, and exit with its code; Ctrl-C leaves it running
    #[arg(short, long)]
    watch: bool,
    /// Stop watching after this long, with 124; the run goes on
    #[arg(long, value_name = "DURATION", requires = "watch", value_parser = |text: &str| duration::parse(text))]
    timeout: Option<Duration>,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl Watching {
    /// Watches without a limit.
    pub fn until_its_end(output: Output) -> Self {
        Self {
            watch: true,
            timeout: None,
            output,
        }
    }
}

/// `NAME=VALUE`, split.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a param is written NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Creates the run.
pub async fn run(args: Run, session: &Session) -> Ended {
    let config = session.config()?;
    let alone = config.settings.database.url.is_none()
        && config.server.is_none()
        && embedded::url_of(&config.home).is_none();
    if target::is_file(&args.flow) && alone {
        return here(args, session).await;
    }
    let desk = Desk::open(&config).await?;
    let triggered = trigger(&desk, &args, session).await?;
    follow(&desk, &triggered, (&args.watching, session)).await
}

/// Applies the file, if it is one, and creates the run.
async fn trigger(desk: &Desk, args: &Run, session: &Session) -> Result<Triggered, Failure> {
    let name = if target::is_file(&args.flow) {
        apply_file(desk, &args.flow, session).await?
    } else {
        args.flow.clone()
    };
    let flow = desk.flow(&name).await?;
    desk.warn_of_lacking(&name, &session.config()?).await?;
    let request = Request {
        params: params_of(&flow, &args.param)?,
        no_cache: args.no_cache,
        emergency: args.reason.clone(),
    };
    let key = args.idempotency_key.as_deref();
    desk.trigger((&name, request, key)).await
}

async fn apply_file(desk: &Desk, file: &str, session: &Session) -> Result<String, Failure> {
    let ready = target::ready_file(file, session)?;
    // Those that it runs come before it.
    let name = ready.names().pop().unwrap_or_default();
    desk.apply(ready, false).await?;
    Ok(name)
}

/// Params of a command line, as the flow declares them.
pub(super) fn params_of(
    flow: &FlowDetail,
    given: &[(String, String)],
) -> Result<Map<String, Value>, Failure> {
    Ok(params::from_texts(&flow.params, given).map_err(CommandError::Params)?)
}

/// Says which run there is, and watches it where asked.
pub async fn follow(desk: &Desk, triggered: &Triggered, (watching, session): (&Watching, &Session)) -> Ended {
    let summary = &triggered.run.summary;
    if watching.watch {
        announce(triggered, watching.output);
        return watch(desk, RunId(summary.id), (watching, session)).await;
    }
    if watching.output == Output::Json {
        return say_json(&triggered.run);
    }
    announce(triggered, watching.output);
    Ok(code::DONE)
}

fn announce(triggered: &Triggered, output: Output) {
    let summary = &triggered.run.summary;
    let word = if triggered.created {
        "created"
    } else {
        "there already, under this key"
    };
    if output == Output::Table {
        say(&format!("run {} of {} {word}\n", summary.id, summary.flow));
    }
}

/// Watches a run of this or another process; the exit code is the run's.
pub async fn watch(desk: &Desk, id: RunId, (watching, session): (&Watching, &Session)) -> Ended {
    let until = Until {
        deadline: watching.timeout.map(|limit| clock::monotonic() + limit),
        waiting_too: false,
        stop: interrupted()?,
    };
    let table = watching.output == Output::Table;
    let mut screen = Screen::new(&session.term, table);
    let (why, run) = watch::watch(desk, id, (&until, &mut screen)).await?;
    screen.clear();
    match watching.output {
        Output::Json => drop(say_json(&run)?),
        Output::Table => {
            let lines = tree::lines(&run, clock::now());
            say(&lines
                .iter()
                .map(|line| line.show(session.term.color) + "\n")
                .collect::<String>());
        }
    }
    match why {
        Why::Ended => Ok(exit_code(&run.summary.state).unwrap_or(code::FAILED)),
        Why::Waits => Ok(code::DONE),
        Why::TimedOut | Why::Told => {
            watch::way_back(&run, &session.term);
            Ok(if why == Why::TimedOut {
                code::TIMEOUT
            } else {
                code::INTERRUPTED
            })
        }
    }
}

/// Runs a flow file in this process.
async fn here(mut args: Run, session: &Session) -> Ended {
    // Problems of the file are told before anything is started.
    target::ready_file(&args.flow, session)?;
    trace(session, Quiet::Yes);
    let local = Local::start(session).await?;
    args.watching.watch = true;
    let ended = run_in(&local, &args, session).await;
    local.stop().await?;
    if matches!(ended, Ok(code::TIMEOUT | code::INTERRUPTED)) {
        complain("it ran in this process: it goes on with the next `tidegate dev` in this home\n");
    }
    ended
}

async fn run_in(local: &Local, args: &Run, session: &Session) -> Ended {
    let desk = Desk::from(&local.backend);
    let triggered = trigger(&desk, args, session).await?;
    follow(&desk, &triggered, (&args.watching, session)).await
}
