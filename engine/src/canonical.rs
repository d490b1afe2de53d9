//! One text for one JSON value: what is hashed, here and by whoever verifies.

use std::fmt::Write;

use serde_json::Value;

use crate::gate::decimal::Decimal;

/// Sorted keys, no spaces, numbers by value (`1.0`, `1` and `1e0` are `1`).
pub fn text(value: &Value) -> String {
    let mut text = String::new();
    write_value(value, &mut text);
    text
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
