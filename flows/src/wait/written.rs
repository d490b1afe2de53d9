//! What can be said of a wait before it begins, from the flow file alone.

use serde_json::Value;
use tidegate_engine::instant;
use tidegate_engine::plugin::{Objection, is_given, literal, no_durations, unread};

use crate::http::unaskable;
use crate::sql::unreachable;

/// The keys that say what is waited for.
const GOALS: [&str; 5] = ["until", "for", "url", "object", "query"];
/// Those of them that are looked at.
const LOOKED_AT: [&str; 3] = ["url", "object", "query"];

/// Keys that do not go together, and what could never come.
pub(super) fn objections(with: &Value) -> Vec<Objection> {
    let mut found: Vec<Objection> = goals(with).into_iter().collect();
    found.extend(lone_keys(with));
    found.extend(no_durations(with, &["for", "every", "at_most_every", "timeout"]));
    found.extend(no_instant(with));
    found.extend(unaskable(with, "url"));
    found.extend(no_object(with));
    found.extend(unreachable(with, "database"));
    found
}

/// Keys of the task that no look has a use for.
pub(super) fn idle_keys(with: &Value) -> Vec<Objection> {
    let mut found = unread(&["files"]);
    if is_timed(with) {
        let message = "`timeout` bounds an attempt, and until that instant this task has none";
        found.push(Objection::idle("timeout", message, "leave it out"));
        let message = "`pool` has no effect: until that instant no slot is held";
        found.push(Objection::idle("pool", message, "leave it out"));
    }
    if is_timed(with) || is_given(with, "url") {
        found.extend(unread(&["env"]));
    }
    found
}

/// It waits for an instant and looks at nothing.
fn is_timed(with: &Value) -> bool {
    let looks = LOOKED_AT.iter().any(|key| is_given(with, key));
    !looks && (is_given(with, "until") || is_given(with, "for"))
}

fn goals(with: &Value) -> Option<Objection> {
    let goals: Vec<&str> = GOALS.into_iter().filter(|key| is_given(with, key)).collect();
    match goals.as_slice() {
        [] => Some(Objection::hopeless(
            "with",
            "nothing is named that could be waited for",
            "give one of `until`, `for`, `url`, `object` and `query`",
        )),
        [_, second, ..] => Some(Objection::hopeless(
            second,
            "one thing is waited for",
            "make it two tasks",
        )),
        [_] => None,
    }
}

/// Keys without the one that they belong to.
fn lone_keys(with: &Value) -> Vec<Objection> {
    let belong = [("headers", "url"), ("expected", "url"), ("database", "query")];
    let alone = belong
        .into_iter()
        .filter(|(key, goal)| is_given(with, key) && !is_given(with, goal));
    let mut found: Vec<Objection> = alone
        .map(|(key, goal)| {
            let message = format!("without `{goal}` it has no effect");
            Objection::idle(key, message, "leave it out")
        })
        .collect();
    if is_timed(with) {
        let of_looks = ["every", "at_most_every", "timeout"];
        let idle = of_looks.into_iter().filter(|key| is_given(with, key));
        found.extend(idle.map(|key| {
            let message = format!("`{key}` has no effect: an instant is waited for without looking");
            Objection::idle(key, message, "leave it out")
        }));
    }
    if is_given(with, "query") && !is_given(with, "database") {
        let help = "say where it is asked: database = \"{{ secrets.NAME }}\"";
        found.push(Objection::hopeless("query", "it needs the key `database`", help));
    }
    found
}

fn no_instant(with: &Value) -> Option<Objection> {
    instant::parse(literal(with, "until")?).err()?;
    Some(Objection::hopeless(
        "until",
        "`until` is no instant",
        instant::FORM,
    ))
}

fn no_object(with: &Value) -> Option<Objection> {
    let uri = literal(with, "object")?;
    let in_bucket = |rest: &str| {
        rest.split_once('/')
            .is_some_and(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
    };
    let of_s3 = uri.strip_prefix("s3://").is_some_and(in_bucket);
    let is_one = (of_s3 || uri.starts_with("file:///")) && !uri.ends_with('/');
    (!is_one).then(|| {
        let message = "`object` is no address of an object";
        Objection::hopeless("object", message, "write s3://bucket/key or file:///path")
    })
}
