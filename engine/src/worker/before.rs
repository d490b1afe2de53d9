//! What comes before the plugin of a task starts: its condition, and the list that it runs for. Both cost no attempt.

use serde_json::Value;

use super::attempt::{Attempting, End};
use crate::graph::{MAX_ITEMS, Task};
use crate::plugin::TaskError;
use crate::template;

impl Attempting<'_> {
    /// How the attempt ends before the plugin starts; `None`: it goes on. Items are what became of all this: they go on.
    pub fn before(&self) -> Result<Option<End>, TaskError> {
        let task = self.claim.task();
        if self.claim.item().is_some() {
            return Ok(None);
        }
        if !self.is_needed(task)? {
            return Ok(Some(End::Unneeded));
        }
        match &task.for_each {
            Some(list) => self.items(list).map(End::Items).map(Some),
            None => Ok(None),
        }
    }

    fn is_needed(&self, task: &Task) -> Result<bool, TaskError> {
        let Some(when) = &task.when else {
            return Ok(true);
        };
        match template::evaluate(when, &self.scope) {
            Ok(Value::Bool(needed)) => Ok(needed),
            Ok(other) => Err(TaskError::fail(format_args!(
                "`when` must be true or false, but `{when}` is {other}"
            ))),
            Err(error) => Err(TaskError::fail_chain(&error)),
        }
    }

    fn items(&self, list: &Value) -> Result<Vec<Value>, TaskError> {
        match template::render_value(list, &self.scope) {
            Ok(Value::Array(items)) if items.len() <= MAX_ITEMS as usize => Ok(items),
            Ok(Value::Array(items)) => Err(TaskError::fail(format_args!(
                "`for_each` has {} items, more than {MAX_ITEMS}: hand on fewer, larger ones",
                items.len()
            ))),
            Ok(other) => Err(TaskError::fail(format_args!(
                "`for_each` must be a list, this is {}",
                kind(&other)
            ))),
            Err(error) => Err(TaskError::fail_chain(&error)),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}
