//! Fields of the form that triggers a run, made from the flow's params.

use serde_json::Value;
use tidegate_engine::graph::{ParamKind, ParamSpec};

use super::Sent;

/// A param as a field.
pub struct Field {
    /// Name of the param.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// `integer, 1 to 365`.
    pub kind: String,
    /// What is filled in.
    pub value: String,
    /// What counts when it is left empty.
    pub default: Option<String>,
    /// It must be given.
    pub required: bool,
    /// How it is typed.
    pub widget: Widget,
    /// What is wrong with what was typed.
    pub problem: Option<String>,
}

/// How a field is typed.
pub enum Widget {
    /// A line of text.
    Line {
        /// What keyboards shall offer: `numeric`, `decimal`, `text`.
        mode: &'static str,
    },
    /// A date.
    Date,
    /// One of these.
    Choice(Vec<(String, bool)>),
    /// JSON.
    Text,
}

impl Field {
    /// Of a param; with what was sent, where the form came back.
    pub fn new((name, spec): (&String, &ParamSpec), sent: &Sent) -> Self {
        let default = spec.default.as_ref().map(shown);
        let typed = sent.texts.iter().find(|(key, _)| key == name);
        let value = typed
            .map(|(_, text)| text.clone())
            .or_else(|| default.clone())
            .unwrap_or_default();
        let problem = sent.problems.iter().find(|problem| problem.param == *name);
        Self {
            description: spec.description.clone(),
            kind: kind(&spec.kind),
            widget: widget(&spec.kind, &value),
            required: spec.default.is_none(),
            problem: problem.map(|problem| problem.message.clone()),
            name: name.clone(),
            default,
            value,
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn kind(kind: &ParamKind) -> String {
    match kind {
        ParamKind::String => "text".to_owned(),
        ParamKind::Integer { min, max } => format!("whole number{}", bounds(*min, *max)),
        ParamKind::Number { min, max } => format!("number{}", bounds(*min, *max)),
        ParamKind::Boolean => "true or false".to_owned(),
        ParamKind::Duration => "duration, like 90s, 15m, 3h, 30d".to_owned(),
        ParamKind::Date => "date, like 2026-11-24".to_owned(),
        ParamKind::Datetime => "instant, like 2026-11-24T02:00:00Z".to_owned(),
        ParamKind::Enum { .. } => "one of these".to_owned(),
        ParamKind::List => "list, as JSON".to_owned(),
        ParamKind::Object => "object, as JSON".to_owned(),
    }
}

fn bounds<T: std::fmt::Display>(min: Option<T>, max: Option<T>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!(", {min} to {max}"),
        (Some(min), None) => format!(", at least {min}"),
        (None, Some(max)) => format!(", at most {max}"),
        (None, None) => String::new(),
    }
}

fn widget(kind: &ParamKind, value: &str) -> Widget {
    let choice = |words: &mut dyn Iterator<Item = String>| {
        Widget::Choice(words.map(|word| (word.clone(), word == value)).collect())
    };
    match kind {
        ParamKind::Integer { .. } => Widget::Line { mode: "numeric" },
        ParamKind::Number { .. } => Widget::Line { mode: "decimal" },
        ParamKind::Boolean => choice(&mut ["true", "false"].into_iter().map(str::to_owned)),
        ParamKind::Enum { values } => choice(&mut values.iter().cloned()),
        ParamKind::Date => Widget::Date,
        ParamKind::List | ParamKind::Object => Widget::Text,
        ParamKind::String | ParamKind::Duration | ParamKind::Datetime => Widget::Line { mode: "text" },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_engine::spec::params::ParamProblem;

    use super::*;

    #[test]
    fn what_was_typed_comes_back_with_what_is_wrong_with_it() {
        let spec = ParamSpec {
            kind: ParamKind::Integer {
                min: Some(1),
                max: Some(365),
            },
            default: Some(json!(30)),
            description: None,
        };
        let name = "window_days".to_owned();
        let fresh = Field::new((&name, &spec), &Sent::default());
        assert_eq!(
            (fresh.value.as_str(), fresh.kind.as_str()),
            ("30", "whole number, 1 to 365")
        );
        assert!(!fresh.required && fresh.problem.is_none());
        let sent = Sent {
            texts: vec![(name.clone(), "900".to_owned())],
            problems: vec![ParamProblem {
                param: name.clone(),
                message: "must be at most 365, this is 900".to_owned(),
            }],
            notice: None,
        };
        let back = Field::new((&name, &spec), &sent);
        assert_eq!(back.value, "900");
        assert_eq!(back.problem.as_deref(), Some("must be at most 365, this is 900"));
    }
}
