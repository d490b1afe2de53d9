//! The frozen facts an approval is given on, and their digest.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Rule;
use super::decimal::Decimal;
use super::judge::Judgement;
use crate::id::{FlowName, RunId, TaskName, VersionHash};

/// What was known when the gate was reached. A decision names its [`Evidence::digest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The flow.
    pub flow: FlowName,
    /// The version the run is pinned to.
    pub version: VersionHash,
    /// The run.
    pub run: RunId,
    /// The task behind the gate.
    pub task: TaskName,
    /// The rules, each with what it came to.
    pub rules: Vec<JudgedRule>,
    /// Outputs of the tasks that are shown.
    pub outputs: BTreeMap<TaskName, Value>,
    /// What the task will do: `moves ranking_model@production from v6 to v7`.
    pub action: Option<String>,
    /// Facts of the world that the decision rests on.
    pub world: Value,
}

/// A rule and what it came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgedRule {
    /// As in the flow version.
    pub rule: Rule,
    /// What it came to.
    pub judgement: Judgement,
}

impl Evidence {
    /// One text for the same facts: sorted keys, no spaces, numbers by value (`1.0`, `1` and `1e0` are `1`), so that it is the same
    /// after a way through PostgreSQL's `jsonb`.
    pub fn canonical(&self) -> String {
        let value = match serde_json::to_value(self) {
            Ok(value) => value,
            #[expect(clippy::panic, reason = "names and values always have a JSON form")]
            Err(error) => panic!("BUG: evidence without a JSON form: {error}"),
        };
        let mut text = String::new();
        write_value(&value, &mut text);
        text
    }

    /// SHA-256 of the canonical text, 64 hex digits.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.canonical()))
    }
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Number(number) => match Decimal::from_number(number) {
            Some(decimal) => out.push_str(&decimal.to_string()),
            None => out.push_str(&number.to_string()),
        },
        Value::Array(items) => write_all(out, "[]", items, write_value),
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            write_all(out, "{}", entries, |(key, value), out| {
                write_text(key, out);
                out.push(':');
                write_value(value, out);
            });
        }
        Value::String(text) => write_text(text, out),
        Value::Null => out.push_str("null"),
        Value::Bool(bool) => out.push_str(if *bool { "true" } else { "false" }),
    }
}

fn write_all<T>(
    out: &mut String,
    ends: &str,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(T, &mut String),
) {
    out.push_str(&ends[..1]);
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push_str(&ends[1..]);
}

/// A JSON string; only what must be escaped is.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
