//! The guard: a small process that outlives its worker, however that ends, and ends what the worker left running.
//!
//! ```text
//! worker ──► `+MARK`, `-MARK` ──► guard       the end of the pipe is the end of the worker
//! ```
//!
//! A killed worker takes its children with it (`lived`, `inside`), but not what those have started and left their group for. The guard is in a
//! group of its own and deaf to the signals that tell a worker to end; when the pipe ends, all that carries a mark it was told, and not told
//! off, is killed. What it needs is `/proc`, no privilege. Killed together with its worker it leaves the rest to the next worker here.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};

use super::lock;
use super::tree::{self, Mark};
use crate::clock;

/// How long the guard goes on looking for what it has to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// The worker's side.
pub(super) struct Guard {
    /// Program and arguments that are a guard: this binary with its hidden verb.
    program: Vec<String>,
    watch: Mutex<Watch>,
}

#[derive(Default)]
struct Watch {
    marks: BTreeSet<Mark>,
    post: Option<Post>,
    /// It was said that there is none.
    missed: bool,
}

/// A guard that runs, and the pipe to it.
struct Post {
    pipe: UnixStream,
    process: Child,
}

impl Guard {
    /// Starts a guard; says so when there can be none.
    pub(super) fn start(program: Vec<String>) -> Self {
        let guard = Self {
            program,
            watch: Mutex::default(),
        };
        guard.tell(&mut lock(&guard.watch), "");
        guard
    }

    /// From now until the answer is dropped, processes with this mark do not outlive the worker.
    pub(super) fn watch(&self, mark: Mark) -> Watched<'_> {
        let mut watch = lock(&self.watch);
        watch.marks.insert(mark.clone());
        self.tell(&mut watch, &format!("+{mark}\n"));
        Watched { guard: self, mark }
    }

    fn tell(&self, watch: &mut Watch, word: &str) {
        let told = |post: &mut Post| post.pipe.write_all(word.as_bytes()).is_ok();
        if !word.is_empty() && watch.post.as_mut().is_some_and(told) {
            return;
        }
        // The old one dies before its pipe ends: it would take that for the worker's end.
        if let Some(mut old) = watch.post.take() {
            let _ = old.process.kill();
            let _ = old.process.wait();
        }
        match self.post(&watch.marks) {
            Ok(post) => watch.post = Some(post),
            Err(error) if !watch.missed => {
                watch.missed = true;
                tracing::warn!(
                    %error,
                    "no guard stands by (degraded): should this worker be killed, what its attempts have started outside of their group lives \
                     until another worker looks here"
                );
            }
            Err(_) => {}
        }
    }

    /// Starts one that knows all that is watched.
    fn post(&self, marks: &BTreeSet<Mark>) -> io::Result<Post> {
        let (mut pipe, theirs) = UnixStream::pair()?;
        // A guard that does not read is none, and must not hold the worker up.
        pipe.set_nonblocking(true)?;
        for mark in marks {
            pipe.write_all(format!("+{mark}\n").as_bytes())?;
        }
        let (program, arguments) = self
            .program
            .split_first()
            .ok_or_else(|| io::Error::other("no program is configured for it"))?;
        let process = Command::new(program)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        let environment = format!("/proc/{}/environ", process.id());
        let mut post = Post { pipe, process };
        if let Err(error) = std::fs::read(environment) {
            let _ = post.process.kill();
            let _ = post.process.wait();
            return Err(io::Error::other(format!(
                "processes cannot be looked at in /proc: {error}"
            )));
        }
        Ok(post)
    }
}

/// A mark that is watched.
pub(super) struct Watched<'a> {
    guard: &'a Guard,
    mark: Mark,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let mut watch = lock(&self.guard.watch);
        watch.marks.remove(&self.mark);
        let word = format!("-{}\n", self.mark);
        self.guard.tell(&mut watch, &word);
    }
}

/// The guard itself, on standard input.
pub async fn serve() -> io::Result<()> {
    // Whoever tells all processes to end means the worker, which takes its time and then says goodbye.
    let _deaf = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ]
    .map(signal);
    let pipe: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let pipe = UnixStream::from(pipe);
    pipe.set_nonblocking(true)?;
    let mut words = BufReader::new(tokio::net::UnixStream::from_std(pipe)?).lines();
    let mut marks = BTreeSet::new();
    // A pipe that breaks has ended.
    while let Some(word) = words.next_line().await.unwrap_or(None) {
        match word.split_at_checked(1) {
            Some(("+", mark)) => drop(marks.insert(mark.to_owned())),
            Some(("-", mark)) => drop(marks.remove(mark)),
            _ => {}
        }
    }
    end(&marks).await;
    Ok(())
}

/// Ends all that carries one of these marks. Nobody in two looks: nobody was being born during the first.
async fn end(marks: &BTreeSet<String>) {
    let begun = clock::monotonic();
    let mut empty = 0;
    while empty < 2 && !marks.is_empty() && begun.elapsed() < PATIENCE {
        empty = if tree::kill_any(marks) { 0 } else { empty + 1 };
        clock::sleep(PAUSE).await;
    }
}
