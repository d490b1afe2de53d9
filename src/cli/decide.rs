//! `tidegate approve` and `tidegate reject`: a person's decision on a gate, bound to the evidence's digest.

use clap::Args;
use tidegate_engine::command::{Choice, Decision, Decline};
use tidegate_engine::id::RunId;
use tidegate_engine::view::{Approval, Freeze, Run};

use super::{Ended, Output, Session, say_json, target};
use crate::desk::Desk;
use crate::failure::{Failure, code};
use crate::term::{Style, complain, harmless, paint, say, style_of};
use crate::words::{count, instant, short};

/// Arguments of both.
#[derive(Debug, Args)]
pub struct Decide {
    /// RUN/TASK, or RUN where only one of its tasks waits for a decision
    #[arg(value_name = "RUN/TASK")]
    gate: String,
    /// Why; it goes into the ledger
    #[arg(long)]
    comment: Option<String>,
    /// Digest of the evidence that was read; without it the evidence is shown and its present digest is used
    #[arg(long, value_name = "SHA")]
    evidence: Option<String>,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Opens the gate.
pub async fn approve(args: Decide, session: &Session) -> Ended {
    decide(args, Choice::Approve, session).await
}

/// Closes the gate.
pub async fn reject(args: Decide, session: &Session) -> Ended {
    decide(args, Choice::Reject, session).await
}

async fn decide(args: Decide, choice: Choice, session: &Session) -> Ended {
    let desk = session.desk().await?;
    let (word, task) = match args.gate.split_once('/') {
        Some((run, task)) => (run, Some(task)),
        None => (args.gate.as_str(), None),
    };
    let run = desk.run(word).await?;
    if task.is_none() && is_emergency(&desk, &run).await? {
        return let_go(RunId(run.summary.id), (args, choice), &desk).await;
    }
    let approval = find(&desk, &run, task).await?;
    let table = args.output == Output::Table;
    let evidence = match args.evidence {
        Some(given) if given.len() >= 8 && approval.digest.starts_with(&given) => approval.digest.clone(),
        Some(given) => given,
        None => {
            if table {
                say(&summary(&approval, session.term.color));
            }
            approval.digest.clone()
        }
    };
    let silent = choice == Choice::Approve && args.comment.is_none();
    let decision = Decision {
        decision: choice,
        comment: args.comment,
        evidence,
    };
    let decided = desk.decide(approval.id, decision).await?;
    if table {
        say(&verdict(&decided, session.term.color));
    } else {
        say_json(&decided)?;
    }
    if silent {
        warn_of_freeze(&desk, (&run, &decided), session).await?;
    }
    Ok(code::DONE)
}

/// A yes without a reason does not pass a freeze window: says so, as nothing else would for hours.
async fn warn_of_freeze(
    desk: &Desk,
    (run, decided): (&Run, &Approval),
    session: &Session,
) -> Result<(), Failure> {
    let task = run.tasks.iter().find(|task| task.name == decided.task);
    let registry = tidegate_flows::registry();
    let plugin = task.and_then(|task| registry.get(&task.uses));
    if !plugin.is_some_and(|plugin| plugin.descriptor().guarded) {
        return Ok(());
    }
    let covers = |freeze: &Freeze| {
        let of_flow = freeze.flow.as_ref().is_none_or(|flow| *flow == decided.flow);
        freeze.active && of_flow
    };
    let freezes = desk.freezes(false).await?;
    // An emergency passes on the yes that let it go.
    if freezes.is_empty() || desk.why(run).await?.emergency.is_some() {
        return Ok(());
    }
    let last = freezes.iter().filter(|freeze| covers(freeze));
    let Some(freeze) = last.max_by_key(|freeze| freeze.until_at) else {
        return Ok(());
    };
    let head = paint("warning:", Style::Yellow, session.term.color_err);
    complain(&format!(
        "{head} {} waits for the end of a freeze, {} ({}): a yes passes it only with a --comment that says why\n  \
         `tidegate freeze end {}` ends it before\n",
        decided.task,
        instant(freeze.until_at),
        harmless(&freeze.reason),
        freeze.id
    ));
    Ok(())
}

/// Whether the run is an emergency that waits for a second person.
async fn is_emergency(desk: &Desk, run: &Run) -> Result<bool, Failure> {
    if run.summary.state != "queued" {
        return Ok(false);
    }
    let known = desk.why(run).await?.emergency;
    Ok(known.is_some_and(|known| known.confirmed_by.is_none()))
}

/// Lets an emergency go, or stops it.
async fn let_go(run: RunId, (args, choice): (Decide, Choice), desk: &Desk) -> Ended {
    let comment = args.comment;
    let run = match choice {
        Choice::Approve => desk.confirm(run).await?,
        Choice::Reject => desk.decline(run, Decline { comment }).await?,
    };
    if args.output == Output::Json {
        return say_json(&run);
    }
    say(&format!(
        "emergency {} is {}\n",
        short(run.summary.id),
        run.summary.state
    ));
    Ok(code::DONE)
}

async fn find(desk: &Desk, run: &Run, task: Option<&str>) -> Result<Approval, Failure> {
    let task = match task {
        Some(task) => {
            target::check_task(run, task)?;
            task.to_owned()
        }
        None => only_one(run)?,
    };
    let approval = desk.approval_of(run, &task).await?;
    approval.ok_or_else(|| {
        Failure::refused(format!(
            "task `{task}` of run {} asks for no decision",
            short(run.summary.id)
        ))
        .help("`tidegate approvals` lists what does")
    })
}

fn only_one(run: &Run) -> Result<String, Failure> {
    let asks = run.tasks.iter().filter(|task| {
        let approval = task.gate.as_ref().and_then(|gate| gate.approval_state.as_deref());
        task.state == "waiting" && approval == Some("open")
    });
    let names: Vec<&str> = asks.map(|task| task.name.as_str()).collect();
    let id = short(run.summary.id);
    match names[..] {
        [name] => Ok(name.to_owned()),
        [] => Err(
            Failure::refused(format!("no task of run {id} waits for a decision"))
                .help("`tidegate approvals` lists what does"),
        ),
        _ => Err(
            Failure::usage(format!("several tasks of run {id} wait: {}", names.join(", ")))
                .help(format!("name one: {id}/{}", names[0])),
        ),
    }
}

/// What a person should read before deciding.
pub fn summary(approval: &Approval, color: bool) -> String {
    let mut lines = Vec::new();
    if let Some(message) = &approval.message {
        lines.push(paint(&harmless(message), Style::Bold, color));
    }
    if let Some(action) = &approval.action {
        lines.push(format!("  will do   {}", harmless(action)));
    }
    lines.push(format!(
        "  run       {} of {}, requested by {}",
        short(approval.run),
        approval.flow,
        approval.requester
    ));
    for rule in approval.evidence["rules"].as_array().into_iter().flatten() {
        let judgement = &rule["judgement"];
        let verdict = judgement["verdict"].as_str().unwrap_or("fail");
        let why = harmless(judgement["why"].as_str().unwrap_or_default());
        lines.push(format!(
            "  {} {why}",
            paint("rule     ", style_of(verdict), color)
        ));
    }
    lines.push(format!("  evidence  {}", approval.digest));
    lines.join("\n") + "\n"
}

fn verdict(approval: &Approval, color: bool) -> String {
    let gate = format!("{}/{}", short(approval.run), approval.task);
    let approvals = approval
        .votes
        .iter()
        .filter(|vote| vote.decision == "approve")
        .count();
    let missing = usize::try_from(approval.required)
        .unwrap_or(1)
        .saturating_sub(approvals);
    let state = paint(&approval.state, style_of(&approval.state), color);
    match approval.state.as_str() {
        "open" => format!("{gate} noted; {} more needed\n", count(missing, "approval")),
        _ => format!("{gate} {state}\n"),
    }
}
