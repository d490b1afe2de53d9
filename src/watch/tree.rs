//! A run as a tree of lines: the run, its task runs, and beneath each what there is to say about it.

use jiff::Timestamp;
use tidegate_engine::view::{GateResult, Notice, Obstacle, Run, TaskRun, Why};

use crate::term::{Style, cut, harmless, paint, style_of};
use crate::words::{distance, short, took};

/// The widest that names of tasks are aligned to.
const NAMES: usize = 28;

/// A line of differently styled pieces.
#[derive(Debug, Clone, Default)]
pub struct Line(Vec<(String, Style)>);

impl Line {
    fn add(mut self, text: impl AsRef<str>, style: Style) -> Self {
        self.0.push((harmless_inside(text.as_ref()), style));
        self
    }

    /// The whole line.
    pub fn show(&self, color: bool) -> String {
        let shown: String = self
            .0
            .iter()
            .map(|(text, style)| paint(text, *style, color))
            .collect();
        if color { shown } else { shown.trim_end().to_owned() }
    }

    /// As much of it as fits into `width` columns: a line that wraps cannot be drawn over.
    pub fn fitted(&self, color: bool, width: usize) -> String {
        let mut room = width;
        let mut shown = String::new();
        for (text, style) in &self.0 {
            let text = cut(text, room);
            room -= text.chars().count();
            shown.push_str(&paint(&text, *style, color));
            if room == 0 {
                break;
            }
        }
        shown
    }
}

/// Keeps the spaces at the end, which align what follows.
fn harmless_inside(text: &str) -> String {
    let kept = text.len() - text.trim_end_matches(' ').len();
    harmless(text) + &" ".repeat(kept)
}

/// The lines of a run.
pub fn lines(run: &Run, now: Timestamp) -> Vec<Line> {
    lines_with(run, &Why::default(), now)
}

/// The lines of a run, with what it and its ready task runs wait for.
pub fn lines_with(run: &Run, why: &Why, now: Timestamp) -> Vec<Line> {
    let mut lines = vec![head(run, now)];
    let queued = why.sentence.as_ref().filter(|_| run.summary.state == "queued");
    lines.extend(queued.map(|sentence| Line::default().add(format!("  {sentence}"), Style::Yellow)));
    let width = run
        .tasks
        .iter()
        .map(|task| task.name.chars().count())
        .max()
        .unwrap_or(0)
        .min(NAMES);
    let tasks: Vec<&TaskRun> = run.tasks.iter().filter(|task| speaks(run, task)).collect();
    let last = tasks.len().saturating_sub(1);
    for (position, task) in tasks.into_iter().enumerate() {
        let (branch, stem) = if position == last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        lines.push(task_line(task, (branch, width), now));
        let ready = |wait: &&Obstacle| wait.task == task.name && task.state == "ready";
        let wait = why.tasks.iter().find(ready);
        let wait = wait.map(|wait| (wait.sentence.clone(), Style::Yellow));
        lines.extend(
            notes(run, task, now)
                .into_iter()
                .chain(wait)
                .map(|(text, style)| {
                    Line::default()
                        .add(stem, Style::Dim)
                        .add("    ", Style::Plain)
                        .add(text, style)
                }),
        );
    }
    lines.extend(run.notices.iter().map(untold));
    lines
}

/// Items of a small map, and of a large one those that run or went wrong.
const SMALL: i64 = 10;

fn speaks(run: &Run, task: &TaskRun) -> bool {
    if task.map_index.is_none() {
        return true;
    }
    let name = task.name.split('[').next();
    let head = run.tasks.iter().find(|head| Some(head.name.as_str()) == name);
    let small = head
        .and_then(|head| head.items.as_ref())
        .is_some_and(|items| items.values().sum::<i64>() <= SMALL);
    small
        || !matches!(
            task.state.as_str(),
            "blocked" | "ready" | "succeeded" | "cancelled"
        )
}

/// A notice that did not arrive.
fn untold(notice: &Notice) -> Line {
    let style = if notice.state == "dead" {
        Style::Red
    } else {
        Style::Yellow
    };
    Line::default()
        .add("   ", Style::Plain)
        .add(notice.sentence(), style)
}

fn head(run: &Run, now: Timestamp) -> Line {
    let summary = &run.summary;
    let mut line = Line::default()
        .add(format!("{} ", summary.flow), Style::Bold)
        .add(format!("v{}  ", summary.version_number), Style::Dim)
        .add(short(summary.id), Style::Plain)
        .add("  ", Style::Plain)
        .add(
            stated(&summary.state, summary.reason.as_deref()),
            style_of(&summary.state),
        );
    if let Some(time) = summary.took(now) {
        line = line.add(format!("  {}", took(time)), Style::Plain);
    }
    let due = summary
        .scheduled_for
        .map(|at| format!(" for {at}"))
        .unwrap_or_default();
    line = line.add(
        format!("  {}{due} by {}", summary.trigger, summary.requester),
        Style::Dim,
    );
    if let Some(parent) = &summary.parent {
        let above = format!("  for {} of {} {}", parent.task, parent.flow, short(parent.run));
        line = line.add(above, Style::Dim);
    }
    if summary.overdue {
        line = line.add("  overdue", Style::Yellow);
    }
    line
}

/// A state with its reason.
pub fn stated(state: &str, reason: Option<&str>) -> String {
    reason.map_or_else(
        || state.to_owned(),
        |reason| format!("{state} ({})", reason.replace('_', " ")),
    )
}

fn mark(state: &str) -> &'static str {
    match state {
        "succeeded" => "✓",
        "failed" => "✗",
        "rejected" | "cancelled" => "⊘",
        "running" => "▶",
        "waiting" => "●",
        "backoff" => "↻",
        "skipped" => "–",
        _ => "○",
    }
}

fn task_line(task: &TaskRun, (branch, width): (&str, usize), now: Timestamp) -> Line {
    let style = style_of(&task.state);
    let mut line = Line::default()
        .add(branch, Style::Dim)
        .add(format!("{} ", mark(&task.state)), style)
        .add(format!("{:<width$}  ", task.name), Style::Plain)
        .add(stated(&task.state, task.reason.as_deref()), style);
    if let Some(time) = task
        .took(now)
        .filter(|_| task.attempt > 0 || task.items.is_some())
    {
        line = line.add(format!("  {}", took(time)), Style::Plain);
    }
    if let Some(items) = task.items_in_words() {
        line = line.add(format!("  {items}"), Style::Plain);
    }
    if let Some(share) = progress(task) {
        line = line.add(format!("  {share}"), Style::Plain);
    }
    if task.attempt > 1 {
        line = line.add(format!("  attempt {}", task.attempt), Style::Dim);
    }
    line
}

/// `7/20`, of a running attempt that tells.
fn progress(task: &TaskRun) -> Option<String> {
    let progress = task.progress.as_ref().filter(|_| task.state == "running")?;
    let (done, total) = (progress["done"].as_u64()?, progress["total"].as_u64()?);
    (total > 0).then(|| format!("{}%", done.min(total) * 100 / total))
}

/// What stands beneath a task run: why it failed, when it goes on, its gate, what can be done.
fn notes(run: &Run, task: &TaskRun, now: Timestamp) -> Vec<(String, Style)> {
    let mut notes = Vec::new();
    if let Some(message) = task.beyond_rules().filter(|_| task.state != "succeeded") {
        let style = if task.state == "waiting" {
            Style::Yellow
        } else {
            Style::Red
        };
        notes.extend(message.lines().take(6).map(|line| (line.to_owned(), style)));
    }
    if let Some(origin) = task.cached_from {
        notes.push((
            format!("made by run {} of the same inputs", short(origin)),
            Style::Dim,
        ));
    }
    notes.extend(task.sub_runs.iter().map(|made| {
        let text = format!(
            "run {} of {} v{}: {}",
            short(made.run),
            made.flow,
            made.version_number,
            made.state
        );
        (text, style_of(&made.state))
    }));
    if let Some(due) = task.due_at {
        let verb = if task.reason.as_deref() == Some("poll") {
            "looks again"
        } else {
            "goes on"
        };
        notes.push((
            format!("{verb} in {}", distance(due.duration_since(now))),
            Style::Dim,
        ));
    }
    if let Some(gate) = &task.gate {
        notes.extend(gate_notes(run, task, gate));
    }
    notes
}

fn gate_notes(run: &Run, task: &TaskRun, gate: &GateResult) -> Vec<(String, Style)> {
    let verdict = |rule: &tidegate_engine::gate::JudgedRule| {
        let word = serde_json::to_value(rule.judgement.verdict).unwrap_or_default();
        (
            rule.judgement.why.clone(),
            style_of(word.as_str().unwrap_or_default()),
        )
    };
    let mut notes: Vec<(String, Style)> = gate.rules.iter().map(verdict).collect();
    if task.state == "waiting" && gate.approval.is_some() {
        let gate = format!("{}/{}", short(run.summary.id), task.name);
        notes.push((
            format!("asks for a decision: tidegate approve {gate}"),
            Style::Yellow,
        ));
    }
    notes
}
