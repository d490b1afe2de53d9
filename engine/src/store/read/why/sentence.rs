//! Sentences that need no more than the run that they are about.

use jiff::Timestamp;

use super::super::short_id;
use crate::view::{Approval, Run, SubRun, TaskRun, Why};

/// A word, a sentence, and when that ends.
pub(super) type Reason = (&'static str, String, Option<Timestamp>);

pub(super) fn of_blocked(run: &Run, task: &TaskRun) -> Reason {
    if run.summary.state == "queued" {
        return ("start", "its run has not started".to_owned(), None);
    }
    if task.map_index.is_some() {
        let sentence = "it waits for other items to end: no more may be under way at once (max_parallel)";
        return ("items", sentence.to_owned(), None);
    }
    let unfinished = |need: &&String| {
        let known = run.tasks.iter().find(|other| other.name == **need);
        known.is_some_and(|other| other.finished_at.is_none())
    };
    let needs: Vec<String> = task
        .needs
        .iter()
        .filter(unfinished)
        .map(|need| {
            let known = run.tasks.iter().find(|other| other.name == *need);
            let state = known.map_or("", |other| other.state.as_str());
            format!("{need} ({state})")
        })
        .collect();
    let shown = needs.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    let more = needs.len().saturating_sub(5);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    ("needs", format!("it needs {shown}{more}"), None)
}

pub(super) fn of_items(task: &TaskRun) -> String {
    let items = task
        .items_in_words()
        .unwrap_or_else(|| "none has ended".to_owned());
    format!("it waits for its items: {items}")
}

/// Which run it waits for, and what that waits for.
pub(super) fn of_sub_run(made: &SubRun, why: &Why) -> String {
    let first = why.tasks.iter().find(|task| task.waits_for != "needs");
    let beneath = match (&why.sentence, first) {
        (Some(sentence), _) => format!(": {sentence}"),
        (None, Some(task)) => format!("; its task {}: {}", task.task, task.sentence),
        (None, None) => String::new(),
    };
    format!(
        "it waits for run {} of {}, which is {}{beneath}",
        short_id(made.run),
        made.flow,
        why.state
    )
}

pub(super) fn of_backoff(task: &TaskRun) -> Reason {
    let next = task.attempt + 1;
    let due = task
        .due_at
        .map_or_else(String::new, |at| format!(" at {}", second(at)));
    let sentence = format!(
        "attempt {} failed; attempt {next} of {} is due{due}",
        task.attempt, task.attempts
    );
    ("retry", sentence, task.due_at)
}

pub(super) fn of_approval(run: &Run, task: &TaskRun, approval: &Approval) -> Reason {
    let yes = approval
        .votes
        .iter()
        .filter(|vote| vote.decision == "approve")
        .count();
    let people = match approval.required {
        1 => "a decision".to_owned(),
        needed => format!("{needed} decisions ({yes} given)"),
    };
    let requester = if approval.allow_requester {
        String::new()
    } else {
        format!(", not {}", approval.requester)
    };
    let sentence = format!(
        "it waits for {people} by {}{requester}, until {}: tidegate approve {}/{}",
        approval.by.join(" or "),
        second(approval.expires_at),
        short_id(run.summary.id),
        task.name
    );
    ("approval", sentence, Some(approval.expires_at))
}

/// What the first task run said that ended as its run did, where it said something.
pub(super) fn of_cause(run: &Run) -> Option<String> {
    let state = run.summary.state.as_str();
    if !matches!(state, "failed" | "rejected") {
        return None;
    }
    let mut ended = run.tasks.iter().filter(|task| task.state == state);
    ended.find_map(|task| {
        let said = task.message.as_ref()?.lines().next()?;
        Some(format!("{}: {said}", task.name))
    })
}

pub(super) fn stated(state: &str, reason: Option<&str>) -> String {
    reason.map_or_else(
        || state.to_owned(),
        |reason| format!("{state} ({})", reason.replace('_', " ")),
    )
}

pub(super) fn second(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}
