//! The secrets of an attempt: opened here and nowhere else, and what hides them wherever the attempt speaks.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Shared;
use crate::graph::Task;
use crate::mask::Mask;
use crate::plugin::{HostCall, HostError, TaskError, chain};
use crate::template::secrets_in;

/// Bytes of a variable's value from which on it is hidden: shorter ones are words.
const SHORTEST: usize = 8;
/// Ends of the names of variables whose values are hidden.
const HIDDEN: [&str; 6] = [
    "TOKEN",
    "PASSWORD",
    "SECRET",
    "SECRET_ACCESS_KEY",
    "SECRET_KEY",
    "API_KEY",
];

/// What an attempt may use and must not show.
#[derive(Debug, Default)]
pub(super) struct Vault {
    /// Values by name, as `{{ secrets.NAME }}` sees them.
    pub values: BTreeMap<String, String>,
    /// Hides them, and the credentials of the worker's environment.
    pub mask: Mask,
}

/// Hides the credentials that a worker hands to all its plugins.
pub(super) fn mask_of(env: &BTreeMap<String, String>) -> Mask {
    let hidden = |(name, value): &(&String, &String)| {
        value.len() >= SHORTEST && HIDDEN.iter().any(|end| name.ends_with(end))
    };
    Mask::new(env.iter().filter(hidden).map(|(_, value)| value.clone()))
}

/// Opens the secrets that a task names.
pub(super) async fn open(shared: &Shared, task: &Task) -> Result<Vault, TaskError> {
    let names = named(task);
    if names.is_empty() {
        return Ok(Vault {
            values: BTreeMap::new(),
            mask: shared.mask.clone(),
        });
    }
    let sealed = shared
        .store
        .sealed(&names)
        .await
        .map_err(|e| TaskError::retry_chain(&e))?;
    if let Some(name) = names
        .iter()
        .find(|name| sealed.iter().all(|(there, _)| there != *name))
    {
        return Err(TaskError::fail(format_args!(
            "there is no secret `{name}`; an admin sets it with `tidegate secret set {name}`"
        )));
    }
    let key = shared
        .config
        .secret_key
        .load()
        .map_err(|e| TaskError::fail_chain(&e))?;
    let mut values = BTreeMap::new();
    for (name, sealed) in &sealed {
        let value = key.open(name, sealed).map_err(|e| TaskError::fail(chain(&e)))?;
        values.insert(name.clone(), value);
    }
    let mask = shared.mask.and(values.values().cloned());
    Ok(Vault { values, mask })
}

fn named(task: &Task) -> BTreeSet<String> {
    let mut names = secrets_in(&task.with);
    for text in task.env.values() {
        names.extend(secrets_in(&Value::String(text.clone())));
    }
    names
}

impl Vault {
    /// What `with` and `env` may name: the scope, and the secrets.
    pub(super) fn unlock<'s>(&self, scope: &'s Value) -> Cow<'s, Value> {
        let mut scope = Cow::Borrowed(scope);
        if !self.values.is_empty()
            && let Value::Object(names) = scope.to_mut()
        {
            names.insert("secrets".to_owned(), serde_json::json!(self.values));
        }
        scope
    }
}

/// An error without what must not be seen.
pub(super) fn hide_error(mask: &Mask, error: TaskError) -> TaskError {
    let hide = |message: String| mask.hide(&message);
    match error {
        TaskError::Retry { message } => TaskError::Retry {
            message: hide(message),
        },
        TaskError::Later { message, after } => TaskError::Later {
            message: hide(message),
            after,
        },
        TaskError::Fail { message } => TaskError::Fail {
            message: hide(message),
        },
        TaskError::WorldMoved { message } => TaskError::WorldMoved {
            message: hide(message),
        },
        TaskError::Parked(mut parking) => {
            parking.note = hide(parking.note);
            parking.memory = mask.hide_value(parking.memory);
            TaskError::Parked(parking)
        }
        TaskError::SubRun { end, message } => TaskError::SubRun {
            end,
            message: hide(message),
        },
        TaskError::Cancelled => TaskError::Cancelled,
    }
}

/// A call without what must not be seen.
pub(super) fn hide_call(mask: &Mask, call: HostCall) -> Result<HostCall, HostError> {
    if mask.is_empty() {
        return Ok(call);
    }
    let refused = |error: serde_json::Error| HostError::Refused {
        message: format!("what was asked cannot be passed on: {error}"),
    };
    let value = serde_json::to_value(&call).map_err(refused)?;
    serde_json::from_value(mask.hide_value(value)).map_err(refused)
}
