//! `approval`: does nothing; its gate is its meaning.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_engine::plugin::{Ctx, Isolation, Plugin, TaskError};

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

    async fn run(&self, _ctx: &Ctx, _input: Input) -> Result<Output, TaskError> {
        Ok(Output {})
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
