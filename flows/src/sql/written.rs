//! What can be said before a database is asked, from the flow file alone.

use serde_json::Value;
use tidegate_engine::plugin::{Objection, is_given, literal, no_durations};

/// Keys that have no effect without a query, and what could never work.
pub(super) fn objections(with: &Value) -> Vec<Objection> {
    let mut found: Vec<Objection> = unreachable(with, "url").into_iter().collect();
    found.extend(no_durations(with, &["timeout"]));
    if is_given(with, "query") {
        return found;
    }
    let statements = with.get("statements");
    if statements.is_none_or(|list| list.as_array().is_some_and(Vec::is_empty)) {
        let help = "give a `query` whose rows are handed on, or `statements`";
        let message = "there is nothing to ask the database";
        found.push(Objection::hopeless("statements", message, help));
        return found;
    }
    let idle = ["params", "to", "max_rows"].into_iter();
    let idle = idle.filter(|key| is_given(with, key));
    found.extend(idle.map(|key| {
        let message = format!("without `query` `{key}` has no effect");
        Objection::idle(key, message, "leave it out")
    }));
    found
}

/// An address, as written at a key, at which there could be no PostgreSQL. Without `://` it is the name of a variable.
pub(crate) fn unreachable(with: &Value, key: &str) -> Option<Objection> {
    let written = literal(with, key)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let fits = match written.split_once("://") {
        Some((scheme, rest)) => matches!(scheme, "postgres" | "postgresql") && !rest.is_empty(),
        None => !written.is_empty() && written.chars().all(plain),
    };
    let message = || format!("`{key}` is no address of a PostgreSQL, and no name of a variable");
    let help = "write postgres://user:password@host/database, best as a secret: \"{{ secrets.NAME }}\"";
    (!fits).then(|| Objection::hopeless(key, message(), help))
}
