//! The worker's side of a process plugin: starts the child, answers its questions, takes its log, ends its tree.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::attempt::{Prepared, late};
use super::pipe::{Reader, Start, ToChild, ToWorker, Writer};
use super::tree::{self, Mark};
use super::{Shared, StopSwitch};
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
    let mark = Mark::of(claim);
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
    let mut talk = std::pin::pin!(talk(ours, claim, (prepared, stop)));
    // The end of the talk does not tell the end of the child: a grandchild may hold the socket open.
    let spoken = tokio::select! {
        said = &mut talk => Some((said, end_of(&mut child).await)),
        status = child.wait() => {
            let said = tokio::time::timeout(DRAIN, talk).await;
            Some((said.unwrap_or(None), status))
        }
        () = late(stop) => None,
    };
    tree::kill(group, &mark).await;
    for reader in readers.into_iter().flatten() {
        let _ = tokio::time::timeout(DRAIN, reader).await;
    }
    let Some((said, status)) = spoken else {
        reap(child).await;
        return Err(TaskError::Cancelled);
    };
    said.unwrap_or_else(|| Err(without_a_word(status)))
}

fn spawn(shared: &Shared, mark: &Mark, socket: UnixStream) -> std::io::Result<Child> {
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
        .env(tree::MARK, mark.to_string())
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
        env: (*ctx.env).clone(),
        deployment: ctx.deployment.clone(),
        hidden: ctx.mask.values().to_vec(),
    };
    writer.send(&ToChild::Start(Box::new(start))).await.ok()?;
    let mut told = false;
    let mut calls = FuturesUnordered::new();
    loop {
        let message = tokio::select! {
            message = reader.next::<ToWorker>() => message?,
            Some(answer) = calls.next() => {
                writer.send(&answer).await.ok()?;
                continue;
            }
            () = stop.token.cancelled(), if !told => {
                told = true;
                writer.send(&ToChild::Stop).await.ok()?;
                continue;
            }
        };
        match message {
            ToWorker::Emit { emission } => ctx.host().emit(emission),
            ToWorker::Call { number, call } => {
                let host = ctx.host();
                calls.push(async move {
                    let answer = host.call(call).await;
                    ToChild::Answer { number, answer }
                });
            }
            ToWorker::Done { result } => return Some(result),
        }
    }
}

/// Takes the child's standard output into the log, line by line, whatever it is. Secrets are hidden before it is cut into lines.
async fn read_log(mut out: impl AsyncRead + Unpin, ctx: Ctx, level: Level) {
    let (mut flow, mut lines) = (ctx.mask.flow(), Lines::default());
    let mut say = |text: String| ctx.log(level, text);
    let mut chunk = vec![0; LINE_CAP];
    while let Ok(count @ 1..) = out.read(&mut chunk).await {
        lines.feed(&flow.feed(&chunk[..count]), &mut say);
    }
    lines.feed(&flow.end(), &mut say);
    lines.end(&mut say);
}

/// Cuts bytes into lines of at most [`LINE_CAP`] bytes.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn feed(&mut self, bytes: &[u8], say: &mut impl FnMut(String)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, complete) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            self.take(text, say);
            if complete {
                say(String::from_utf8_lossy(&self.0).into_owned());
                self.0.clear();
            }
        }
    }

    /// What does not fit into the line goes out before it.
    fn take(&mut self, mut text: &[u8], say: &mut impl FnMut(String)) {
        while self.0.len() + text.len() > LINE_CAP {
            let (fits, rest) = text.split_at(LINE_CAP - self.0.len());
            self.0.extend_from_slice(fits);
            let left = self.0.split_off(whole(&self.0));
            say(String::from_utf8_lossy(&self.0).into_owned());
            (self.0, text) = (left, rest);
        }
        self.0.extend_from_slice(text);
    }

    fn end(&mut self, say: &mut impl FnMut(String)) {
        if !self.0.is_empty() {
            say(String::from_utf8_lossy(&self.0).into_owned());
        }
    }
}

/// Bytes up to the last character that is not cut in two.
fn whole(line: &[u8]) -> usize {
    let starts = |byte: u8| byte & 0b1100_0000 != 0b1000_0000;
    let last = line.iter().rposition(|byte| starts(*byte)).unwrap_or(0);
    let cut = std::str::from_utf8(&line[last..]).is_err_and(|error| error.error_len().is_none());
    if cut && last > 0 { last } else { line.len() }
}

/// How a child ended that has said its last word; one that lingers is killed.
async fn end_of(child: &mut Child) -> std::io::Result<ExitStatus> {
    if let Ok(status) = tokio::time::timeout(DRAIN, child.wait()).await {
        return status;
    }
    child.start_kill()?;
    child.wait().await
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
