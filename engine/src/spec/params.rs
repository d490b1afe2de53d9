//! Params of a run: what a flow declares, what is given, what becomes of it.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::suggest;
use crate::duration;
use crate::graph::{Flow, ParamKind, ParamSpec};
use crate::template;

/// A param that does not fit, for a 422.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("param `{param}` {message}")]
pub struct ParamProblem {
    /// Name of the param.
    pub param: String,
    /// What is wrong with it; reads on from the name: "must be an integer, this is a string".
    pub message: String,
}

impl ParamProblem {
    fn new(param: &str, message: impl Into<String>) -> Self {
        Self {
            param: param.to_owned(),
            message: message.into(),
        }
    }
}

/// The params of a new run: what is given, and defaults for the rest. Errors: every unknown name, wrong type, value out of
/// bounds, and missing param. A param that is `null` counts as not given.
pub fn resolve(flow: &Flow, given: Map<String, Value>) -> Result<BTreeMap<String, Value>, Vec<ParamProblem>> {
    let mut problems: Vec<ParamProblem> = given
        .keys()
        .filter(|name| !flow.params.contains_key(*name))
        .map(|name| unknown(flow, name))
        .collect();
    let mut resolved = BTreeMap::new();
    for (name, spec) in &flow.params {
        match settle(spec, given.get(name)) {
            Ok(value) => {
                resolved.insert(name.clone(), value);
            }
            Err(message) => problems.push(ParamProblem::new(name, message)),
        }
    }
    if problems.is_empty() {
        Ok(resolved)
    } else {
        Err(problems)
    }
}

/// What can be said of params before what stands in them is rendered: unknown names, missing ones, values that do not fit.
pub fn foresee(flow: &Flow, given: &Map<String, Value>) -> Vec<ParamProblem> {
    let unknown = given
        .keys()
        .filter(|name| !flow.params.contains_key(*name))
        .map(|name| unknown(flow, name));
    let known = flow.params.iter().filter_map(|(name, spec)| {
        let value = given.get(name);
        if value.is_some_and(template::is_rendered) {
            return None;
        }
        settle(spec, value)
            .err()
            .map(|message| ParamProblem::new(name, message))
    });
    unknown.chain(known).collect()
}

/// The same of the params in the `with` of a task that runs the flow.
pub fn foresee_with(flow: &Flow, with: &Value) -> Vec<ParamProblem> {
    match with.get("params") {
        Some(Value::Object(given)) => foresee(flow, given),
        Some(value) if template::is_rendered(value) => Vec::new(),
        _ => foresee(flow, &Map::new()),
    }
}

fn settle(spec: &ParamSpec, given: Option<&Value>) -> Result<Value, String> {
    match given.filter(|value| !value.is_null()) {
        Some(value) => accept(&spec.kind, value.clone()),
        None => spec
            .default
            .clone()
            .ok_or_else(|| "has no default and must be given".to_owned()),
    }
}

fn unknown(flow: &Flow, name: &str) -> ParamProblem {
    let known = flow.params.keys().map(String::as_str);
    let help = suggest::help(name, "it has", known).unwrap_or_else(|| "it has none".to_owned());
    ParamProblem::new(name, format!("is no param of flow `{}`; {help}", flow.name))
}

/// Texts of a command line (`-p days=7`) as values of the declared types; unknown names stay texts, for [`resolve`] to name.
/// Lists and objects are written as JSON.
pub fn from_texts(
    declared: &IndexMap<String, ParamSpec>,
    given: &[(String, String)],
) -> Result<Map<String, Value>, Vec<ParamProblem>> {
    let mut values = Map::new();
    let mut problems = Vec::new();
    for (name, text) in given {
        let kind = declared.get(name).map_or(&ParamKind::String, |spec| &spec.kind);
        match read(kind, text) {
            Some(value) if values.contains_key(name) => {
                problems.push(ParamProblem::new(
                    name,
                    format!("is given twice, the second time as {value}"),
                ));
            }
            Some(value) => {
                values.insert(name.clone(), value);
            }
            None => {
                let message = format!("must be {}, this is \"{text}\"", wanted(kind));
                problems.push(ParamProblem::new(name, message));
            }
        }
    }
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(problems)
    }
}

fn read(kind: &ParamKind, text: &str) -> Option<Value> {
    match kind {
        ParamKind::Integer { .. } => text.parse::<i64>().ok().map(Value::from),
        ParamKind::Number { .. } => text
            .parse::<f64>()
            .ok()
            .filter(|n| n.is_finite())
            .map(Value::from),
        ParamKind::Boolean => text.parse::<bool>().ok().map(Value::from),
        ParamKind::List | ParamKind::Object => serde_json::from_str(text).ok(),
        _ => Some(Value::String(text.to_owned())),
    }
}

fn wanted(kind: &ParamKind) -> &'static str {
    match kind {
        ParamKind::String => "a string",
        ParamKind::Integer { .. } => "an integer",
        ParamKind::Number { .. } => "a number",
        ParamKind::Boolean => "true or false",
        ParamKind::Duration => "a duration like \"15m\"",
        ParamKind::Date => "a date like \"2026-11-24\"",
        ParamKind::Datetime => "an instant like \"2026-11-24T02:00:00Z\"",
        ParamKind::Enum { .. } => "one of its values",
        ParamKind::List => "a list",
        ParamKind::Object => "an object",
    }
}

fn told(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("\"{}\"", text.chars().take(80).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// Checks a value against a type and its bounds. The error reads on from the param's name.
pub(super) fn accept(kind: &ParamKind, value: Value) -> Result<Value, String> {
    let fits = match (kind, &value) {
        (ParamKind::String, Value::String(_)) => true,
        (ParamKind::Integer { min, max }, Value::Number(n)) if n.is_i64() => {
            return bounded(value.as_i64(), *min, *max).map(|()| value);
        }
        (ParamKind::Number { min, max }, Value::Number(_)) => {
            return bounded(value.as_f64(), *min, *max).map(|()| value);
        }
        (ParamKind::Boolean, Value::Bool(_)) => true,
        (ParamKind::Duration, Value::String(text)) => {
            return duration::parse(text)
                .map(|_| value.clone())
                .map_err(|e| format!("is no duration: {e}"));
        }
        (ParamKind::Date, Value::String(text)) => text.len() == 10 && text.parse::<Date>().is_ok(),
        (ParamKind::Datetime, Value::String(text)) => text.parse::<Timestamp>().is_ok(),
        (ParamKind::Enum { values }, Value::String(text)) => return one_of(values, text).map(|()| value),
        (ParamKind::List, Value::Array(_)) | (ParamKind::Object, Value::Object(_)) => true,
        _ => false,
    };
    if fits {
        Ok(value)
    } else {
        Err(format!("must be {}, this is {}", wanted(kind), told(&value)))
    }
}

fn one_of(values: &[String], text: &str) -> Result<(), String> {
    if values.iter().any(|value| value == text) {
        return Ok(());
    }
    let help = suggest::help(text, "it may be", values.iter().map(String::as_str)).unwrap_or_default();
    Err(format!("cannot be \"{text}\"; {help}"))
}

fn bounded<T: PartialOrd + std::fmt::Display>(
    value: Option<T>,
    min: Option<T>,
    max: Option<T>,
) -> Result<(), String> {
    let Some(value) = value else {
        return Err("is no number".to_owned());
    };
    match (min, max) {
        (Some(min), _) if value < min => Err(format!("must be at least {min}, this is {value}")),
        (_, Some(max)) if value > max => Err(format!("must be at most {max}, this is {value}")),
        _ => Ok(()),
    }
}

/// The JSON Schema of a param's values.
pub(super) fn schema_of(kind: &ParamKind) -> Value {
    match kind {
        ParamKind::String | ParamKind::Duration | ParamKind::Date | ParamKind::Datetime => {
            json!({"type": "string"})
        }
        ParamKind::Integer { .. } => json!({"type": "integer"}),
        ParamKind::Number { .. } => json!({"type": "number"}),
        ParamKind::Boolean => json!({"type": "boolean"}),
        ParamKind::Enum { values } => json!({"type": "string", "enum": values}),
        ParamKind::List => json!({"type": "array"}),
        ParamKind::Object => json!({"type": "object"}),
    }
}
