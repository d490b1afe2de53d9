//! JSON values as rows that people can read.

use serde_json::{Map, Value};

use crate::words::{number, of, short};

/// More rows than this are not shown; the API has them all.
const MOST: usize = 80;
/// Deeper values are shown as JSON.
const DEEPEST: usize = 4;

/// A row: a name with its value, or a heading over the rows below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Name of the field, or number of the item.
    pub key: String,
    /// What it is; empty for a heading.
    pub value: String,
    /// The whole of it, where it was shortened.
    pub whole: Option<String>,
    /// How deep it lies.
    pub depth: usize,
    /// It stands over the rows below it.
    pub heading: bool,
}

/// The rows of a value.
pub fn rows(value: &Value) -> Vec<Row> {
    let mut out = Vec::new();
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                put(&mut out, (key, value), 0);
            }
        }
        other => put(&mut out, ("value", other), 0),
    }
    if out.len() > MOST {
        let rest = out.len() - MOST;
        out.truncate(MOST);
        out.push(row("…", format!("and {rest} more; the API has them all"), 0));
    }
    out
}

fn row(key: &str, value: String, depth: usize) -> Row {
    Row {
        key: key.to_owned(),
        value,
        whole: None,
        depth,
        heading: false,
    }
}

fn put(out: &mut Vec<Row>, (key, value): (&str, &Value), depth: usize) {
    match value {
        Value::Object(fields) if measure(fields).is_none() && !fields.is_empty() && depth < DEEPEST => {
            heading(out, key, depth);
            for (key, value) in fields {
                put(out, (key, value), depth + 1);
            }
        }
        Value::Array(items)
            if items.iter().any(|item| item.is_object() || item.is_array()) && depth < DEEPEST =>
        {
            heading(out, key, depth);
            for (i, item) in items.iter().enumerate() {
                put(out, (&name(item, i), item), depth + 1);
            }
        }
        other => {
            let (value, whole) = text(other);
            out.push(Row {
                whole,
                ..row(key, value, depth)
            });
        }
    }
}

fn heading(out: &mut Vec<Row>, key: &str, depth: usize) {
    out.push(Row {
        heading: true,
        ..row(key, String::new(), depth)
    });
}

/// What an item of a list is called: by its name where it has one.
fn name(item: &Value, i: usize) -> String {
    let named = ["name", "cohort", "task", "column"]
        .iter()
        .find_map(|key| item.get(key)?.as_str());
    named.map_or_else(|| format!("{}", i + 1), str::to_owned)
}

/// A value in a line, and the whole of it where that is longer.
pub fn text(value: &Value) -> (String, Option<String>) {
    match value {
        Value::Null => ("none".to_owned(), None),
        Value::Bool(true) => ("yes".to_owned(), None),
        Value::Bool(false) => ("no".to_owned(), None),
        Value::Number(value) => (of(value).map_or_else(|| value.to_string(), number), None),
        Value::String(text) => shortened(text),
        Value::Object(fields) if fields.is_empty() => ("nothing".to_owned(), None),
        Value::Array(items) if items.is_empty() => ("nothing".to_owned(), None),
        Value::Object(fields) => match measure(fields) {
            Some(text) => (text, None),
            None => shortened(&value.to_string()),
        },
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().map(|item| self::text(item).0).collect();
            shortened(&texts.join(", "))
        }
    }
}

fn shortened(text: &str) -> (String, Option<String>) {
    let digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let most = if digest { 13 } else { 160 };
    let cut = short(text, most);
    let whole = (cut != text).then(|| text.to_owned());
    (cut, whole)
}

/// `{value, low, high}`, `{absent}` and `{undefined}` in a line.
pub fn measure(fields: &Map<String, Value>) -> Option<String> {
    let number_of = |key: &str| match fields.get(key)? {
        Value::Number(value) => of(value),
        _ => None,
    };
    let word = |key: &str| {
        fields
            .get(key)
            .and_then(Value::as_str)
            .filter(|_| fields.len() == 1)
    };
    if let Some(value) = number_of("value") {
        return match (number_of("low"), number_of("high"), fields.len()) {
            (Some(low), Some(high), 3) => {
                Some(format!("{} [{}, {}]", number(value), number(low), number(high)))
            }
            _ => None,
        };
    }
    match (word("absent"), word("undefined")) {
        (Some("no_baseline"), _) => Some("no baseline yet".to_owned()),
        (Some(why), _) => Some(format!("absent: {why}")),
        (_, Some(why)) => Some(format!("undefined: {why}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn measures_lists_and_digests_read_in_a_line() {
        let value = json!({
            "metrics": {"p": {"value": 0.31, "low": 0.29, "high": 0.33}, "change": {"absent": "no_baseline"}},
            "rows": 206_144,
            "tags": ["a", "b"],
            "sha256": "a".repeat(64),
            "slices": [{"cohort": "new", "n": 3}],
        });
        let lines: Vec<String> = rows(&value)
            .iter()
            .map(|row| {
                format!("{}{} {}", " ".repeat(row.depth), row.key, row.value)
                    .trim_end()
                    .to_owned()
            })
            .collect();
        assert_eq!(
            lines,
            [
                "metrics",
                " p 0.31 [0.29, 0.33]",
                " change no baseline yet",
                "rows 206\u{202f}144",
                "tags a, b",
                "sha256 aaaaaaaaaaaa…",
                "slices",
                " new",
                "  cohort new",
                "  n 3",
            ]
        );
    }

    #[test]
    fn a_thousand_fields_are_cut_and_said_so() {
        let value = Value::Object((0..1000).map(|i| (format!("k{i}"), json!(i))).collect());
        let rows = rows(&value);
        assert_eq!(rows.len(), MOST + 1);
        assert!(rows[MOST].value.contains("920 more"));
    }
}
