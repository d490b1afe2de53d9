//! A `[params.NAME]` table.

use serde_json::Value;

use super::super::decode::{Doc, Node, Section, Text};
use super::super::diagnostic::Problem;
use super::super::params::accept;
use crate::graph::{ParamKind, ParamSpec};
use crate::template::has_expression;

/// A param as decoded.
pub(in crate::spec) struct RawParam {
    pub name: Text,
    /// `None` when the type is wrong; then nothing is known of it.
    pub spec: Option<ParamSpec>,
}

pub(in crate::spec) const TYPES: [&str; 10] = [
    "string", "integer", "number", "boolean", "duration", "date", "datetime", "enum", "list", "object",
];

pub(super) fn decode<'d>(doc: Doc<'d>, name: Text, node: Node<'d>) -> Option<RawParam> {
    let section = doc.open(node, &format!("param `{}`", name.value))?;
    let Some(kind) = section.required("type") else {
        section.only(&["type", "default", "description", "min", "max", "values"]);
        return Some(RawParam { name, spec: None });
    };
    let spec = kind_of(&section, &kind).map(|kind| {
        let default = section
            .get("default")
            .and_then(|node| decode_given(doc, node, &name.value, &kind));
        ParamSpec {
            kind,
            default,
            description: section.text("description").map(|t| t.value),
        }
    });
    Some(RawParam { name, spec })
}

fn kind_of(section: &Section<'_>, written: &Text) -> Option<ParamKind> {
    let bounds: &[&str] = match written.value.as_str() {
        "integer" | "number" => &["min", "max"],
        "enum" => &["values"],
        _ => &[],
    };
    section.only(&[&["type", "default", "description"], bounds].concat());
    let integer = |key: &str| section.get(key).and_then(|node| section.doc.integer(node, key));
    Some(match written.value.as_str() {
        "string" => ParamKind::String,
        "integer" => {
            let (min, max) = (integer("min"), integer("max"));
            order(section, min.zip(max).is_some_and(|(min, max)| min > max));
            ParamKind::Integer { min, max }
        }
        "number" => {
            let (min, max) = (section.number("min"), section.number("max"));
            order(section, min.zip(max).is_some_and(|(min, max)| min > max));
            ParamKind::Number { min, max }
        }
        "boolean" => ParamKind::Boolean,
        "duration" => ParamKind::Duration,
        "date" => ParamKind::Date,
        "datetime" => ParamKind::Datetime,
        "enum" => ParamKind::Enum {
            values: values(section),
        },
        "list" => ParamKind::List,
        "object" => ParamKind::Object,
        other => {
            let problem = Problem::new(
                "wrong-value",
                written.span.clone(),
                format!("there is no type \"{other}\""),
            );
            section
                .doc
                .problems
                .add_unknown(problem, other, TYPES.into_iter());
            return None;
        }
    })
}

fn order(section: &Section<'_>, wrong: bool) {
    if wrong {
        section.doc.report(
            "impossible-bound",
            section.span_of("min"),
            "`min` is above `max`: no value can fit",
        );
    }
}

fn values(section: &Section<'_>) -> Vec<String> {
    let values: Vec<String> = section.texts("values").into_iter().map(|t| t.value).collect();
    if values.is_empty() {
        let message = format!("{} needs `values`, the texts it may have", section.label);
        section
            .doc
            .report("missing-key", section.span_of("values"), message);
    }
    values
}

/// A literal value for a param, in `default` or in a schedule's `params`.
pub(in crate::spec) fn decode_given<'d>(
    doc: Doc<'d>,
    node: Node<'d>,
    name: &str,
    kind: &ParamKind,
) -> Option<Value> {
    let value = doc.json(node, name);
    if node.get_ref().as_str().is_some_and(has_expression) {
        let problem = Problem::new(
            "template-not-here",
            node.span(),
            "a param's value is taken as it is written",
        );
        doc.problems
            .add(problem.help("`{{ … }}` is for `with`, `env` and gates; write the value itself"));
        return None;
    }
    if value.is_null() {
        return None;
    }
    match accept(kind, value) {
        Ok(value) => Some(value),
        Err(reason) => {
            doc.report(
                "param-does-not-fit",
                node.span(),
                format!("param `{name}` {reason}"),
            );
            None
        }
    }
}
