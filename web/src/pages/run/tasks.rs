//! A task run within the page of its run.

use tidegate_engine::view::{Artifact, GateResult, MetricSeries, SubRun, TaskRun};
use uuid::Uuid;

use super::Facts;
use crate::draw::line;
use crate::draw::span::{self, Window};
use crate::pages::Frame;
use crate::pages::readable::{self, Row};
use crate::pages::shared::{RuleRow, short_id};
use crate::words::{Badge, Drawn, Moment, bytes, duration, number, short};

/// Letters of an item that are shown.
const ITEM: usize = 200;

/// A run that a task run made.
pub struct Made {
    /// Identity.
    pub id: Uuid,
    /// Its end.
    pub short: String,
    /// Its flow.
    pub flow: String,
    /// Number of its flow version.
    pub version: i64,
    /// State.
    pub badge: Badge,
}

/// A task run.
pub struct TaskRow {
    /// Task.
    pub name: String,
    /// Plugin.
    pub uses: String,
    /// One line.
    pub description: Option<String>,
    /// What it needs, in words.
    pub needs: String,
    /// How many of its items ended, of a map.
    pub items: Option<String>,
    /// What it runs for, of an item.
    pub item: Option<String>,
    /// The runs that it made.
    pub sub_runs: Vec<Made>,
    /// The run can be gone on from here: it is no item.
    pub is_task: bool,
    /// State.
    pub badge: Badge,
    /// `2 of 3` where it was tried more than once or may be.
    pub attempt: Option<String>,
    /// How long it took, waiting apart.
    pub took: String,
    /// How long it waited for people.
    pub waited: Option<String>,
    /// Its row of the timeline.
    pub span: Drawn,
    /// What its newest attempt that did not succeed said.
    pub message: Option<String>,
    /// Percent done.
    pub progress: Option<u8>,
    /// Who holds it.
    pub worker: Option<String>,
    /// When its next attempt is due.
    pub due: Option<Moment>,
    /// Its gate.
    pub gate: Option<GateBlock>,
    /// What it handed on.
    pub outputs: Vec<Row>,
    /// Files and tables it made.
    pub artifacts: Vec<ArtifactRow>,
    /// Curves it recorded.
    pub curves: Vec<Curve>,
    /// It is shown unfolded.
    pub open: bool,
}

/// What became of a gate.
pub struct GateBlock {
    /// In a word.
    pub said: &'static str,
    /// Each rule.
    pub rules: Vec<RuleRow>,
    /// The approval that was asked for.
    pub approval: Option<Uuid>,
    /// How that stands.
    pub badge: Option<Badge>,
}

/// A file or table.
pub struct ArtifactRow {
    /// Name.
    pub name: String,
    /// Where it is: text, never a link.
    pub uri: String,
    /// `1.4 MB`.
    pub size: String,
    /// Its digest.
    pub sha256: String,
    /// The beginning of that.
    pub short: String,
}

/// A curve.
pub struct Curve {
    /// Name.
    pub name: String,
    /// Its newest value.
    pub last: String,
    /// The drawing.
    pub drawn: Drawn,
}

impl TaskRow {
    /// Of a task run.
    pub fn new(task: &TaskRun, (facts, window): (&Facts, Window), frame: &Frame) -> Self {
        let ends = task
            .started_at
            .map(|from| (from, task.finished_at.unwrap_or(frame.now)));
        let waits: Vec<_> = task
            .waits
            .iter()
            .map(|wait| (wait.from, wait.end(frame.now)))
            .collect();
        let several = task.attempts > 1 || task.attempt > 1;
        let curves = facts.metrics.iter().filter(|series| series.task == task.name);
        Self {
            name: task.name.clone(),
            uses: task.uses.clone(),
            description: task.description.clone(),
            needs: task.needs.join(", "),
            items: task.items_in_words(),
            item: task.item.as_ref().map(|item| short(&item.to_string(), ITEM)),
            sub_runs: task.sub_runs.iter().map(Made::new).collect(),
            is_task: task.map_index.is_none(),
            badge: Badge::new(&task.state, task.reason.as_deref()),
            attempt: (several && task.attempt > 0)
                .then(|| format!("{} of {}", task.attempt, task.attempts.max(task.attempt))),
            took: task
                .took(frame.now)
                .map_or_else(String::new, |took| duration(took.as_secs_f64())),
            waited: Some(task.waited(frame.now).as_secs_f64())
                .filter(|seconds| *seconds >= 1.0)
                .map(duration),
            span: ends.map_or_else(Drawn::default, |ends| {
                span::draw(window, ends, (&task.state, &waits))
            }),
            message: task.beyond_rules(),
            progress: task.progress.as_ref().and_then(percent_done),
            worker: task.worker.clone(),
            due: task.due_at.as_ref().map(|at| frame.moment(at)),
            gate: task.gate.as_ref().map(GateBlock::new),
            outputs: task.outputs.as_ref().map(readable::rows).unwrap_or_default(),
            artifacts: task.artifacts.iter().map(ArtifactRow::new).collect(),
            curves: curves.map(Curve::new).collect(),
            open: matches!(task.state.as_str(), "failed" | "running" | "waiting" | "backoff")
                || (task.state == "rejected" && task.gate.is_some()),
        }
    }
}

impl Made {
    fn new(made: &SubRun) -> Self {
        Self {
            id: made.run,
            short: short_id(made.run),
            flow: made.flow.clone(),
            version: made.version_number,
            badge: Badge::new(&made.state, None),
        }
    }
}

fn percent_done(progress: &serde_json::Value) -> Option<u8> {
    let done = progress.get("done")?.as_f64()?;
    let total = progress.get("total")?.as_f64().filter(|total| *total > 0.0)?;
    Some((done / total * 100.0).clamp(0.0, 100.0) as u8)
}

impl GateBlock {
    fn new(gate: &GateResult) -> Self {
        let said = match gate.opening.as_str() {
            "opens" => "The gate opened by its rules.",
            "rejected" => "The gate stayed closed.",
            _ => "People are asked.",
        };
        Self {
            said,
            rules: gate.rules.iter().map(RuleRow::new).collect(),
            approval: gate.approval,
            badge: gate
                .approval_state
                .as_deref()
                .map(|state| Badge::new(state, None)),
        }
    }
}

impl ArtifactRow {
    fn new(artifact: &Artifact) -> Self {
        Self {
            name: artifact.name.clone(),
            uri: artifact.uri.clone(),
            size: bytes(artifact.size),
            sha256: artifact.sha256.clone(),
            short: artifact.sha256.chars().take(12).collect(),
        }
    }
}

impl Curve {
    fn new(series: &MetricSeries) -> Self {
        let points: Vec<(f64, f64)> = series
            .points
            .iter()
            .map(|(step, value)| (*step as f64, *value))
            .collect();
        Self {
            name: series.name.clone(),
            last: series
                .points
                .last()
                .map_or_else(String::new, |(_, value)| number(*value)),
            drawn: line::draw(&series.name, &points, false),
        }
    }
}
