//! Text that PostgreSQL cannot hold.

use serde_json::Value;

/// JSON without NUL characters, which `jsonb` and `text` refuse: each becomes the six characters `\u0000`.
pub fn clean(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(clean_text(text)),
        Value::Array(items) => Value::Array(items.into_iter().map(clean).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(key, value)| (clean_text(key), clean(value)))
                .collect(),
        ),
        other => other,
    }
}

/// Text without NUL characters.
pub fn clean_text(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\\u0000")
    } else {
        text
    }
}
