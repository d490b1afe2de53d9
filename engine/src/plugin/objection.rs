//! What a plugin finds wrong in a flow file that fits its schema.

use serde_json::Value;

use crate::duration;
use crate::template::has_expression;

/// Why a key is refused that is right by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Beside the others it has no effect.
    Idle,
    /// With it, or without it, no attempt could ever work.
    Hopeless,
}

/// A key that does not go with the others, or a value that can never work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// Why it is refused.
    pub fault: Fault,
    /// The key: at the top of `with`, or of the task.
    pub key: String,
    /// What is wrong, a sentence without its full stop.
    pub message: String,
    /// The way out.
    pub help: String,
}

impl Objection {
    /// A key that has no effect.
    pub fn idle(key: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            fault: Fault::Idle,
            key: key.to_owned(),
            message: message.into(),
            help: help.into(),
        }
    }

    /// A key with whose value, or without which, no attempt could work.
    pub fn hopeless(key: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            fault: Fault::Hopeless,
            ..Self::idle(key, message, help)
        }
    }
}

/// Whether a key of a `with` as written is given.
pub fn is_given(with: &Value, key: &str) -> bool {
    with.get(key).is_some_and(|value| !value.is_null())
}

/// A text of a `with` as written; `None`: there is none, or only a run knows what becomes of it.
pub fn literal<'w>(with: &'w Value, key: &str) -> Option<&'w str> {
    let text = with.get(key)?.as_str()?;
    (!has_expression(text)).then_some(text)
}

/// Keys of a task that its plugin never looks at.
pub fn unread(keys: &[&str]) -> Vec<Objection> {
    let unread = |key: &&str| {
        let message = format!("`{key}` has no effect: the plugin does not look at it");
        Objection::idle(key, message, "leave it out")
    };
    keys.iter().map(unread).collect()
}

/// Those of the keys whose texts are no durations.
pub fn no_durations(with: &Value, keys: &[&str]) -> Vec<Objection> {
    let wrong = |key: &&str| {
        let error = duration::parse(literal(with, key)?).err()?;
        let message = format!("`{key}` is no duration: {error}");
        Some(Objection::hopeless(
            key,
            message,
            "durations are like \"90s\", \"15m\", \"3h\" or \"30d\"",
        ))
    };
    keys.iter().filter_map(wrong).collect()
}
