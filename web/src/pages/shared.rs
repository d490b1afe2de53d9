//! What several pages show alike: a run in a row, a rule with its bar, an approval in a card.

use jiff::Timestamp;
use tidegate_engine::command::{Actor, Role};
use tidegate_engine::gate::{JudgedRule, Verdict};
use tidegate_engine::view::{Approval, RunSummary};
use uuid::Uuid;

use super::Frame;
use crate::draw::bar;
use crate::draw::history::{self, Column};
use crate::words::{Badge, Drawn, Moment, duration, plain};

/// A run in a list.
#[derive(Debug, Clone)]
pub struct RunRow {
    /// Identity.
    pub id: Uuid,
    /// Its last eight digits: enough to tell runs apart by eye.
    pub short: String,
    /// Flow.
    pub flow: String,
    /// State.
    pub badge: Badge,
    /// Why it exists.
    pub trigger: String,
    /// Who asked.
    pub requester: String,
    /// When it was made.
    pub created: Moment,
    /// How long it took, or takes so far.
    pub took: String,
    /// Task runs that ended.
    pub done: i64,
    /// Task runs.
    pub total: i64,
    /// It takes longer than its flow expects.
    pub overdue: bool,
}

impl RunRow {
    /// Of a run.
    pub fn new(run: &RunSummary, frame: &Frame) -> Self {
        Self {
            id: run.id,
            short: short_id(run.id),
            flow: run.flow.clone(),
            badge: Badge::new(&run.state, run.reason.as_deref()),
            trigger: plain(&run.trigger),
            requester: run.requester.clone(),
            created: frame.moment(&run.created_at),
            took: took(run, frame.now).map_or_else(|| "–".to_owned(), duration),
            done: run.tasks_done,
            total: run.tasks_total,
            overdue: run.overdue,
        }
    }

    /// Rows of several.
    pub fn all(runs: &[RunSummary], frame: &Frame) -> Vec<Self> {
        runs.iter().map(|run| Self::new(run, frame)).collect()
    }
}

/// The digits of an id that differ between runs of one moment, too.
pub fn short_id(id: Uuid) -> String {
    let text = id.simple().to_string();
    text[24..].to_owned()
}

/// Seconds a run took, or takes so far; waiting for people apart.
pub fn took(run: &RunSummary, now: Timestamp) -> Option<f64> {
    Some(run.took(now)?.as_secs_f64())
}

/// A rule with what it came to.
#[derive(Debug, Clone)]
pub struct RuleRow {
    /// What was judged.
    pub name: String,
    /// The bound in words.
    pub bound: String,
    /// The verdict as colour, shape and word.
    pub badge: Badge,
    /// The verdict as a sentence.
    pub why: String,
    /// Drawn to scale.
    pub bar: Drawn,
}

impl RuleRow {
    /// Of a judged rule.
    pub fn new(judged: &JudgedRule) -> Self {
        let judgement = &judged.judgement;
        let word = match judgement.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Borderline => "borderline",
        };
        Self {
            name: judgement.name.clone(),
            bound: judgement.bound.clone(),
            badge: Badge::new(word, None),
            why: judgement.why.clone(),
            bar: bar::draw(judged),
        }
    }
}

/// Where someone stands towards an approval. The engine decides anew when it comes to it; this is for showing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Is asked.
    Asked,
    /// Has said something already, and others are waited for.
    Voted,
    /// Triggered the run, and the gate wants someone else.
    Requester,
    /// Is not among those who are asked.
    NotAsked,
    /// It is closed.
    Closed,
}

impl Standing {
    /// Of someone towards an approval.
    pub fn of(actor: &Actor, approval: &Approval) -> Self {
        if approval.state != "open" {
            return Self::Closed;
        }
        if approval.votes.iter().any(|vote| vote.actor == actor.name) {
            return Self::Voted;
        }
        if actor.name == approval.requester && !approval.allow_requester {
            return Self::Requester;
        }
        let asked = |by: &String| match by.split_once(':') {
            Some(("user", name)) => name == actor.name,
            Some(("role", role)) => Role::parse(role).is_some_and(|role| actor.has(role)),
            _ => false,
        };
        if actor.is_person && approval.by.iter().any(asked) {
            Self::Asked
        } else {
            Self::NotAsked
        }
    }
}

/// An approval in a list.
#[derive(Debug, Clone)]
pub struct AskCard {
    /// Identity.
    pub id: Uuid,
    /// Flow.
    pub flow: String,
    /// Task behind the gate.
    pub task: String,
    /// What is asked.
    pub question: String,
    /// What the task will do.
    pub action: Option<String>,
    /// State.
    pub badge: Badge,
    /// When it was asked.
    pub asked: Moment,
    /// When it expires.
    pub expires: Moment,
    /// When it was closed.
    pub closed: Option<Moment>,
    /// Who triggered the run.
    pub requester: String,
    /// How its rules came out: `2 pass · 1 borderline`.
    pub rules: String,
    /// Who said what.
    pub said: String,
    /// The one who looks is asked.
    pub mine: bool,
}

impl AskCard {
    /// Of an approval, for someone who looks.
    pub fn new(approval: &Approval, actor: &Actor, frame: &Frame) -> Self {
        Self {
            id: approval.id,
            flow: approval.flow.clone(),
            task: approval.task.clone(),
            question: question(approval),
            action: approval.action.clone(),
            badge: Badge::new(&approval.state, None),
            asked: frame.moment(&approval.asked_at),
            expires: frame.moment(&approval.expires_at),
            closed: approval.closed_at.as_ref().map(|at| frame.moment(at)),
            requester: approval.requester.clone(),
            rules: tally(&judged(approval)),
            said: said(approval),
            mine: Standing::of(actor, approval) == Standing::Asked,
        }
    }
}

/// The question as asked, else what the gate stands before.
pub fn question(approval: &Approval) -> String {
    let plainly = || format!("Let {} of {} go on?", approval.task, approval.flow);
    approval.message.clone().unwrap_or_else(plainly)
}

/// The rules in an approval's evidence; none where it can't be read.
pub fn judged(approval: &Approval) -> Vec<JudgedRule> {
    let rules = approval.evidence.get("rules").cloned().unwrap_or_default();
    serde_json::from_value(rules).unwrap_or_default()
}

fn tally(rules: &[JudgedRule]) -> String {
    let count = |verdict: Verdict| {
        rules
            .iter()
            .filter(|rule| rule.judgement.verdict == verdict)
            .count()
    };
    let parts = [
        (count(Verdict::Pass), "pass"),
        (count(Verdict::Borderline), "borderline"),
        (count(Verdict::Fail), "fail"),
    ];
    let told = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"));
    let told: Vec<String> = told.collect();
    if told.is_empty() {
        "no rules".to_owned()
    } else {
        told.join(" · ")
    }
}

fn said(approval: &Approval) -> String {
    let vote = |vote: &tidegate_engine::view::Vote| {
        let word = if vote.decision == "approve" {
            "approved"
        } else {
            "rejected"
        };
        format!("{word} by {}", vote.actor)
    };
    approval.votes.iter().map(vote).collect::<Vec<_>>().join(", ")
}

/// Recent runs as columns.
pub fn history(runs: &[RunSummary], now: Timestamp) -> Drawn {
    let column = |run: &RunSummary| Column {
        path: format!("/runs/{}", run.id),
        when: Moment {
            at: run.created_at,
            now,
        }
        .exact(),
        state: run.state.clone(),
        seconds: took(run, now).unwrap_or(0.0),
    };
    history::draw(&runs.iter().map(column).collect::<Vec<_>>())
}
