//! `tidegate demo`: the nightly retrain on generated events, up to its approval.

use std::net::{Ipv4Addr, SocketAddr};

use clap::Args;
use tidegate_engine::clock;
use tidegate_engine::id::RunId;
use tokio_util::sync::CancellationToken;

use super::{Ended, Session};
use crate::demo::{DemoHome, Played, Stage};
use crate::failure::code;
use crate::roles::{ENDING, Local, Login, Quiet, stop_on_signal, trace};
use crate::term::{Style, paint, say};
use crate::watch::{Screen, Why, exit_code};

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Approve by itself, end with the run and exit with its code
    #[arg(long)]
    approve: bool,
    /// Port of the pages on 127.0.0.1 [default: 8080, else a free one]
    #[arg(long)]
    port: Option<u16>,
}

/// Plays the demo; stays up until it is told to end.
pub async fn run(args: Demo, session: &Session) -> Ended {
    trace(session, Quiet::Yes);
    let mut config = session.config()?;
    // What a demo makes belongs to its home, whatever services the caller's environment speaks of.
    config.for_plugins.clear();
    let mut home = DemoHome::open(&config.home)?;
    let stop = CancellationToken::new();
    stop_on_signal(&stop, ENDING)?;
    let (opened, filled) = tokio::join!(Local::open(config, stop), home.fill_lake());
    let mut local = opened?;
    let ended = match filled {
        Ok(events) => in_house(&mut local, (&home, events), (&args, session)).await,
        Err(failure) => Err(failure),
    };
    let stopped = local.stop().await;
    let ended = ended?;
    stopped?;
    Ok(ended)
}

async fn in_house(
    local: &mut Local,
    (home, events): (&DemoHome, Option<u64>),
    (args, session): (&Demo, &Session),
) -> Ended {
    if let Some(events) = events {
        say(&format!(
            "{events} learning events of 60 days made up in {}\n",
            home.lake()
        ));
    }
    let bind = args
        .port
        .map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    let url = local.start_all(bind).await?;
    let mut stage = Stage {
        backend: &local.backend,
        home,
        term: &session.term,
        screen: Screen::new(&session.term, true),
        stop: local.stop.clone(),
    };
    tokio::select! {
        ended = play(&mut stage, (&url, args.approve)) => ended,
        ended = local.house.live() => ended.map(|()| code::DONE),
    }
}

async fn play(stage: &mut Stage<'_>, (url, approve): (&str, bool)) -> Ended {
    let began = clock::monotonic();
    let login = stage.set_up().await?;
    let Played::Run(run) = stage.play().await? else {
        return Ok(code::INTERRUPTED);
    };
    stage.show(&run);
    let waits = run.summary.state == "waiting";
    if approve {
        if waits {
            stage.approve_as_login(&run).await?;
        }
        let (why, run) = stage.watch(RunId(run.summary.id), false).await?;
        stage.show(&run);
        return Ok(exit_code(&run.summary.state)
            .filter(|_| why == Why::Ended)
            .unwrap_or(code::INTERRUPTED));
    }
    let took = (clock::monotonic() - began).as_secs();
    if waits {
        let approval = stage.approval(&run).await?;
        invite(&format!("{url}/approvals/{}", approval.id), (&login, took), stage);
        let (_, run) = stage.watch(RunId(run.summary.id), false).await?;
        if exit_code(&run.summary.state).is_some() {
            stage.show(&run);
        }
    } else {
        invite(url, (&login, took), stage);
    }
    stage.stop.cancelled().await;
    Ok(code::DONE)
}

fn invite(link: &str, (login, took): (&Login, u64), stage: &Stage<'_>) {
    let bold = |text: &str| paint(text, Style::Bold, stage.term.color);
    say(&format!(
        "\nAfter {took} s it is a person's turn:  {}\nSign in as {} with {}\n\
         Ctrl-C ends the demo; started again it goes on where it was.\n\n",
        bold(link),
        bold(&login.name),
        bold(&login.password),
    ));
}
