//! `flow`: a run of another flow, waited for.
//!
//! The first attempt makes the run and parks: no slot, no lease, nothing that runs. The end of the run wakes the task run, whose next
//! attempt ends like it. Whatever becomes of attempts, a try of the task makes one run; another try, after a run that did not
//! succeed, makes another.

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tidegate_engine::graph::{EndState, SUB_FLOW};
use tidegate_engine::plugin::{
    Ctx, Isolation, Objection, Parking, Plugin, Preview, SubAnswer, SubFlow, SubRun, TaskError, WaitsFor,
    unread,
};

/// Bytes of outputs as JSON, at most.
const OUTPUT_CAP: usize = 1 << 20;

/// The plugin.
pub struct Flow;

/// Its `with`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The flow that is run, in the version that is current then.
    pub flow: String,
    /// Its params; those that are not given have their defaults.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// The tasks of that flow whose outputs are handed on; default: all.
    #[serde(default)]
    pub outputs: Option<Vec<String>>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Output {
    /// The run.
    pub run: String,
    /// Its flow.
    pub flow: String,
    /// Hash of the flow version that it ran.
    pub version: String,
    /// How it ended: `succeeded`.
    pub state: String,
    /// What its tasks handed on, by name; null where one was skipped.
    pub outputs: Map<String, Value>,
}

impl Input {
    /// Params are stored and shown: what is hidden here would be wrong there.
    fn wanted(self, ctx: &Ctx) -> Result<SubFlow, TaskError> {
        let params = Value::Object(self.params.clone());
        if ctx.mask.hide_value(params.clone()) != params {
            return Err(TaskError::fail(
                "a secret cannot be a param, which is stored and shown: let a task of the flow name it itself",
            ));
        }
        Ok(SubFlow {
            flow: self.flow,
            params: self.params,
            outputs: self.outputs,
        })
    }
}

fn parked(ctx: &Ctx, flow: &str, made: &SubRun) -> TaskError {
    if made.made {
        ctx.info(format!(
            "made run {} of {flow}, version {} ({})",
            made.run, made.number, made.version
        ));
    }
    TaskError::Parked(Box::new(Parking {
        waits_for: WaitsFor::SubRun,
        until: None,
        note: format!("waits for run {} of {flow}", made.run),
        memory: json!({ "run": made.run }),
    }))
}

/// How the task ends with its run.
fn ended(flow: String, (made, end): (SubRun, EndState)) -> Result<Output, TaskError> {
    if end != EndState::Succeeded {
        let why = made
            .reason
            .map(|reason| format!(" ({})", reason.replace('_', " ")))
            .unwrap_or_default();
        let message = format!("run {} of {flow} ended {}{why}", made.run, end.as_str());
        return Err(TaskError::SubRun { end, message });
    }
    let size = Value::Object(made.outputs.clone()).to_string().len();
    if size > OUTPUT_CAP {
        return Err(TaskError::fail(format_args!(
            "the outputs of run {} are {size} bytes of JSON, more than {OUTPUT_CAP}; name the tasks whose outputs you need: outputs = [\"…\"]",
            made.run
        )));
    }
    Ok(Output {
        run: made.run.to_string(),
        flow,
        version: made.version.to_string(),
        state: end.as_str().to_owned(),
        outputs: made.outputs,
    })
}

#[async_trait]
impl Plugin for Flow {
    type Input = Input;
    type Output = Output;

    const NAME: &'static str = SUB_FLOW;
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str = "Makes a run of another flow and waits for it, and holds nothing meanwhile";
    const ISOLATION: Isolation = Isolation::Inline;
    const FOLDERS: bool = false;
    const ACTS: bool = true;

    async fn run(&self, ctx: &Ctx, input: Input) -> Result<Output, TaskError> {
        ctx.checkpoint()?;
        let wanted = input.wanted(ctx)?;
        match ctx.sub_run(&wanted).await? {
            SubAnswer::Frozen { freeze, until, why } => Err(TaskError::Parked(Box::new(Parking {
                waits_for: WaitsFor::Timer,
                until: Some(until),
                note: format!("flow {} is {why}", wanted.flow),
                memory: json!({ "freeze": freeze }),
            }))),
            SubAnswer::Run(made) => match made.end {
                None => Err(parked(ctx, &wanted.flow, &made)),
                Some(end) => ended(wanted.flow, (made, end)),
            },
        }
    }

    async fn preview(&self, ctx: &Ctx, input: Input) -> Result<Preview, TaskError> {
        let wanted = input.wanted(ctx)?;
        let params = Value::Object(wanted.params);
        Ok(Preview {
            sentence: Some(format!("runs flow {} with {params}", wanted.flow)),
            world: Value::Null,
        })
    }

    fn idle_keys(_with: &Value) -> Vec<Objection> {
        let timeout = Objection::idle(
            "timeout",
            "`timeout` bounds an attempt, and while its run goes on this task has none",
            "bound the run: `timeout` in [flow] of the flow that it runs",
        );
        let pool = Objection::idle(
            "pool",
            "`pool` bounds attempts, and while its run goes on this task holds no slot",
            "bound the runs: `max_active` in [flow] of the flow that it runs, or `pool` on its tasks",
        );
        let mut found = unread(&["env", "files"]);
        found.extend([timeout, pool]);
        found
    }
}
