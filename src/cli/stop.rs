//! `tidegate cancel` and `tidegate retry`.

use clap::Args;
use serde_json::Map;
use tidegate_engine::clock;
use tidegate_engine::command::{self, RetryRequest};

use super::{Ended, Output, Session, run, say_json, target};
use crate::failure::code;
use crate::term::{paint, say, style_of};
use crate::words::short;

/// Arguments of `cancel`.
#[derive(Debug, Args)]
pub struct Cancel {
    /// The run
    run: String,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Arguments of `retry`.
#[derive(Debug, Args)]
pub struct Retry {
    /// The run, which is over
    run: String,
    /// Go on from this task: it and all that rests on it runs again, whether or not it had succeeded
    #[arg(long, value_name = "TASK")]
    from: Option<String>,
    /// Another value for a param; without --from nothing is carried over then
    #[arg(short, long = "param", value_name = "NAME=VALUE", value_parser = run::pair)]
    param: Vec<(String, String)>,
    /// Repeats of this request under the same key make no second run
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    watching: run::Watching,
}

/// Stops a run.
pub async fn cancel(args: Cancel, session: &Session) -> Ended {
    let backend = session.backend().await?;
    let id = target::run_id(&backend.store, &args.run).await?;
    let run = command::cancel(&backend.store, &backend.actor, id, clock::now()).await?;
    if args.output == Output::Json {
        return say_json(&run);
    }
    let state = paint(
        &run.summary.state,
        style_of(&run.summary.state),
        session.term.color,
    );
    say(&format!("run {} is {state}\n", short(run.summary.id)));
    Ok(code::DONE)
}

/// Runs again what did not succeed, or what rests on a task, or all of it with other params.
pub async fn retry(args: Retry, session: &Session) -> Ended {
    let backend = session.backend().await?;
    let id = target::run_id(&backend.store, &args.run).await?;
    let params = match backend.store.flow_of_run(id).await? {
        Some(flow) => run::params_of(&flow, &args.param)?,
        None => Map::new(),
    };
    let request = RetryRequest {
        from: args.from,
        params,
    };
    let asked = (id, request, args.idempotency_key.as_deref());
    let triggered = command::retry(&backend.store, &backend.actor, asked, clock::now()).await?;
    run::follow(&backend.store, &triggered, (&args.watching, session)).await
}
