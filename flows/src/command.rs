//! `command`: any program as a task. Files and environment in, files and an exit code out; what it prints is only log.
//!
//! The program finds `TIDEGATE_CONTEXT` (a JSON file: params, inputs, run), writes `TIDEGATE_OUTPUT` (`{"v": 1, "outputs": {…},
//! "artifacts": [{"name", "path"}]}`), appends to `TIDEGATE_EVENTS` while it runs, and leaves `TIDEGATE_FAILURE` (`{"message",
//! "retryable"}`) when it fails. Exit codes: 0 done; 75 try again; 64, 65, 78 don't; any other, and signals: by the retry policy.

mod context;
mod events;
mod log;
mod outputs;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tidegate_engine::plugin::{Ctx, Isolation, Level, Objection, Plugin, TaskError, is_given};
use tidegate_engine::worker::lived;
use tokio::process::{Child, Command as Process};

use context::Files;
use events::Tail;
use log::Log;
use tree::Tree;

/// How long a program has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(10);
/// How long output is still read after the program's end: a grandchild may hold the pipe for ever.
const DRAIN: Duration = Duration::from_secs(2);

/// The plugin.
pub struct Command;

/// Its `with`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The program and its arguments, passed on as they are. Either this or `shell`.
    #[serde(default)]
    pub argv: Vec<String>,
    /// A text for `/bin/sh -c`. Never put values into it: they are in the context file.
    #[serde(default)]
    pub shell: Option<String>,
    /// Values for the program, under `inputs` of the context file; datasets get a `path` beside their `uri`.
    #[serde(default)]
    pub inputs: BTreeMap<String, Value>,
    /// The outputs the program promises: name = type.
    #[serde(default)]
    pub outputs: BTreeMap<String, OutputType>,
    /// Variables of the environment whose values must not be seen in logs, errors and outputs.
    #[serde(default)]
    pub secret_env: Vec<String>,
}

/// The type of a promised output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputType {
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// A finite number.
    Number,
    /// true or false.
    Boolean,
    /// A list of anything.
    List,
    /// A table of anything.
    Object,
}

impl OutputType {
    fn json(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::List => "array",
            Self::Object => "object",
        }
    }
}

/// What the flow file declares in `with.outputs`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Output(pub Map<String, Value>);

impl Input {
    fn process(&self) -> Result<Process, TaskError> {
        match (&self.argv[..], &self.shell) {
            ([program, arguments @ ..], None) => {
                let mut process = Process::new(program);
                process.args(arguments);
                Ok(process)
            }
            ([], Some(text)) => {
                let mut process = Process::new("/bin/sh");
                process.arg("-c").arg(text);
                Ok(process)
            }
            _ => Err(TaskError::fail(
                "give either `argv` (a list, the program first) or `shell` (a text)",
            )),
        }
    }
}

async fn start(ctx: &Ctx, input: &Input, files: &Files) -> Result<Child, TaskError> {
    let mut process = input.process()?;
    let variables = context::environment(ctx, files);
    process
        .env_clear()
        .envs(variables)
        .current_dir(&ctx.folders.work)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    tree::separate(&mut process);
    let program = input.argv.first().map_or("/bin/sh", String::as_str);
    lived::spawn(process).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => TaskError::fail(format_args!(
            "can't start `{program}`: {e}; is it on the worker's PATH and executable?"
        )),
        _ => TaskError::retry(format_args!("can't start `{program}`: {e}")),
    })
}

enum Ended {
    Itself(ExitStatus),
    Stopped,
}

/// Waits for the program's end or the attempt's, passing on what it says meanwhile.
async fn attend(ctx: &Ctx, child: &mut Child, tree: &Tree, tail: &mut Tail) -> Result<Ended, TaskError> {
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            status = child.wait() => return status.map(Ended::Itself).map_err(TaskError::retry),
            () = ctx.cancelled() => break,
            _ = tick.tick() => tail.read(ctx),
        }
    }
    tree.signal_all(rustix::process::Signal::TERM);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        ctx.log(
            Level::Warn,
            format!(
                "the program did not end within {} s of SIGTERM: killed",
                GRACE.as_secs()
            ),
        );
        tree.signal_all(rustix::process::Signal::KILL);
        let _ = child.wait().await;
    }
    Ok(Ended::Stopped)
}

async fn run_program(
    ctx: &Ctx,
    input: &Input,
    files: &Files,
    log: &Arc<Log>,
) -> Result<ExitStatus, TaskError> {
    let mut child = start(ctx, input, files).await?;
    let tree = Tree::of(&child, context::marker(ctx));
    let mut tail = Tail::new(files.events.clone());
    let mut pumps = tokio::task::JoinSet::new();
    if let Some(pipe) = child.stdout.take() {
        pumps.spawn(log.clone().pump(pipe, Level::Info));
    }
    if let Some(pipe) = child.stderr.take() {
        pumps.spawn(log.clone().pump(pipe, Level::Warn));
    }
    let ended = attend(ctx, &mut child, &tree, &mut tail).await;
    tree.leader_is_gone();
    if tokio::time::timeout(DRAIN, async { while pumps.join_next().await.is_some() {} })
        .await
        .is_err()
    {
        ctx.log(
            Level::Warn,
            "a process left behind holds the output open; what it prints is not waited for",
        );
    }
    pumps.shutdown().await;
    tree.end().await;
    tail.read_rest(ctx);
    match ended? {
        Ended::Itself(status) => Ok(status),
        Ended::Stopped => Err(TaskError::Cancelled),
    }
}

fn judge(status: ExitStatus, files: &Files, log: &Log) -> Result<(), TaskError> {
    if status.success() {
        return Ok(());
    }
    let failure = context::read_failure(&files.failure);
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("ended by {}", tree::signal_name(signal)),
        (None, None) => "ended without a code".to_owned(),
    };
    let said = failure
        .as_ref()
        .map(|f| f.message.clone())
        .or_else(|| log.last_line());
    let message = log.mask.hide(&match said.filter(|s| !s.is_empty()) {
        Some(said) => format!("the program {how}: {said}"),
        None => format!("the program {how}"),
    });
    let lasting =
        matches!(status.code(), Some(64 | 65 | 78)) || failure.is_some_and(|f| f.retryable == Some(false));
    Err(if lasting {
        TaskError::Fail { message }
    } else {
        TaskError::Retry { message }
    })
}

#[async_trait]
impl Plugin for Command {
    type Input = Input;
    type Output = Output;

    const NAME: &'static str = "command";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str = "Runs any program: context and outputs by files, its prints as log";
    const ISOLATION: Isolation = Isolation::Program;

    async fn run(&self, ctx: &Ctx, input: Input) -> Result<Output, TaskError> {
        ctx.checkpoint()?;
        let files = Files::prepare(ctx, &input)?;
        let mask = ctx
            .mask
            .and(input.secret_env.iter().filter_map(|name| ctx.env(name)));
        let log = Arc::new(Log::new(ctx.clone(), mask));
        let status = run_program(ctx, &input, &files, &log).await?;
        judge(status, &files, &log)?;
        outputs::collect(ctx, &input, &files, &log.mask).await.map(Output)
    }

    fn declared_outputs(with: &Value) -> Vec<(String, Value)> {
        let declared = with
            .get("outputs")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let typed = declared.filter_map(|(name, kind)| {
            let kind: OutputType = serde_json::from_value(kind.clone()).ok()?;
            Some((name.clone(), json!({"type": kind.json()})))
        });
        typed.collect()
    }

    fn objections(with: &Value) -> Vec<Objection> {
        let is_empty = with
            .get("argv")
            .and_then(Value::as_array)
            .is_some_and(Vec::is_empty);
        let (key, message) = match (is_given(with, "argv"), is_given(with, "shell")) {
            (true, true) => ("shell", "a task runs one program: `argv` or `shell`"),
            (true, false) if is_empty => ("argv", "`argv` is empty: it names no program"),
            (false, false) => ("argv", "no program is named"),
            _ => return Vec::new(),
        };
        let help = "give either argv = [\"PROGRAM\", …] or shell = \"…\"";
        vec![Objection::hopeless(key, message, help)]
    }
}
