//! Reasoning over the JSON Schemas of plugins: what a path leads to, and whether one value could ever fit another.
//!
//! It errs on the side of letting pass: what it cannot follow (`$ref`, `not`, `if`) counts as "any".

use serde_json::Value;

use crate::template::Step;

/// Types that a value may have, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Types(u8);

const NULL: u8 = 1;
const BOOLEAN: u8 = 2;
const INTEGER: u8 = 4;
const FRACTION: u8 = 8;
const STRING: u8 = 16;
const ARRAY: u8 = 32;
const OBJECT: u8 = 64;
const ALL: u8 = 127;

/// How deep schemas are followed.
const DEPTH: usize = 16;

static ANY: Value = Value::Bool(true);

impl Types {
    /// The type of a JSON value; `1.0` is a fraction.
    pub fn of(value: &Value) -> Self {
        Self(match value {
            Value::Null => NULL,
            Value::Bool(_) => BOOLEAN,
            Value::Number(n) if n.is_f64() => FRACTION,
            Value::Number(_) => INTEGER,
            Value::String(_) => STRING,
            Value::Array(_) => ARRAY,
            Value::Object(_) => OBJECT,
        })
    }

    /// Whether a value of these types may be one of those. An integer is a number.
    pub fn within(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether every type is possible.
    pub fn is_any(self) -> bool {
        self.0 == ALL
    }
}

fn named(name: &str) -> u8 {
    match name {
        "null" => NULL,
        "boolean" => BOOLEAN,
        "integer" => INTEGER,
        "number" => INTEGER | FRACTION,
        "string" => STRING,
        "array" => ARRAY,
        "object" => OBJECT,
        _ => ALL,
    }
}

/// The types that a schema lets pass.
pub fn types(schema: &Value) -> Types {
    Types(type_bits(schema, 0))
}

fn type_bits(schema: &Value, depth: usize) -> u8 {
    let Value::Object(map) = schema else {
        return if schema == &Value::Bool(false) { 0 } else { ALL };
    };
    if depth > DEPTH {
        return ALL;
    }
    let mut bits = match map.get("type") {
        Some(Value::String(name)) => named(name),
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .fold(0, |bits, n| bits | named(n)),
        _ => ALL,
    };
    if let Some(values) = constants(schema) {
        bits &= values.iter().fold(0, |bits, value| bits | Types::of(value).0);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(Value::Array(options)) = map.get(key) {
            bits &= options
                .iter()
                .fold(0, |bits, option| bits | type_bits(option, depth + 1));
        }
    }
    if let Some(Value::Array(parts)) = map.get("allOf") {
        bits = parts
            .iter()
            .fold(bits, |bits, part| bits & type_bits(part, depth + 1));
    }
    bits
}

/// The values that a schema names one by one (`const`, `enum`).
pub fn constants(schema: &Value) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(Value::Array(values))) => Some(values.iter().collect()),
        _ => None,
    }
}

/// The alternatives of a schema, `anyOf` and `oneOf` opened; itself where there are none.
pub fn alternatives(schema: &Value) -> Vec<&Value> {
    let mut found = Vec::new();
    open(schema, 0, &mut found);
    found
}

fn open<'s>(schema: &'s Value, depth: usize, found: &mut Vec<&'s Value>) {
    let options = ["anyOf", "oneOf"]
        .iter()
        .find_map(|key| schema.get(key)?.as_array());
    match options {
        Some(options) if depth < DEPTH && schema.get("properties").is_none() => {
            options.iter().for_each(|option| open(option, depth + 1, found));
        }
        _ => found.push(schema),
    }
}

/// What a step of a path leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Found<'s> {
    /// A value of this schema.
    Schema(&'s Value),
    /// Nothing; what there is instead.
    Missing(Vec<&'s str>),
}

/// Follows one step into a value of `schema`.
pub fn step<'s>(schema: &'s Value, step: &Step) -> Found<'s> {
    let mut known = Vec::new();
    let mut hits: Vec<&Value> = Vec::new();
    for option in alternatives(schema) {
        match step_into(option, step) {
            Found::Schema(hit) => hits.push(hit),
            Found::Missing(names) => known.extend(names),
        }
    }
    match hits.as_slice() {
        [] => Found::Missing(known),
        [one] => Found::Schema(one),
        [first, rest @ ..] if rest.iter().all(|hit| hit == first) => Found::Schema(first),
        _ => Found::Schema(&ANY),
    }
}

fn step_into<'s>(schema: &'s Value, step: &Step) -> Found<'s> {
    let bits = type_bits(schema, 0);
    match step {
        Step::Key(key) if bits & OBJECT != 0 => property(schema, key),
        Step::Index(_) if bits & ARRAY != 0 => Found::Schema(schema.get("items").unwrap_or(&ANY)),
        _ => Found::Missing(Vec::new()),
    }
}

fn property<'s>(schema: &'s Value, key: &str) -> Found<'s> {
    let properties = schema.get("properties").and_then(Value::as_object);
    if let Some(found) = properties.and_then(|p| p.get(key)) {
        return Found::Schema(found);
    }
    let composed = ["anyOf", "oneOf", "allOf", "$ref"]
        .iter()
        .any(|key| schema.get(key).is_some());
    match (schema.get("additionalProperties"), properties) {
        (None, Some(_)) if composed => Found::Schema(&ANY),
        (Some(Value::Bool(false)), None) => Found::Missing(Vec::new()),
        (None | Some(Value::Bool(false)), Some(p)) => Found::Missing(p.keys().map(String::as_str).collect()),
        (Some(more), _) => Found::Schema(more),
        (None, None) => Found::Schema(&ANY),
    }
}

/// Whether some value of `from` could be a value of `to`.
pub fn could_fit(from: &Value, to: &Value) -> bool {
    fits(from, to, 0)
}

fn fits(from: &Value, to: &Value, depth: usize) -> bool {
    if depth > DEPTH {
        return true;
    }
    let targets = alternatives(to);
    alternatives(from)
        .iter()
        .any(|f| targets.iter().any(|t| fits_one(f, t, depth)))
        || (type_bits(from, 0) == NULL && type_bits(to, 0) & NULL != 0)
}

fn fits_one(from: &Value, to: &Value, depth: usize) -> bool {
    // Two optional values of different types share only null; that is a mistake, not a fit.
    let common = type_bits(from, 0) & type_bits(to, 0) & !NULL;
    if let (Some(a), Some(b)) = (constants(from), constants(to)) {
        return a.iter().any(|value| b.contains(value));
    }
    match common {
        0 => false,
        OBJECT => objects_fit(from, to, depth),
        ARRAY => match (from.get("items"), to.get("items")) {
            (Some(from), Some(to)) => fits(from, to, depth + 1),
            _ => true,
        },
        _ => true,
    }
}

fn names<'s>(schema: &'s Value, key: &str) -> Vec<&'s str> {
    schema
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn objects_fit(from: &Value, to: &Value, depth: usize) -> bool {
    let missing = names(to, "required")
        .into_iter()
        .any(|key| matches!(property(from, key), Found::Missing(_)));
    let closed = to.get("additionalProperties") == Some(&Value::Bool(false));
    let refused = closed
        && names(from, "required")
            .into_iter()
            .any(|key| matches!(property(to, key), Found::Missing(_)));
    let shared = from
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let clash = shared.filter_map(|(key, schema)| Some((schema, to.get("properties")?.get(key)?)));
    let required = names(to, "required");
    let clash = clash
        .into_iter()
        .any(|(from, to)| !required.is_empty() && !fits(from, to, depth + 1));
    !(missing || refused || clash)
}

/// A schema in words: "an integer", "a string or null", "an object with `name`, `uri`".
pub fn describe(schema: &Value) -> String {
    if let Some(values) = constants(schema).filter(|values| values.len() > 1) {
        let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
        return format!("one of {}", shown.join(", "));
    }
    let mut parts: Vec<String> = Vec::new();
    for option in alternatives(schema) {
        for part in describe_one(option) {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
    }
    parts.join(" or ")
}

fn describe_one(schema: &Value) -> Vec<String> {
    if let Some([value]) = constants(schema).as_deref() {
        return vec![value.to_string()];
    }
    let bits = type_bits(schema, 0);
    if bits == ALL {
        return vec!["any value".to_owned()];
    }
    let mut parts = Vec::new();
    let mut add = |bit: u8, text: &str| {
        if bits & bit != 0 {
            parts.push(text.to_owned());
        }
    };
    add(FRACTION, "a number");
    if bits & FRACTION == 0 {
        add(INTEGER, "an integer");
    }
    add(STRING, "a string");
    add(BOOLEAN, "a boolean");
    add(ARRAY, "a list");
    add(OBJECT, &object_words(schema));
    add(NULL, "null");
    parts
}

fn object_words(schema: &Value) -> String {
    let properties = schema.get("properties").and_then(Value::as_object);
    let names: Vec<String> = properties
        .into_iter()
        .flatten()
        .take(6)
        .map(|(key, _)| format!("`{key}`"))
        .collect();
    if names.is_empty() {
        "a table".to_owned()
    } else {
        format!("a table with {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "tests fail by panicking")]
    use super::*;
    use serde_json::json;

    fn artifact() -> Value {
        json!({"type": "object", "required": ["uri", "size"], "additionalProperties": false,
               "properties": {"uri": {"type": "string"}, "size": {"type": "integer"}}})
    }

    #[test]
    fn what_can_never_fit_is_told_from_what_may() {
        let optional = json!({"anyOf": [artifact(), {"type": "null"}]});
        let text = json!({"type": "string"});
        let fit = |a: &Value, b: &Value| could_fit(a, b);
        assert!(fit(&optional, &artifact()) && fit(&artifact(), &optional) && fit(&text, &json!(true)));
        assert!(!fit(&artifact(), &text) && !fit(&text, &json!({"type": "integer"})));
        assert!(!fit(
            &json!({"type": ["string", "null"]}),
            &json!({"type": ["integer", "null"]})
        ));
        assert!(fit(&json!({"type": "integer"}), &json!({"type": "number"})));
        let other =
            json!({"type": "object", "required": ["value"], "properties": {"value": {"type": "number"}}});
        assert!(!fit(&other, &artifact()) && !fit(&artifact(), &other));
        assert!(!fit(&json!({"enum": ["a"]}), &json!({"enum": ["b", "c"]})));
        assert!(fit(&text, &json!({"enum": ["b", "c"]})));
        assert!(!fit(
            &json!({"type": "array", "items": text}),
            &json!({"type": "array", "items": artifact()})
        ));
    }

    #[test]
    fn a_path_is_followed_into_objects_maps_and_lists() {
        let schema = json!({"type": "object", "properties": {
            "metrics": {"type": "object", "additionalProperties": {"type": "number"}},
            "list": {"type": "array", "items": artifact()}}});
        let key = |s: &str| Step::Key(s.to_owned());
        let Found::Schema(metrics) = step(&schema, &key("metrics")) else {
            panic!("metrics")
        };
        assert_eq!(
            step(metrics, &key("anything")),
            Found::Schema(&json!({"type": "number"}))
        );
        let Found::Schema(list) = step(&schema, &key("list")) else {
            panic!("list")
        };
        assert_eq!(step(list, &Step::Index(0)), Found::Schema(&artifact()));
        assert_eq!(
            step(&schema, &key("metric")),
            Found::Missing(vec!["metrics", "list"])
        );
        assert_eq!(step(list, &key("x")), Found::Missing(vec![]));
    }

    #[test]
    fn a_schema_is_told_in_words() {
        assert_eq!(describe(&json!({"type": ["string", "null"]})), "a string or null");
        assert_eq!(
            describe(&json!({"anyOf": [artifact(), {"type": "null"}]})),
            "a table with `uri`, `size` or null"
        );
        assert_eq!(describe(&json!({"enum": ["a", "b"]})), "one of \"a\", \"b\"");
        assert_eq!(describe(&json!(true)), "any value");
    }
}
