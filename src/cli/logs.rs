//! `tidegate logs`: what the tasks of a run printed.

use std::time::Duration;

use clap::Args;
use tidegate_engine::clock;
use tidegate_engine::id::RunId;
use tidegate_engine::store::Store;
use tidegate_engine::store::read::LogCursor;
use tidegate_engine::view::LogLine;

use super::{Ended, Output, Session, page, say_json, target};
use crate::failure::{Failure, code};
use crate::roles::interrupted;
use crate::term::{Style, harmless, paint, say};
use crate::watch::exit_code;

/// Lines that are read at once.
const BATCH: usize = 1000;
/// How often a running run is looked at for more.
const PAUSE: Duration = Duration::from_millis(300);

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
    let backend = session.backend().await?;
    let run = target::run(&backend.store, &args.run).await?;
    if let Some(task) = &args.task {
        target::check_task(&run, task)?;
    }
    let id = RunId(run.summary.id);
    let mut reader = LogReader {
        store: &backend.store,
        run: id,
        task: args.task.clone(),
        cursor: LogCursor::default(),
    };
    if args.output == Output::Json && !args.follow {
        return say_json(&page(reader.all().await?));
    }
    let names = run
        .tasks
        .iter()
        .map(|task| task.name.chars().count())
        .max()
        .unwrap_or(0);
    let printer = Printer {
        width: if args.task.is_some() { 0 } else { names },
        color: session.term.color,
        json: args.output == Output::Json,
    };
    if !args.follow {
        printer.print(&reader.all().await?);
        return Ok(code::DONE);
    }
    follow(&mut reader, &printer).await
}

async fn follow(reader: &mut LogReader<'_>, printer: &Printer) -> Ended {
    let stop = interrupted()?;
    loop {
        // The state is read before the lines: what an ended run printed is all there by then.
        let run = target::load(reader.store, reader.run).await?;
        let more = printer.print(&reader.all().await?);
        if !more || exit_code(&run.summary.state).is_some() {
            return Ok(code::DONE);
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(code::INTERRUPTED),
            () = clock::sleep(PAUSE) => {}
        }
    }
}

struct LogReader<'s> {
    store: &'s Store,
    run: RunId,
    task: Option<String>,
    cursor: LogCursor,
}

impl LogReader<'_> {
    /// All lines that were not read yet.
    async fn all(&mut self) -> Result<Vec<LogLine>, Failure> {
        let mut all = Vec::new();
        loop {
            let page = (&mut self.cursor, BATCH);
            let lines = self.store.log_lines(self.run, self.task.as_deref(), page).await?;
            let full = lines.len() >= BATCH;
            all.extend(lines);
            if !full {
                return Ok(all);
            }
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
