//! `/approvals/{id}`: the evidence, what the click will do, and the click.

mod compare;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde_json::Value;
use tidegate_engine::clock;
use tidegate_engine::command::{self, Choice, Decision};
use tidegate_engine::view;
use uuid::Uuid;

use super::readable::{self, Row};
use super::shared::{AskCard, RuleRow, Standing, judged, short_id};
use super::{Frame, html, see};
use crate::api::approval_id;
use crate::app::App;
use crate::guard::{Visitor, field};
use crate::problem::Problem;
use crate::route::Route;
use crate::words::{Badge, Moment};

use compare::Comparison;

pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/approvals/{id}", "An approval with its evidence", show).answering(&[200, 404]),
        Route::post("/approvals/{id}/decision", "Decides", decide)
            .for_viewers()
            .answering(&[303, 403, 404, 409, 410, 412, 422]),
    ]
}

/// The page.
#[derive(Template)]
#[template(path = "approval.html")]
pub struct ApprovalPage {
    frame: Frame,
    card: AskCard,
    run: Uuid,
    run_short: String,
    digest: String,
    version: String,
    required: i32,
    by: String,
    on_expire: &'static str,
    rules: Vec<RuleRow>,
    comparison: Option<Comparison>,
    outputs: Vec<Shown>,
    world: Vec<Row>,
    votes: Vec<VoteRow>,
    standing: Standing,
    verb: &'static str,
    closing: &'static str,
    notice: Option<String>,
    comment: String,
}

/// A task's outputs.
struct Shown {
    task: String,
    rows: Vec<Row>,
    /// It is already shown as a comparison, and folded here.
    folded: bool,
}

/// What someone said.
struct VoteRow {
    actor: String,
    badge: Badge,
    comment: Option<String>,
    at: Moment,
}

/// What was tried just now, and did not come about.
#[derive(Debug, Default)]
pub struct Tried {
    /// Why not.
    pub notice: Option<String>,
    /// The comment that was written.
    pub comment: String,
}

impl ApprovalPage {
    /// Draws it.
    pub fn new(approval: &view::Approval, tried: Tried, (visitor, frame): (&Visitor, Frame)) -> Self {
        let evidence = &approval.evidence;
        let outputs = evidence.get("outputs").and_then(Value::as_object);
        let comparison = outputs.and_then(compare::find);
        let shown = outputs.into_iter().flatten().map(|(task, value)| Shown {
            task: task.clone(),
            rows: readable::rows(value),
            folded: comparison
                .as_ref()
                .is_some_and(|comparison| comparison.task == *task),
        });
        let action = approval.action.as_deref().unwrap_or_default();
        Self {
            card: AskCard::new(approval, &visitor.actor, &frame),
            run: approval.run,
            run_short: short_id(approval.run),
            digest: approval.digest.clone(),
            version: text(evidence, "version").chars().take(12).collect(),
            required: approval.required,
            by: by(&approval.by),
            on_expire: if approval.on_expire == "fail" {
                "failed"
            } else {
                "rejected"
            },
            rules: judged(approval).iter().map(RuleRow::new).collect(),
            outputs: shown.collect(),
            comparison,
            world: evidence.get("world").map(readable::rows).unwrap_or_default(),
            votes: approval
                .votes
                .iter()
                .map(|vote| VoteRow::new(vote, &frame))
                .collect(),
            standing: Standing::of(&visitor.actor, approval),
            // A move of an alias is what these gates mostly stand before.
            verb: if action.contains('@') {
                "Promote"
            } else {
                "Approve"
            },
            closing: closing(&approval.state),
            notice: tried.notice,
            comment: tried.comment,
            frame,
        }
    }

    fn asked(&self) -> bool {
        self.standing == Standing::Asked
    }
}

impl VoteRow {
    fn new(vote: &view::Vote, frame: &Frame) -> Self {
        let word = if vote.decision == "approve" {
            "approved"
        } else {
            "rejected"
        };
        Self {
            actor: vote.actor.clone(),
            badge: Badge::new(word, None),
            comment: vote.comment.clone().filter(|comment| !comment.trim().is_empty()),
            at: frame.moment(&vote.at),
        }
    }
}

fn text<'a>(evidence: &'a Value, key: &str) -> &'a str {
    evidence.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// `an approver`, `anna or an approver`.
fn by(asked: &[String]) -> String {
    let word = |by: &String| match by.split_once(':') {
        Some(("user", name)) => name.to_owned(),
        Some(("role", role)) => format!("anyone with the role {role}"),
        _ => by.clone(),
    };
    asked.iter().map(word).collect::<Vec<_>>().join(" or ")
}

/// What a closed approval came to.
fn closing(state: &str) -> &'static str {
    match state {
        "approved" => "Approved: the gate is open, and the task went on.",
        "rejected" => "Rejected: the gate stays closed.",
        "expired" => "Expired: nobody decided in time.",
        "superseded" => {
            "Superseded: a newer run of the flow reached this gate, or what the evidence rests on changed."
        }
        "void" => "Void: the run was stopped before anybody decided.",
        _ => "",
    }
}

async fn load(app: &App, id: &str) -> Result<view::Approval, Problem> {
    let found = app.store.approval(approval_id(id)?).await?;
    found.ok_or_else(|| Problem::not_found("approval", id))
}

async fn draw(
    app: &App,
    (id, visitor): (&str, &Visitor),
    (status, tried): (StatusCode, Tried),
    now: Timestamp,
) -> Result<Response, Problem> {
    let approval = load(app, id).await?;
    let frame = Frame::load(app, visitor, "/approvals", now).await;
    Ok(html(
        status,
        &ApprovalPage::new(&approval, tried, (visitor, frame)),
    ))
}

async fn show(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Result<Response, Problem> {
    draw(
        &app,
        (&id, &visitor),
        (StatusCode::OK, Tried::default()),
        clock::now(),
    )
    .await
}

/// After a refusal the page is shown anew, with why, and with the comment that was written.
async fn decide(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let now = clock::now();
    let choice = match field(&body, "decision").as_deref() {
        Some("approve") => Choice::Approve,
        Some("reject") => Choice::Reject,
        _ => return Err(Problem::invalid("a decision is `approve` or `reject`")),
    };
    let comment = field(&body, "comment").unwrap_or_default();
    let decision = Decision {
        decision: choice,
        comment: Some(comment.clone()).filter(|comment| !comment.trim().is_empty()),
        evidence: field(&body, "evidence").unwrap_or_default(),
    };
    let done = command::decide(&app.store, &visitor.actor, (approval_id(&id)?, decision), now).await;
    let problem = match done {
        Ok(_) => return Ok(see(&format!("/approvals/{id}"))),
        Err(error) => Problem::from(error),
    };
    if problem.status.is_server_error() || problem.status == StatusCode::NOT_FOUND {
        return Err(problem);
    }
    let tried = Tried {
        notice: Some(format!("{}: {}.", problem.title, problem.detail)),
        comment,
    };
    draw(&app, (&id, &visitor), (problem.status, tried), now).await
}
