//! `/runs/{id}`: graph, timeline, tasks with what they handed on, curves, logs.

mod lines;
mod tasks;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use tidegate_engine::clock;
use tidegate_engine::command;
use tidegate_engine::view::{LogLine, MetricSeries, Notice, Obstacle, Run, TaskRun, Why};
use uuid::Uuid;

use super::readable::{self, Row};
use super::shared::{RunRow, short_id, took};
use super::{Frame, html, see};
use crate::api::{Asked, is_over, run_id};
use crate::app::App;
use crate::draw::graph::{self, Node};
use crate::draw::span::Window;
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;
use crate::words::{Drawn, Moment, duration, plain};

use lines::LineRow;
use tasks::TaskRow;

pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/runs/{id}", "A run", show).answering(&[200, 404]),
        Route::post("/runs/{id}/cancel", "Stops a run", cancel).answering(&[303, 404, 409]),
        Route::post("/runs/{id}/retry", "A new run of what did not succeed", retry)
            .answering(&[303, 404, 409, 422]),
    ]
}

/// What the page is drawn from.
#[derive(Debug)]
pub struct Facts {
    /// The run.
    pub run: Run,
    /// What it and its unfinished task runs wait for.
    pub why: Why,
    /// Series its tasks recorded.
    pub metrics: Vec<MetricSeries>,
    /// The newest lines of its logs.
    pub lines: Vec<LogLine>,
    /// The one task whose lines are shown.
    pub task: Option<String>,
    /// There are older lines that are not shown.
    pub cut: bool,
}

/// The page.
#[derive(Template)]
#[template(path = "run.html")]
pub struct RunPage {
    frame: Frame,
    row: RunRow,
    version: i64,
    hash: String,
    scheduled: Option<Moment>,
    started: Option<Moment>,
    finished: Option<Moment>,
    waited: Option<String>,
    retry_of: Option<(Uuid, String)>,
    parent: Option<Above>,
    params: Vec<Row>,
    graph: Drawn,
    tasks: Vec<TaskRow>,
    asks: Vec<Ask>,
    /// What the run itself waits for.
    held: Option<String>,
    waits: Vec<WaitRow>,
    untold: Vec<String>,
    lines: Vec<LineRow>,
    names: Vec<String>,
    task: String,
    cut: bool,
    live: bool,
    can_cancel: bool,
    can_retry: bool,
    can_redo: bool,
    key: String,
}

/// The task run that made the run and waits for it.
struct Above {
    run: Uuid,
    short: String,
    flow: String,
    task: String,
}

/// An approval that the run waits for.
struct Ask {
    id: Uuid,
    task: String,
}

/// A task run that is not over, and why not.
struct WaitRow {
    task: String,
    sentence: String,
    until: Option<Moment>,
}

impl WaitRow {
    fn new(wait: &Obstacle, frame: &Frame) -> Self {
        Self {
            task: wait.task.clone(),
            sentence: wait.sentence.clone(),
            until: wait.until.as_ref().map(|at| frame.moment(at)),
        }
    }
}

impl RunPage {
    /// Draws it.
    pub fn new(facts: Facts, frame: Frame) -> Self {
        let run = &facts.run;
        let summary = &run.summary;
        let over = is_over(&summary.state);
        let window = window(run, frame.now);
        let moment = |at: &Timestamp| frame.moment(at);
        let waited = Some(summary.waited_seconds).filter(|seconds| *seconds >= 1.0);
        Self {
            row: RunRow {
                took: took(summary, frame.now).map_or_else(|| "not started".to_owned(), duration),
                ..RunRow::new(summary, &frame)
            },
            version: summary.version_number,
            hash: summary.version.chars().take(12).collect(),
            scheduled: summary.scheduled_for.as_ref().map(moment),
            started: summary.started_at.as_ref().map(moment),
            finished: summary.finished_at.as_ref().map(moment),
            waited: waited.map(duration),
            retry_of: summary.retry_of.map(|id| (id, short_id(id))),
            parent: summary.parent.as_ref().map(|parent| Above {
                run: parent.run,
                short: short_id(parent.run),
                flow: parent.flow.clone(),
                task: parent.task.clone(),
            }),
            params: readable::rows(&run.params),
            untold: run.notices.iter().map(Notice::sentence).collect(),
            graph: graph::draw(&nodes(&run.tasks)),
            tasks: run
                .tasks
                .iter()
                .map(|task| TaskRow::new(task, (&facts, window), &frame))
                .collect(),
            asks: asks(run),
            held: facts.why.sentence.clone().filter(|_| !over),
            waits: facts
                .why
                .tasks
                .iter()
                .map(|wait| WaitRow::new(wait, &frame))
                .collect(),
            lines: facts.lines.iter().map(LineRow::new).collect(),
            names: run
                .tasks
                .iter()
                .filter(|task| task.map_index.is_none())
                .map(|task| task.name.clone())
                .collect(),
            task: facts.task.clone().unwrap_or_default(),
            cut: facts.cut,
            live: !over,
            can_cancel: frame.operates && !over && summary.state != "cancelling",
            can_retry: frame.operates && over && summary.state != "succeeded",
            can_redo: frame.operates && over,
            key: clock::new_id().to_string(),
            frame,
        }
    }
}

/// From the run's start to its end, or to now.
fn window(run: &Run, now: Timestamp) -> Window {
    let summary = &run.summary;
    Window {
        from: summary.started_at.unwrap_or(summary.created_at),
        to: summary.finished_at.unwrap_or(now),
    }
}

/// The items of a map are no nodes of their own.
fn nodes(tasks: &[TaskRun]) -> Vec<Node> {
    let tasks: Vec<&TaskRun> = tasks.iter().filter(|task| task.map_index.is_none()).collect();
    let position = |name: &String| tasks.iter().position(|task| task.name == *name);
    let node = |task: &&TaskRun| Node {
        name: task.name.clone(),
        // Why it was skipped or ended early stands in its row.
        note: match &task.reason {
            Some(reason) if task.state == "waiting" => format!("{} · {}", task.state, plain(reason)),
            _ => task.state.clone(),
        },
        state: Some(task.state.clone()),
        gated: task.gated,
        needs: task.needs.iter().filter_map(position).collect(),
    };
    tasks.iter().map(node).collect()
}

fn asks(run: &Run) -> Vec<Ask> {
    let ask = |task: &TaskRun| {
        let gate = task.gate.as_ref()?;
        let open = gate.approval_state.as_deref() == Some("open");
        Some(Ask {
            id: gate.approval.filter(|_| open)?,
            task: task.name.clone(),
        })
    };
    run.tasks.iter().filter_map(ask).collect()
}

#[derive(Debug, Deserialize)]
struct Query {
    task: Option<String>,
}

async fn show(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
    Asked(query): Asked<Query>,
) -> Result<Response, Problem> {
    let now = clock::now();
    let run_id = run_id(&id)?;
    let run = app.store.run(run_id, now).await?;
    let run = run.ok_or_else(|| Problem::not_found("run", &id))?;
    let task = query
        .task
        .filter(|task| run.tasks.iter().any(|known| known.name == *task));
    let (lines, cut) = lines::newest(&app.store, run_id, task.as_deref()).await?;
    let facts = Facts {
        metrics: app.store.metrics(run_id).await?,
        why: app.store.why(&run).await?,
        run,
        lines,
        task,
        cut,
    };
    let frame = Frame::load(&app, &visitor, "/runs", now).await;
    Ok(html(StatusCode::OK, &RunPage::new(facts, frame)))
}

async fn cancel(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    command::cancel(&app.store, &visitor.actor, run_id(&id)?, clock::now()).await?;
    Ok(see(&format!("/runs/{id}")))
}

async fn retry(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
    body: axum::body::Bytes,
) -> Result<Response, Problem> {
    // The form's own key: a second click on it is the same request.
    let key = crate::guard::field(&body, "key");
    let request = command::RetryRequest {
        from: crate::guard::field(&body, "from").filter(|task| !task.is_empty()),
        ..command::RetryRequest::default()
    };
    let asked = (run_id(&id)?, request, key.as_deref());
    let done = command::retry(&app.store, &visitor.actor, asked, clock::now()).await?;
    Ok(see(&format!("/runs/{}", done.run.summary.id)))
}
