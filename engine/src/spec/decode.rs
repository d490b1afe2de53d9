//! Reads typed values out of toml's spanned tree and notes every wrong one, with its place.

use std::ops::Range;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::diagnostic::{Problem, Problems};
use crate::duration;

/// A value with its place.
pub(super) type Node<'d> = &'d Spanned<DeValue<'d>>;

/// A text with its place, quotes included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub value: String,
    pub span: Range<usize>,
}

/// The document that is read, and the problems found in it.
#[derive(Clone, Copy)]
pub(super) struct Doc<'d> {
    pub text: &'d str,
    pub problems: &'d Problems,
}

/// What a value is, for messages.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

impl<'d> Doc<'d> {
    pub(super) fn report(self, code: &'static str, span: Range<usize>, message: impl Into<String>) {
        self.problems.add(Problem::new(code, span, message));
    }

    fn wrong_type(self, node: Node<'d>, label: &str, wanted: &str) {
        let message = format!("`{label}` must be {wanted}, this is {}", kind(node.get_ref()));
        self.report("wrong-type", node.span(), message);
    }

    pub(super) fn text(self, node: Node<'d>, label: &str) -> Option<Text> {
        let Some(text) = node.get_ref().as_str() else {
            self.wrong_type(node, label, "a string");
            return None;
        };
        if text.contains('\0') {
            self.report(
                "wrong-value",
                node.span(),
                format!("`{label}` holds a NUL character"),
            );
        }
        Some(Text {
            value: text.to_owned(),
            span: node.span(),
        })
    }

    pub(super) fn boolean(self, node: Node<'d>, label: &str) -> Option<bool> {
        let found = node.get_ref().as_bool();
        if found.is_none() {
            self.wrong_type(node, label, "true or false");
        }
        found
    }

    pub(super) fn integer(self, node: Node<'d>, label: &str) -> Option<i64> {
        let DeValue::Integer(found) = node.get_ref() else {
            self.wrong_type(node, label, "an integer");
            return None;
        };
        let parsed = i64::from_str_radix(found.as_str(), found.radix()).ok();
        if parsed.is_none() {
            self.report(
                "wrong-value",
                node.span(),
                format!("`{label}` does not fit 64 bits"),
            );
        }
        parsed
    }

    /// An integer between `min` and `max`.
    pub(super) fn count(self, node: Node<'d>, label: &str, range: Range<i64>) -> Option<u32> {
        let value = self.integer(node, label)?;
        if !range.contains(&value) {
            let message = format!("`{label}` must be between {} and {}", range.start, range.end - 1);
            self.report("wrong-value", node.span(), message);
            return None;
        }
        u32::try_from(value).ok()
    }

    /// A finite number.
    pub(super) fn number(self, node: Node<'d>, label: &str) -> Option<f64> {
        let value = match node.get_ref() {
            DeValue::Integer(_) => self.integer(node, label)? as f64,
            DeValue::Float(float) => float.as_str().parse().unwrap_or(f64::NAN),
            _ => {
                self.wrong_type(node, label, "a number");
                return None;
            }
        };
        if !value.is_finite() {
            let problem = Problem::new(
                "not-finite",
                node.span(),
                format!("`{label}` must be a finite number"),
            );
            self.problems
                .add(problem.help("nothing compares with nan and inf; write the number itself"));
            return None;
        }
        Some(value)
    }

    pub(super) fn list(self, node: Node<'d>, label: &str) -> Option<&'d DeArray<'d>> {
        let found = node.get_ref().as_array();
        if found.is_none() {
            self.wrong_type(node, label, "a list");
        }
        found
    }

    pub(super) fn texts(self, node: Node<'d>, label: &str) -> Vec<Text> {
        let items = self.list(node, label).into_iter().flat_map(|items| items.iter());
        let items = items.enumerate();
        items
            .filter_map(|(at, item)| self.text(item, &format!("{label}[{at}]")))
            .collect()
    }

    /// A duration above zero.
    pub(super) fn duration(self, node: Node<'d>, label: &str) -> Option<Duration> {
        if !node.get_ref().is_str() {
            let shown = self.text.get(node.span()).unwrap_or_default();
            let message = format!("`{label}` must be a duration, this is {}", kind(node.get_ref()));
            let mut problem = Problem::new("wrong-type", node.span(), message);
            if node.get_ref().is_integer() {
                problem = problem.help(format!("write \"{shown}s\", \"{shown}m\" or \"{shown}h\""));
            }
            self.problems.add(problem);
            return None;
        }
        let text = self.text(node, label)?;
        match duration::parse(&text.value) {
            Ok(found) if found.is_zero() => {
                self.report(
                    "bad-duration",
                    text.span,
                    format!("`{label}` must be longer than nothing"),
                );
                None
            }
            Ok(found) => Some(found),
            Err(error) => {
                self.report(
                    "bad-duration",
                    text.span,
                    format!("`{label}` is no duration: {error}"),
                );
                None
            }
        }
    }

    /// Any value as JSON: dates become their text; what is not finite or too large is noted and becomes null.
    pub(super) fn json(self, node: Node<'d>, label: &str) -> Value {
        match node.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Datetime(value) => Value::String(value.to_string()),
            DeValue::Integer(_) => self.integer(node, label).map_or(Value::Null, Value::from),
            DeValue::Float(_) => self.number(node, label).map_or(Value::Null, Value::from),
            DeValue::Array(items) => items.iter().map(|item| self.json(item, label)).collect(),
            DeValue::Table(table) => {
                let entry = |(key, item): (&'d Spanned<_>, _)| {
                    let key: &std::borrow::Cow<'d, str> = key.get_ref();
                    (key.to_string(), self.json(item, &format!("{label}.{key}")))
                };
                Value::Object(table.iter().map(entry).collect::<Map<_, _>>())
            }
        }
    }

    /// A table whose keys are all among `keys`.
    pub(super) fn section(self, node: Node<'d>, label: &str, keys: &[&str]) -> Option<Section<'d>> {
        let section = self.open(node, label)?;
        section.only(keys);
        Some(section)
    }

    /// A table with keys of any name.
    pub(super) fn open(self, node: Node<'d>, label: &str) -> Option<Section<'d>> {
        let Some(table) = node.get_ref().as_table() else {
            self.wrong_type(node, label, "a table");
            return None;
        };
        Some(Section {
            doc: self,
            table,
            span: node.span(),
            label: label.to_owned(),
        })
    }

    /// Where a part of a text stands in the source: the part itself where the text holds no escapes, else the whole.
    pub(super) fn place(self, text: &Text, part: Range<usize>) -> Range<usize> {
        let raw = self.text.get(text.span.clone()).unwrap_or_default();
        let quote = if raw.starts_with("\"\"\"") || raw.starts_with("'''") {
            3
        } else {
            1
        };
        let body = raw
            .get(quote..raw.len().saturating_sub(quote))
            .unwrap_or_default();
        let skipped = if quote == 3 {
            body.len() - body.trim_start_matches('\r').len()
        } else {
            0
        };
        let skipped = if quote == 3 && body[skipped..].starts_with('\n') {
            skipped + 1
        } else {
            0
        };
        if body.get(skipped..) == Some(text.value.as_str()) {
            let start = text.span.start + quote + skipped;
            return start + part.start..start + part.end;
        }
        let shown = text.value.get(part).unwrap_or_default();
        match raw.find(shown) {
            Some(at) if !shown.is_empty() && raw.matches(shown).count() == 1 => {
                text.span.start + at..text.span.start + at + shown.len()
            }
            _ => text.span.clone(),
        }
    }
}

/// A table that is being read.
pub(super) struct Section<'d> {
    pub doc: Doc<'d>,
    pub table: &'d DeTable<'d>,
    pub span: Range<usize>,
    pub label: String,
}

impl<'d> Section<'d> {
    pub(super) fn only(&self, keys: &[&str]) {
        for key in self
            .table
            .keys()
            .filter(|key| !keys.contains(&key.get_ref().as_ref()))
        {
            let name = key.get_ref().as_ref();
            let problem = Problem::new(
                "unknown-key",
                key.span(),
                format!("unknown key `{name}` in {}", self.label),
            );
            self.doc.problems.add_unknown(problem, name, keys.iter().copied());
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Node<'d>> {
        self.table.get(key)
    }

    /// Place of a key's value, or of the table's head.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.get(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// All entries in file order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Text, Node<'d>)> + use<'d> {
        self.table.iter().map(|(key, node)| {
            (
                Text {
                    value: key.get_ref().to_string(),
                    span: key.span(),
                },
                node,
            )
        })
    }

    pub(super) fn text(&self, key: &str) -> Option<Text> {
        self.doc.text(self.get(key)?, key)
    }

    /// The text of a key that must be there.
    pub(super) fn required(&self, key: &str) -> Option<Text> {
        if self.get(key).is_none() {
            let message = format!("{} needs the key `{key}`", self.label);
            self.doc.report("missing-key", self.span.clone(), message);
        }
        self.text(key)
    }

    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        self.doc.boolean(self.get(key)?, key)
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        self.doc.number(self.get(key)?, key)
    }

    pub(super) fn count(&self, key: &str, range: Range<i64>) -> Option<u32> {
        self.doc.count(self.get(key)?, key, range)
    }

    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        self.doc.duration(self.get(key)?, key)
    }

    pub(super) fn texts(&self, key: &str) -> Vec<Text> {
        self.get(key)
            .map_or_else(Vec::new, |node| self.doc.texts(node, key))
    }

    /// One of a few words, as serde names the variants of `T`.
    pub(super) fn choice<T: DeserializeOwned>(&self, key: &str, words: &[&str]) -> Option<T> {
        let text = self.text(key)?;
        if !words.contains(&text.value.as_str()) {
            let message = format!("`{key}` knows no \"{}\"", text.value);
            let problem = Problem::new("wrong-value", text.span, message);
            self.doc
                .problems
                .add_unknown(problem, &text.value, words.iter().copied());
            return None;
        }
        serde_json::from_value(Value::String(text.value)).ok()
    }

    /// The tables of `[[key]]`, or of a list of tables.
    pub(super) fn tables(&self, key: &str) -> Vec<Node<'d>> {
        let items = self.get(key).and_then(|node| self.doc.list(node, key));
        items.into_iter().flat_map(|items| items.iter()).collect()
    }
}
