//! `tidegate cancel` and `tidegate retry`.

use clap::Args;
use serde_json::Map;
use tidegate_engine::command::RetryRequest;

use super::{Ended, Output, Session, run, say_json};
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
    let desk = session.desk().await?;
    let run = desk.cancel(desk.run_id(&args.run).await?).await?;
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
    let desk = session.desk().await?;
    let id = desk.run_id(&args.run).await?;
    let params = if args.param.is_empty() {
        Map::new()
    } else {
        run::params_of(&desk.flow_of_run(id).await?, &args.param)?
    };
    let request = RetryRequest {
        from: args.from,
        params,
    };
    let asked = (id, request, args.idempotency_key.as_deref());
    let triggered = desk.retry(asked).await?;
    run::follow(&desk, &triggered, (&args.watching, session)).await
}
