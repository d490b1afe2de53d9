//! What a notice says, in words.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tidegate_engine::store::notices::Parcel;
use tidegate_engine::view::{Approval, Run, TaskRun};
use uuid::Uuid;

/// Lines of details at most.
const LINES: usize = 6;
/// Characters of a line at most.
const LINE: usize = 300;

/// A notice in words: the body of a webhook.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Letter {
    /// Identity of the notice; the same in every try.
    pub id: Uuid,
    /// `failed`, `rejected`, `succeeded`, `cancelled`, `waiting`, `overdue`; `message` of the plugin `notify`.
    pub event: String,
    /// Flow.
    pub flow: String,
    /// Run.
    pub run: Uuid,
    /// State of the run by now.
    pub state: String,
    /// Task, where one is meant.
    pub task: Option<String>,
    /// One line.
    pub title: String,
    /// Further lines.
    pub text: String,
    /// Page of the run or the approval, where the deployment says how its pages are reached.
    pub url: Option<String>,
    /// When it happened.
    pub at: Timestamp,
}

impl Letter {
    /// Of a notice and what it is about, as that is by now. `base`: where the pages are.
    pub fn new(parcel: &Parcel, (run, approval): (&Run, Option<&Approval>), base: Option<&str>) -> Self {
        let said = |key: &str| parcel.body.get(key).and_then(Value::as_str).map(str::to_owned);
        let page = match approval {
            Some(approval) => format!("/approvals/{}", approval.id),
            None => format!("/runs/{}", parcel.run),
        };
        let task = said("task");
        let title = said("title").unwrap_or_else(|| title(parcel, task.as_deref()));
        Self {
            id: parcel.id,
            event: parcel.event.clone(),
            flow: parcel.flow.clone(),
            run: parcel.run.0,
            state: run.summary.state.clone(),
            title: one_line(&title),
            text: said("text").unwrap_or_else(|| details(parcel, run, approval)),
            url: base.map(|base| format!("{}{page}", base.trim_end_matches('/'))),
            task,
            at: parcel.created_at,
        }
    }
}

fn title(parcel: &Parcel, task: Option<&str>) -> String {
    let flow = &parcel.flow;
    match parcel.event.as_str() {
        "rejected" => format!("{flow} was rejected"),
        "cancelled" => format!("{flow} was cancelled"),
        "overdue" => format!("{flow} takes longer than expected"),
        "waiting" => {
            let still = if parcel.body.get("reminder").is_some() {
                "still waits"
            } else {
                "waits"
            };
            format!("{flow} {still} for a decision on {}", task.unwrap_or_default())
        }
        "message" => flow.clone(),
        event => format!("{flow} {event}"),
    }
}

fn details(parcel: &Parcel, run: &Run, approval: Option<&Approval>) -> String {
    let mut lines: Vec<String> = match parcel.event.as_str() {
        "failed" | "rejected" => run
            .tasks
            .iter()
            .filter_map(|task| ended(task, &parcel.event))
            .collect(),
        "overdue" => run
            .tasks
            .iter()
            .filter(|task| task.state == "running")
            .map(|task| format!("{} is running", task.name))
            .collect(),
        _ => approval
            .and_then(|approval| approval.message.clone())
            .into_iter()
            .collect(),
    };
    let more = lines.len().saturating_sub(LINES);
    lines.truncate(LINES);
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    lines.join("\n")
}

fn ended(task: &TaskRun, state: &str) -> Option<String> {
    if task.state != state {
        return None;
    }
    let why = task
        .message
        .as_deref()
        .or(task.reason.as_deref())
        .unwrap_or_default();
    Some(format!("{}: {}", task.name, one_line(why)))
}

/// Without line ends and other control characters, and not too long: it goes into headers and chat.
fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars()
        .map(plain)
        .take(LINE)
        .collect::<String>()
        .trim()
        .to_owned()
}
