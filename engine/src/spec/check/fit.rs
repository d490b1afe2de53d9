//! Whether what stands in `with` fits the plugin's input schema.

use std::ops::Range;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::super::decode::{Doc, Node, Text, kind};
use super::super::diagnostic::Problem;
use super::super::suggest;
use super::names::Names;
use crate::graph::RunIf;
use crate::schema::{self, Types};
use crate::template::{Expression, has_expression, parse};

/// Fits literals and references into schemas.
#[derive(Clone, Copy)]
pub(super) struct Fitter<'c, 'd> {
    pub doc: Doc<'d>,
    pub names: &'c Names<'d>,
    /// When the task runs that what is fitted belongs to; `None`: null is as good as any value there.
    pub run_if: Option<RunIf>,
    /// Schema of `item`, where there is one.
    pub item: Option<&'c Value>,
}

/// Where a table stands and what it is called.
pub(super) struct Place<'l> {
    pub span: Range<usize>,
    pub label: &'l str,
}

impl<'d> Fitter<'_, 'd> {
    /// All that is wrong with a table.
    pub(super) fn table(&self, table: &'d DeTable<'d>, schema: &Value, place: &Place<'_>) -> Vec<Problem> {
        let options = schema::alternatives(schema);
        let best = options.iter().map(|option| self.one_table(table, option, place));
        best.min_by_key(Vec::len).unwrap_or_default()
    }

    fn one_table(&self, table: &'d DeTable<'d>, schema: &Value, place: &Place<'_>) -> Vec<Problem> {
        let properties = schema.get("properties").and_then(Value::as_object);
        let known = || properties.into_iter().flat_map(|p| p.keys().map(String::as_str));
        let mut problems = missing(table, schema, place);
        for (key, node) in table {
            let name = key.get_ref().as_ref();
            let label = if place.label == "with" {
                name.to_owned()
            } else {
                format!("{}.{name}", place.label)
            };
            match properties.and_then(|p| p.get(name)) {
                Some(schema) => problems.extend(self.value(node, schema, &label)),
                None if is_closed(schema) => {
                    let message = format!("unknown key `{name}` in `{}`", place.label);
                    let names: Vec<&str> = known().collect();
                    let help = suggest::help(name, "known here", names.iter().copied());
                    problems.push(Problem {
                        help,
                        ..Problem::new("unknown-key", key.span(), message)
                    });
                }
                None => {
                    if let Some(schema) = schema.get("additionalProperties") {
                        problems.extend(self.value(node, schema, &label));
                    }
                }
            }
        }
        problems
    }

    fn value(&self, node: Node<'d>, schema: &Value, label: &str) -> Vec<Problem> {
        if let Some(text) = node.get_ref().as_str().filter(|text| has_expression(text)) {
            let text = Text {
                value: text.to_owned(),
                span: node.span(),
            };
            return self.template(&text, schema, label).into_iter().collect();
        }
        let own = literal_types(node.get_ref());
        let options = schema::alternatives(schema);
        let matching = options
            .into_iter()
            .filter(|option| own.within(schema::types(option)));
        let matching: Vec<&Value> = matching.collect();
        // Each variant of an enum is an alternative with one constant: its author chooses among all of them.
        let constants: Option<Vec<_>> = matching.iter().map(|option| schema::constants(option)).collect();
        if let Some(choices) = constants.filter(|choices| !choices.is_empty()) {
            return constant(self.doc, node, &choices.concat(), label)
                .into_iter()
                .collect();
        }
        let best = matching
            .iter()
            .map(|option| self.one_value(node, option, label))
            .min_by_key(Vec::len);
        best.unwrap_or_else(|| vec![wrong_type(node, schema, label)])
    }

    fn one_value(&self, node: Node<'d>, schema: &Value, label: &str) -> Vec<Problem> {
        match node.get_ref() {
            DeValue::Table(table) => self.table(
                table,
                schema,
                &Place {
                    span: node.span(),
                    label,
                },
            ),
            DeValue::Array(items) => {
                let Some(schema) = schema.get("items") else {
                    return Vec::new();
                };
                let items = items.iter().enumerate();
                items
                    .flat_map(|(at, item)| self.value(item, schema, &format!("{label}[{at}]")))
                    .collect()
            }
            DeValue::Float(_) => bounds(node, schema, label).into_iter().collect(),
            _ => {
                let choices = schema::constants(schema);
                choices
                    .and_then(|choices| constant(self.doc, node, &choices, label))
                    .or_else(|| bounds(node, schema, label))
                    .into_iter()
                    .collect()
            }
        }
    }

    /// A text with `{{ … }}`: the type of a bare reference is known, that of an expression is not, any other text is a text.
    pub(super) fn template(&self, text: &Text, schema: &Value, label: &str) -> Option<Problem> {
        let parsed = parse(&text.value).ok()?;
        let Some(whole) = parsed.whole() else {
            let fits = types_with_text(schema);
            let message = format!(
                "`{label}` must be {}, but text around `{{{{ … }}}}` makes it a string",
                schema::describe(schema)
            );
            let problem = Problem::new("reference-type", text.span.clone(), message);
            if fits {
                return self.doubts_in(text, &parsed);
            }
            return Some(problem.help("make the expression the whole string: \"{{ … }}\""));
        };
        self.expression(text, whole, (schema, label))
    }

    /// An expression that yields a value: the type of a bare reference is known, that of any other is not.
    pub(super) fn expression(
        &self,
        text: &Text,
        whole: &Expression,
        (schema, label): (&Value, &str),
    ) -> Option<Problem> {
        let reference = whole.references.first().filter(|_| whole.bare)?;
        let found = self.names.lookup_in(self.item, reference).ok()?;
        let Some(found) = found.filter(|found| !schema::could_fit(found, schema)) else {
            return self.doubt(text, reference, (schema, label));
        };
        let message = format!(
            "`{label}` must be {}, but `{reference}` is {}",
            schema::describe(schema),
            schema::describe(found)
        );
        let place = self.doc.place(text, reference.range());
        let problem = Problem::new("reference-type", place, message);
        Some(match self.names.fitting(reference, schema).as_slice() {
            [] => problem
                .help("refer to something of the right type; `tidegate plugins NAME` lists the outputs"),
            fitting => problem.help(format!("of the right type: {}", fitting.join(", "))),
        })
    }
}

fn wrong_type(node: Node<'_>, schema: &Value, label: &str) -> Problem {
    let wanted = schema::describe(schema);
    let message = format!("`{label}` must be {wanted}, this is {}", kind(node.get_ref()));
    let problem = Problem::new("wrong-type", node.span(), message);
    let bare = node.get_ref().as_str().filter(|text| {
        serde_json::from_str(text).is_ok_and(|value: Value| Types::of(&value).within(schema::types(schema)))
    });
    let about = schema
        .get("description")
        .and_then(Value::as_str)
        .and_then(|about| about.lines().next());
    match (bare, about) {
        (Some(bare), _) => problem.help(format!("write it without quotes: {bare}")),
        (None, Some(about)) => problem.help(format!("`{label}` is {wanted}: {about}")),
        (None, None) => problem.help(format!("write {wanted}, or a `{{{{ … }}}}` that yields one")),
    }
}

fn types_with_text(schema: &Value) -> bool {
    Types::of(&Value::String(String::new())).within(schema::types(&strip_constants(schema)))
}

/// A text that is put together may become any constant.
fn strip_constants(schema: &Value) -> Value {
    match schema::constants(schema) {
        Some(values) if values.iter().any(|value| value.is_string()) => Value::Bool(true),
        _ => schema.clone(),
    }
}

fn is_closed(schema: &Value) -> bool {
    let composed = ["anyOf", "oneOf", "allOf", "$ref"]
        .iter()
        .any(|key| schema.get(key).is_some());
    match schema.get("additionalProperties") {
        Some(more) => more == &Value::Bool(false),
        None => schema.get("properties").is_some() && !composed,
    }
}

pub(super) fn missing(table: &DeTable<'_>, schema: &Value, place: &Place<'_>) -> Vec<Problem> {
    let required = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let absent = required
        .filter_map(Value::as_str)
        .filter(|key| !table.contains_key(*key));
    let problem = |key: &str| {
        let what = schema
            .pointer(&format!("/properties/{key}"))
            .map_or_else(String::new, |schema| {
                let about = schema
                    .get("description")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let about = about.lines().next().unwrap_or_default();
                let told = schema::describe(schema);
                if about.is_empty() {
                    format!("`{key}` is {told}")
                } else {
                    format!("`{key}` is {told}: {about}")
                }
            });
        let message = format!("`{}` needs the key `{key}`", place.label);
        let problem = Problem::new("missing-key", place.span.clone(), message);
        if what.is_empty() {
            problem
        } else {
            problem.help(what)
        }
    };
    absent.map(problem).collect()
}

fn literal_types(value: &DeValue<'_>) -> Types {
    Types::of(&match value {
        DeValue::String(_) | DeValue::Datetime(_) => Value::String(String::new()),
        DeValue::Integer(_) => Value::from(0),
        DeValue::Float(_) => Value::from(0.5),
        DeValue::Boolean(_) => Value::Bool(true),
        DeValue::Array(_) => Value::Array(Vec::new()),
        DeValue::Table(_) => Value::Object(serde_json::Map::new()),
    })
}

/// A value that is none of the choices.
fn constant(doc: Doc<'_>, node: Node<'_>, choices: &[&Value], label: &str) -> Option<Problem> {
    let own = match node.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(value) => Value::from(i64::from_str_radix(value.as_str(), value.radix()).ok()?),
        _ => return None,
    };
    if choices.contains(&&own) {
        return None;
    }
    let shown = doc.text.get(node.span()).unwrap_or_default();
    let known: Vec<&str> = choices.iter().filter_map(|value| value.as_str()).collect();
    let problem = Problem::new("wrong-value", node.span(), format!("`{label}` cannot be {shown}"));
    let help = suggest::choices(own.as_str().unwrap_or_default(), &known);
    Some(Problem { help, ..problem })
}

fn bounds(node: Node<'_>, schema: &Value, label: &str) -> Option<Problem> {
    let number: f64 = match node.get_ref() {
        DeValue::Integer(value) => i64::from_str_radix(value.as_str(), value.radix()).ok()? as f64,
        DeValue::Float(value) => value.as_str().parse().ok()?,
        _ => return None,
    };
    let limit = |key: &str| schema.get(key).and_then(Value::as_f64);
    let fail = |words: &str, bound: f64| {
        Some(Problem::new(
            "wrong-value",
            node.span(),
            format!("`{label}` must be {words} {bound}"),
        ))
    };
    match (
        limit("minimum"),
        limit("maximum"),
        limit("exclusiveMinimum"),
        limit("exclusiveMaximum"),
    ) {
        (Some(min), ..) if number < min => fail("at least", min),
        (_, Some(max), ..) if number > max => fail("at most", max),
        (_, _, Some(min), _) if number <= min => fail("above", min),
        (.., Some(max)) if number >= max => fail("below", max),
        _ => None,
    }
}
