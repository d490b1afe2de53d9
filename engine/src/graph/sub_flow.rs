//! Tasks that run another flow and wait for that run.

use serde_json::Value;

use super::Task;
use crate::template::has_expression;

/// The plugin whose attempts make runs.
pub const SUB_FLOW: &str = "flow";

/// Runs that may stand above one another.
pub const MOST_NESTED: usize = 10;

/// The flow that a task with this plugin and `with` runs; `None`: it runs none, or its name is known to a run only.
pub fn sub_flow<'w>(uses: &str, with: &'w Value) -> Option<&'w str> {
    let name = with.get("flow")?.as_str()?;
    (uses == SUB_FLOW && !has_expression(name)).then_some(name)
}

impl Task {
    /// The flow that it runs, where its name is written down.
    pub fn sub_flow(&self) -> Option<&str> {
        sub_flow(&self.uses, &self.with)
    }
}
