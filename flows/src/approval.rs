//! `approval`: does nothing; its gate is its meaning.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_engine::plugin::{Ctx, Isolation, Objection, Plugin, TaskError, unread};

/// A task that waits for people and then has nothing left to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Approval;

/// Nothing to configure: who decides stands in the task's gate.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {}

/// Nothing to hand on: the decision stands in the ledger.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Output {}

#[async_trait]
impl Plugin for Approval {
    type Input = Input;
    type Output = Output;

    const NAME: &'static str = "approval";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str = "Does nothing: its gate is its meaning";
    const ISOLATION: Isolation = Isolation::Inline;
    const FOLDERS: bool = false;
    const ACTS: bool = true;

    async fn run(&self, _ctx: &Ctx, _input: Input) -> Result<Output, TaskError> {
        Ok(Output {})
    }

    fn idle_keys(_with: &Value) -> Vec<Objection> {
        let timeout = Objection::idle(
            "timeout",
            "`timeout` bounds an attempt, and while people think this task has none",
            "say how long they may take: `expires` in the `approval` of its gate",
        );
        let pool = Objection::idle(
            "pool",
            "`pool` bounds attempts, and while people think this task holds no slot",
            "leave it out, and put `pool` on the tasks that need it",
        );
        let mut found = unread(&["env", "files"]);
        found.extend([timeout, pool]);
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "tests fail by panicking"
    )]

    use serde_json::json;
    use tidegate_engine::plugin::TaskError;

    use crate::testing::Bench;

    #[tokio::test]
    async fn it_succeeds_with_no_outputs_and_takes_no_inputs() {
        let bench = Bench::new();
        assert_eq!(bench.run("approval", json!({})).await, Ok(json!({})));
        let refused = bench.run("approval", json!({"by": "me"})).await;
        assert!(
            matches!(refused, Err(TaskError::Fail { message }) if message.contains("unknown field `by`"))
        );
    }
}
