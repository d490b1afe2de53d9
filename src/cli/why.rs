//! `tidegate why`: what a run waits for.

use clap::Args;
use tidegate_engine::view::{TaskRun, Why};

use super::{Ended, Output, Session, say_json, target};
use crate::failure::code;
use crate::term::{Style, harmless, paint, say, style_of};
use crate::watch::tree::stated;
use crate::words::short;

/// Arguments of `why`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The run
    run: String,
    /// Only this task of it
    task: Option<String>,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Says what each unfinished task run waits for.
pub async fn run(args: Arguments, session: &Session) -> Ended {
    let desk = session.desk().await?;
    let run = desk.run(&args.run).await?;
    let mut why = desk.why(&run).await?;
    if let Some(task) = &args.task {
        target::check_task(&run, task)?;
        why.tasks.retain(|wait| wait.task == *task);
        why.sentence = why.sentence.or_else(|| {
            let over = run.tasks.iter().find(|known| known.name == *task);
            let over = over.filter(|known| known.finished_at.is_some());
            over.map(of_ended)
        });
    }
    if args.output == Output::Json {
        return say_json(&why);
    }
    say(&text(&why, session.term.color));
    Ok(code::DONE)
}

/// How a task run ended, and what it said.
fn of_ended(task: &TaskRun) -> String {
    let ended = stated(&task.state, task.reason.as_deref());
    let said = task.message.as_deref().and_then(|said| said.lines().next());
    let said = said.map(|said| format!("; {said}")).unwrap_or_default();
    format!("{} is over: {ended}{said}", task.name)
}

fn text(why: &Why, color: bool) -> String {
    let head = format!("{} {}", why.flow, short(why.run));
    let state = paint(&why.state, style_of(&why.state), color);
    let sentence = why.sentence.as_ref().map(|text| format!(": {}", harmless(text)));
    let mut shown = format!(
        "{}  {state}{}\n",
        paint(&head, Style::Bold, color),
        sentence.unwrap_or_default()
    );
    let width = why
        .tasks
        .iter()
        .map(|wait| wait.task.chars().count())
        .max()
        .unwrap_or(0);
    for wait in &why.tasks {
        let state = paint(&format!("{:<8}", wait.state), style_of(&wait.state), color);
        shown.push_str(&format!(
            "  {:<width$}  {state}  {}\n",
            wait.task,
            harmless(&wait.sentence)
        ));
    }
    shown
}
