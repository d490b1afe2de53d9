//! `tidegate logs`: what the tasks of a run printed.

use clap::Args;
use tidegate_engine::id::RunId;
use tidegate_engine::view::LogLine;

use super::{Ended, Output, Session, page, say_json, target};
use crate::desk::Tail;
use crate::failure::code;
use crate::roles::interrupted;
use crate::term::{Style, harmless, paint, say};

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// The run
    run: String,
    /// Only of this task
    task: Option<String>,
    /// Go on as more comes, until the run ends
    #[arg(short, long)]
    follow: bool,
    /// How the answer is shown; with --follow JSON is a line each
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Prints the lines in order of task and attempt; followed, in order of arrival.
pub async fn run(args: Logs, session: &Session) -> Ended {
    let desk = session.desk().await?;
    let run = desk.run(&args.run).await?;
    let task = args.task.as_deref();
    if let Some(task) = task {
        target::check_task(&run, task)?;
    }
    let id = RunId(run.summary.id);
    if args.output == Output::Json && !args.follow {
        return say_json(&page(desk.lines(id, task).await?));
    }
    let names = run.tasks.iter().map(|task| task.name.chars().count()).max();
    let printer = Printer {
        width: task.map_or(names.unwrap_or(0), |_| 0),
        color: session.term.color,
        json: args.output == Output::Json,
    };
    if args.follow {
        return follow(desk.tail(id, task), &printer).await;
    }
    printer.print(&desk.lines(id, task).await?);
    Ok(code::DONE)
}

async fn follow(mut tail: Tail, printer: &Printer) -> Ended {
    let stop = interrupted()?;
    loop {
        let lines = tokio::select! {
            () = stop.cancelled() => return Ok(code::INTERRUPTED),
            lines = tail.next() => lines?,
        };
        let more = lines.is_some_and(|lines| printer.print(&lines));
        if !more {
            return Ok(code::DONE);
        }
    }
}

struct Printer {
    /// Columns for the task's name; 0: none.
    width: usize,
    color: bool,
    json: bool,
}

impl Printer {
    /// `false` when nobody reads any more.
    fn print(&self, lines: &[LogLine]) -> bool {
        let text: String = lines.iter().map(|line| self.line(line)).collect();
        text.is_empty() || say(&text)
    }

    fn line(&self, line: &LogLine) -> String {
        if self.json {
            return serde_json::to_string(line).unwrap_or_default() + "\n";
        }
        let style = match line.level.as_str() {
            "error" => Style::Red,
            "warn" => Style::Yellow,
            "debug" | "mark" => Style::Dim,
            _ => Style::Plain,
        };
        let time = paint(&line.at.strftime("%H:%M:%S").to_string(), Style::Dim, self.color);
        let text = paint(&harmless(&line.text), style, self.color);
        if self.width == 0 {
            return format!("{time} {text}\n");
        }
        let task = paint(
            &format!("{:<width$}", line.task, width = self.width),
            Style::Blue,
            self.color,
        );
        format!("{time} {task} {text}\n")
    }
}
