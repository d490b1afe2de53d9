//! `/flows/{name}`: graph, schedules, recent runs, and the form that triggers one.

mod form;

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use tidegate_engine::clock;
use tidegate_engine::command::{self, CommandError, Request};
use tidegate_engine::graph::{Flow, RunIf, Sender, Task, Webhook};
use tidegate_engine::rollback;
use tidegate_engine::spec::params::{ParamProblem, from_texts};
use tidegate_engine::view::FlowSummary;

use super::schedules::ScheduleCard;
use super::shared::{RunRow, history};
use super::{Frame, html, see};
use crate::app::App;
use crate::draw::graph::{self, Node};
use crate::guard::{Visitor, fields};
use crate::problem::Problem;
use crate::route::Route;
use crate::words::{Drawn, count, short};

use form::Field;

pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/flows/{name}", "A flow", show).answering(&[200, 404]),
        Route::post("/flows/{name}/runs", "Creates a run", trigger).answering(&[303, 404, 409, 422]),
    ]
}

/// The page.
#[derive(Template)]
#[template(path = "flow.html")]
pub struct FlowPage {
    frame: Frame,
    name: String,
    description: Option<String>,
    owner: Option<String>,
    tags: Vec<String>,
    number: i64,
    hash: String,
    graph: Drawn,
    tasks: Vec<TaskLine>,
    task_count: String,
    schedules: Vec<ScheduleCard>,
    follows: Vec<String>,
    webhook: Option<WebhookCard>,
    history: Drawn,
    runs: Vec<RunRow>,
    fields: Vec<Field>,
    problems: Vec<String>,
    key: String,
    /// The program brings it along, and makes its runs elsewhere.
    built_in: bool,
}

/// How another program triggers the flow.
struct WebhookCard {
    secret: String,
    sender: &'static str,
    when: Option<String>,
}

impl WebhookCard {
    fn new(webhook: &Webhook) -> Self {
        Self {
            secret: webhook.secret.clone(),
            sender: match webhook.sender {
                Sender::Tidegate => "Tidegate",
                Sender::Mlflow => "MLflow",
                Sender::Github => "GitHub",
            },
            when: webhook.when.clone(),
        }
    }
}

/// A task of the flow.
struct TaskLine {
    name: String,
    uses: String,
    description: Option<String>,
    needs: String,
    gate: String,
    /// When it runs, and for what, where that is not usual.
    conditions: Vec<String>,
}

/// What was sent with the form, and what was wrong with it.
#[derive(Debug, Default)]
pub struct Sent {
    /// Names and texts, as they came.
    pub texts: Vec<(String, String)>,
    /// What does not fit.
    pub problems: Vec<ParamProblem>,
    /// What else stood in the way.
    pub notice: Option<String>,
}

impl FlowPage {
    /// Draws it.
    pub fn new((summary, flow): (&FlowSummary, &Flow), sent: &Sent, frame: Frame) -> Self {
        let tasks = flow.graph.tasks();
        let unknown = |problem: &&ParamProblem| !flow.params.contains_key(&problem.param);
        let elsewhere = sent.problems.iter().filter(unknown).map(ToString::to_string);
        Self {
            name: summary.name.clone(),
            description: summary.description.clone(),
            owner: summary.owner.clone(),
            tags: summary.tags.clone(),
            number: summary.number,
            hash: summary.version.chars().take(12).collect(),
            graph: graph::draw(&tasks.iter().map(node).collect::<Vec<_>>()),
            tasks: tasks.iter().map(|task| TaskLine::new(flow, task)).collect(),
            task_count: count(tasks.len(), "task"),
            schedules: summary
                .schedules
                .iter()
                .map(|schedule| ScheduleCard::new(schedule, &frame))
                .collect(),
            follows: flow
                .triggers
                .iter()
                .map(|trigger| trigger.flow.to_string())
                .collect(),
            webhook: flow.webhook.as_ref().map(WebhookCard::new),
            history: history(&summary.recent, frame.now),
            runs: RunRow::all(&summary.recent, &frame).into_iter().take(8).collect(),
            fields: flow.params.iter().map(|param| Field::new(param, sent)).collect(),
            problems: elsewhere.chain(sent.notice.clone()).collect(),
            key: clock::new_id().to_string(),
            built_in: summary.name == rollback::FLOW,
            frame,
        }
    }
}

fn node(task: &Task) -> Node {
    Node {
        name: task.name.to_string(),
        note: match task.for_each {
            Some(_) => format!("{} · for each", task.uses),
            None => task.uses.clone(),
        },
        state: None,
        gated: task.gate.is_some(),
        needs: task.needs.iter().map(|need| *need as usize).collect(),
    }
}

impl TaskLine {
    fn new(flow: &Flow, task: &Task) -> Self {
        let needs = task.needs.iter().map(|&need| flow.graph.task(need).name.as_str());
        let gate = task.gate.as_ref().map(|gate| {
            let rules = (!gate.rules.is_empty()).then(|| count(gate.rules.len(), "rule"));
            let people = gate.approval.as_ref().map(|_| "an approval".to_owned());
            rules.into_iter().chain(people).collect::<Vec<_>>().join(" and ")
        });
        Self {
            name: task.name.to_string(),
            uses: task.uses.clone(),
            description: task.description.clone(),
            needs: needs.collect::<Vec<_>>().join(", "),
            gate: gate.unwrap_or_default(),
            conditions: conditions(task),
        }
    }
}

/// In the words of the flow file.
fn conditions(task: &Task) -> Vec<String> {
    let run_if = serde_json::to_value(task.run_if).unwrap_or_default();
    let run_if = run_if.as_str().filter(|_| task.run_if != RunIf::default());
    let for_each = task
        .for_each
        .as_ref()
        .map(|list| match (list, task.max_parallel) {
            (serde_json::Value::String(text), None) => format!("for_each {text}"),
            (serde_json::Value::String(text), Some(most)) => format!("for_each {text}, {most} at once"),
            (list, None) => format!("for_each {list}"),
            (list, Some(most)) => format!("for_each {list}, {most} at once"),
        });
    let when = task.when.as_ref().map(|when| format!("when {when}"));
    let run_if = run_if.map(|run_if| format!("run_if {run_if}"));
    let tolerated = task.continue_on_failure.then(|| "continue_on_failure".to_owned());
    let all = when.into_iter().chain(run_if).chain(for_each).chain(tolerated);
    all.map(|text| short(&text, 120)).collect()
}

async fn load(app: &App, name: &str) -> Result<(FlowSummary, Arc<Flow>), Problem> {
    let found = app.store.flow(name, clock::now()).await?;
    found.ok_or_else(|| Problem::not_found("flow", name))
}

async fn show(
    State(app): State<App>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let (summary, flow) = load(&app, &name).await?;
    let frame = Frame::load(&app, &visitor, "/flows", clock::now()).await;
    let page = FlowPage::new((&summary, &flow), &Sent::default(), frame);
    Ok(html(StatusCode::OK, &page))
}

/// What does not fit is shown at its field, with what was typed.
async fn trigger(
    State(app): State<App>,
    visitor: Visitor,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let (summary, flow) = load(&app, &name).await?;
    let texts: Vec<(String, String)> = fields(&body)
        .into_iter()
        .filter_map(|(key, text)| Some((key.strip_prefix("param.")?.to_owned(), text)))
        .filter(|(_, text)| !text.is_empty())
        .collect();
    // The form's own key: a second click on it is the same request.
    let key = crate::guard::field(&body, "key");
    let (problems, notice, status) = match from_texts(&flow.params, &texts) {
        Err(problems) => (problems, None, StatusCode::UNPROCESSABLE_ENTITY),
        Ok(params) => {
            let asked = (
                name.as_str(),
                Request {
                    params,
                    ..Request::default()
                },
                "manual",
                key.as_deref(),
            );
            match command::trigger(&app.store, &visitor.actor, asked, clock::now()).await {
                Ok(done) => return Ok(see(&format!("/runs/{}", done.run.summary.id))),
                Err(CommandError::Params(problems)) => (problems, None, StatusCode::UNPROCESSABLE_ENTITY),
                Err(error @ CommandError::KeyReused { .. }) => {
                    let notice = "This form was sent before with other params; send it once more.";
                    (Vec::new(), Some(notice.to_owned()), Problem::from(error).status)
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    let sent = Sent {
        texts,
        problems,
        notice,
    };
    let frame = Frame::load(&app, &visitor, "/flows", clock::now()).await;
    Ok(html(status, &FlowPage::new((&summary, &flow), &sent, frame)))
}
