//! The worker's side of a process plugin: starts the child, answers its questions, takes its log, ends its tree.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::attempt::{Prepared, late};
use super::pipe::{Reader, Start, ToChild, ToWorker, Writer};
use super::{Shared, StopSwitch, tree};
use crate::clock;
use crate::plugin::{Ctx, Level, TaskError};
use crate::store::claim::Claim;

/// Bytes of one log line; longer ones are cut into several.
const LINE_CAP: usize = 16 * 1024;
/// How long output is read after the child's end: a grandchild may hold the pipe open for ever.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs a plugin in a child process.
pub(super) async fn run(
    shared: &Arc<Shared>,
    claim: &Claim,
    prepared: Prepared,
    stop: &StopSwitch,
) -> Result<Value, TaskError> {
    let mark = format!("{}/{}:{}", claim.run, claim.task().name, claim.epoch);
    let (ours, theirs) = UnixStream::pair().map_err(TaskError::retry)?;
    let mut child = spawn(shared, &mark, theirs)
        .map_err(|e| TaskError::retry(format_args!("the plugin's process could not be started: {e}")))?;
    let group = child.id();
    let ctx = prepared.ctx.clone();
    let readers = [
        child
            .stdout
            .take()
            .map(|out| tokio::spawn(read_log(out, ctx.clone(), Level::Info))),
        child
            .stderr
            .take()
            .map(|out| tokio::spawn(read_log(out, ctx.clone(), Level::Warn))),
    ];
    let talk = async {
        let done = talk(ours, claim, (prepared, stop)).await;
        (done, child.wait().await)
    };
    let spoken = tokio::select! {
        spoken = talk => Some(spoken),
        () = late(stop) => None,
    };
    tree::signal(group, &mark, Signal::KILL);
    for reader in readers.into_iter().flatten() {
        let _ = tokio::time::timeout(DRAIN, reader).await;
    }
    let Some((said, status)) = spoken else {
        reap(child).await;
        return Err(TaskError::Cancelled);
    };
    said.unwrap_or_else(|| Err(without_a_word(status)))
}

fn spawn(shared: &Shared, mark: &str, socket: UnixStream) -> std::io::Result<Child> {
    let mut words = shared.config.child.iter();
    let program = words
        .next()
        .ok_or_else(|| std::io::Error::other("no program is configured"))?;
    Command::new(program)
        .args(words)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("TZ", "UTC")
        .env(tree::MARK, mark)
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Speaks with the child until it is done; `None` when it ended without saying so.
async fn talk(
    socket: UnixStream,
    claim: &Claim,
    (prepared, stop): (Prepared, &StopSwitch),
) -> Option<Result<Value, TaskError>> {
    socket.set_nonblocking(true).ok()?;
    let (read, write) = tokio::net::UnixStream::from_std(socket).ok()?.into_split();
    let (mut reader, mut writer) = (Reader::new(read), Writer::new(write));
    let ctx = prepared.ctx;
    let start = Start {
        plugin: claim.task().uses.clone(),
        preview: prepared.preview,
        input: prepared.input,
        attempt: ctx.attempt.clone(),
        folders: ctx.folders.clone(),
        params: ctx.params.clone(),
        env: ctx.env.clone(),
    };
    writer.send(&ToChild::Start(Box::new(start))).await.ok()?;
    let mut told = false;
    loop {
        let message = tokio::select! {
            message = reader.next::<ToWorker>() => message?,
            () = stop.token.cancelled(), if !told => {
                told = true;
                writer.send(&ToChild::Stop).await.ok()?;
                continue;
            }
        };
        match message {
            ToWorker::Emit { emission } => ctx.host().emit(emission),
            ToWorker::Call { number, call } => {
                let answer = ctx.host().call(call).await;
                writer.send(&ToChild::Answer { number, answer }).await.ok()?;
            }
            ToWorker::Done { result } => return Some(result),
        }
    }
}

/// Takes the child's standard output into the log, line by line, whatever it is.
async fn read_log(out: impl AsyncRead + Unpin, ctx: Ctx, level: Level) {
    let mut out = BufReader::with_capacity(LINE_CAP, out);
    let mut line = Vec::new();
    loop {
        let Ok(buffer) = out.fill_buf().await else { return };
        if buffer.is_empty() {
            break;
        }
        let end = buffer.iter().position(|b| *b == b'\n');
        let room = LINE_CAP.saturating_sub(line.len()).max(1);
        let take = end.unwrap_or(buffer.len()).min(room);
        line.extend_from_slice(&buffer[..take]);
        let complete = end == Some(take);
        out.consume(take + usize::from(complete));
        if complete || line.len() >= LINE_CAP {
            ctx.log(level, String::from_utf8_lossy(&line).into_owned());
            line.clear();
        }
    }
    if !line.is_empty() {
        ctx.log(level, String::from_utf8_lossy(&line).into_owned());
    }
}

async fn reap(mut child: Child) {
    let _ = child.start_kill();
    tokio::select! {
        _ = child.wait() => {}
        () = clock::sleep(DRAIN) => {}
    }
}

/// The error of a child that ended without a result, with the signal by name.
fn without_a_word(status: std::io::Result<ExitStatus>) -> TaskError {
    use std::os::unix::process::ExitStatusExt;
    let how = match status {
        Err(error) => format!("could not be waited for: {error}"),
        Ok(status) => match (status.signal(), status.code()) {
            (Some(9), _) => "was killed (SIGKILL); was the machine out of memory?".to_owned(),
            (Some(signal), _) => format!("was ended by signal {signal}"),
            (None, code) => format!("ended with code {} and no result", code.unwrap_or(-1)),
        },
    };
    TaskError::retry(format_args!("the plugin's process {how}"))
}
