//! Watching a run until it ends: drawn over and over on a terminal, a line for each change elsewhere.

pub mod tree;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tidegate_engine::clock;
use tidegate_engine::id::RunId;
use tidegate_engine::view::Run;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::desk::Desk;
use crate::failure::{Failure, code};
use crate::term::{Style, Term, complain, paint, say, style_of};
use crate::words::{self, short};

/// How often what is shown moves on, and the deadline is looked at.
const TICK: Duration = Duration::from_millis(250);
/// How long a server or database that went away is waited for before the watcher gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Until when a run is watched.
pub struct Until {
    /// Give up then.
    pub deadline: Option<Instant>,
    /// Stop as well as soon as people must decide.
    pub waiting_too: bool,
    /// Stop when told so.
    pub stop: CancellationToken,
}

/// Why watching ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The run ended.
    Ended,
    /// It waits, and that was enough.
    Waits,
    /// The deadline passed.
    TimedOut,
    /// It was told to stop.
    Told,
}

/// Where what is seen goes.
pub struct Screen<'t> {
    term: &'t Term,
    /// Changes are told on standard output where nothing can be drawn.
    lines: bool,
    drawn: usize,
    run: Option<Uuid>,
    known: BTreeMap<u32, (String, u32)>,
    state: String,
}

impl<'t> Screen<'t> {
    /// `lines`: tell changes line by line where standard error is no terminal.
    pub fn new(term: &'t Term, lines: bool) -> Self {
        Self {
            term,
            lines: lines && !term.live,
            drawn: 0,
            run: None,
            known: BTreeMap::new(),
            state: String::new(),
        }
    }

    fn show(&mut self, run: &Run, now: Timestamp) {
        if self.run.replace(run.summary.id) != Some(run.summary.id) {
            self.known.clear();
            self.state.clear();
        }
        if self.term.live {
            self.draw(run, now);
        } else if self.lines {
            self.tell(run, now);
        }
    }

    /// Draws over what was drawn before.
    fn draw(&mut self, run: &Run, now: Timestamp) {
        let mut text = self.erased();
        let lines = tree::lines(run, now);
        let room = self.term.height.saturating_sub(2).max(4);
        let hidden = lines.len().saturating_sub(room);
        for line in lines.iter().take(room) {
            text.push_str(&line.fitted(self.term.color_err, self.term.width.saturating_sub(1)));
            text.push('\n');
        }
        self.drawn = lines.len().min(room);
        if hidden > 0 {
            text.push_str(&format!("… {hidden} more lines\n"));
            self.drawn += 1;
        }
        complain(&text);
    }

    fn erased(&self) -> String {
        if self.drawn == 0 {
            return String::new();
        }
        format!("\x1b[{}A\x1b[J", self.drawn)
    }

    /// Takes away what was drawn.
    pub fn clear(&mut self) {
        complain(&self.erased());
        self.drawn = 0;
    }

    /// A line for each task run whose state or attempt changed.
    fn tell(&mut self, run: &Run, now: Timestamp) {
        let time = now.strftime("%H:%M:%S");
        let mut text = String::new();
        for task in &run.tasks {
            let current = (task.state.clone(), task.attempt);
            let before = self.known.insert(task.idx, current.clone());
            let news =
                before.as_ref() != Some(&current) && !matches!(task.state.as_str(), "blocked" | "ready");
            if news {
                let state = paint(
                    &tree::stated(&task.state, task.reason.as_deref()),
                    style_of(&task.state),
                    self.term.color,
                );
                let took = task
                    .took(now)
                    .filter(|_| task.finished_at.is_some())
                    .map(words::took);
                let message = task
                    .message
                    .as_deref()
                    .filter(|_| task.state != "succeeded")
                    .unwrap_or_default();
                let parts = [
                    task.name.clone(),
                    state,
                    took.unwrap_or_default(),
                    crate::term::harmless(message),
                ];
                let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                text.push_str(&format!("{time} {}\n", parts.join("  ")));
            }
        }
        if self.state != run.summary.state {
            self.state.clone_from(&run.summary.state);
            let state = paint(&self.state, style_of(&self.state), self.term.color);
            text.push_str(&format!("{time} run {} is {state}\n", short(run.summary.id)));
        }
        if !text.is_empty() {
            say(&text);
        }
    }
}

/// Watches a run. A server or database that goes away for a moment is waited for.
pub async fn watch(
    desk: &Desk,
    id: RunId,
    (until, screen): (&Until, &mut Screen<'_>),
) -> Result<(Why, Run), Failure> {
    let mut changes = desk.changes(id);
    let mut seen = clock::monotonic();
    let mut known: Option<Run> = None;
    let mut stale = true;
    loop {
        if stale {
            match desk.run(&id.to_string()).await {
                Ok(run) => {
                    (seen, stale) = (clock::monotonic(), false);
                    known = Some(run);
                }
                Err(failure) if failure.is_unreachable() && clock::monotonic() - seen <= PATIENCE => {}
                Err(failure) => return Err(failure),
            }
        }
        match &known {
            Some(run) => {
                screen.show(run, clock::now());
                if let Some(why) = enough(run, until) {
                    return Ok((why, run.clone()));
                }
            }
            None if until.stop.is_cancelled() => return Err(Failure::new(code::INTERRUPTED, "interrupted")),
            None => {}
        }
        tokio::select! {
            told = changes.next() => {
                told?;
                stale = true;
            }
            () = clock::sleep(TICK) => {}
            () = until.stop.cancelled() => {}
        }
    }
}

fn enough(run: &Run, until: &Until) -> Option<Why> {
    let state = run.summary.state.as_str();
    let late = || {
        until
            .deadline
            .is_some_and(|deadline| clock::monotonic() >= deadline)
    };
    match state {
        _ if exit_code(state).is_some() => Some(Why::Ended),
        "waiting" if until.waiting_too => Some(Why::Waits),
        _ if until.stop.is_cancelled() => Some(Why::Told),
        _ if late() => Some(Why::TimedOut),
        _ => None,
    }
}

/// The exit code of a run that ended; `None`: it has not.
pub fn exit_code(state: &str) -> Option<u8> {
    match state {
        "succeeded" => Some(code::DONE),
        "failed" => Some(code::FAILED),
        "rejected" => Some(code::REJECTED),
        "cancelled" => Some(code::CANCELLED),
        _ => None,
    }
}

/// How to come back to a run that goes on.
pub fn way_back(run: &Run, term: &Term) {
    let id = short(run.summary.id);
    let state = paint(&run.summary.state, style_of(&run.summary.state), term.color_err);
    let command = paint(
        &format!("tidegate show {id} --watch"),
        Style::Bold,
        term.color_err,
    );
    complain(&format!(
        "run {id} goes on ({state}); come back with  {command}\n"
    ));
}
