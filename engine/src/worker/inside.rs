//! The child's side of a process plugin: runs the one plugin it is told to, then ends.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rustix::process::{Signal, getpid, kill_process};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::pipe::{Reader, Start, ToChild, ToWorker, Writer};
use super::tree::Mark;
use super::{lock, tree};
use crate::mask::Mask;
use crate::plugin::{Ctx, Emission, ErasedPlugin, Host, HostCall, HostError, Registry, TaskError};

type Questions = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Result<Value, HostError>>>>>;

/// Serves the worker on standard input until the plugin is done. An error is for standard error: there is no worker to tell.
pub async fn serve(registry: Registry) -> std::io::Result<()> {
    let (out, outbox) = mpsc::unbounded_channel::<ToWorker>();
    let (told, start) = oneshot::channel();
    let (cancel, questions) = (CancellationToken::new(), Questions::default());
    let host = Arc::new(PipeHost {
        out: out.clone(),
        questions: Arc::clone(&questions),
        next: AtomicU64::new(0),
    });
    let said = talk_aside(Talk {
        outbox,
        told,
        questions,
        cancel: cancel.clone(),
    })?;
    if let Ok(start) = start.await {
        let result = run(&registry, start, (cancel, host)).await;
        drop(out.send(ToWorker::Done { result }));
    }
    said.await.unwrap_or_else(|_| {
        Err(std::io::Error::other(
            "the thread that talks to the worker is gone",
        ))
    })
}

/// The child's end of the talk with its worker.
struct Talk {
    outbox: mpsc::UnboundedReceiver<ToWorker>,
    told: oneshot::Sender<Start>,
    questions: Questions,
    cancel: CancellationToken,
}

/// Talks on a thread with a runtime of its own: a plugin that computes on all threads of the other still hears that it should
/// stop, and dies with its worker.
fn talk_aside(talk: Talk) -> std::io::Result<oneshot::Receiver<std::io::Result<()>>> {
    let (done, said) = oneshot::channel();
    std::thread::Builder::new()
        .name("talk".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            // Whoever waited is gone only with the whole process.
            let _ = done.send(runtime.and_then(|runtime| runtime.block_on(talk.go())));
        })?;
    Ok(said)
}

impl Talk {
    async fn go(self) -> std::io::Result<()> {
        let socket: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned()?;
        let socket = UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        let (read, write) = tokio::net::UnixStream::from_std(socket)?.into_split();
        let mut reader = Reader::new(read);
        let Some(ToChild::Start(start)) = reader.next().await else {
            return Err(std::io::Error::other(
                "no worker spoke on standard input; this verb is not for people",
            ));
        };
        let mark = Mark {
            run: start.attempt.run,
            task: start.attempt.place(),
            epoch: start.attempt.epoch,
        };
        let _ = self.told.send(*start);
        tokio::select! {
            () = listen(reader, self.questions, self.cancel) => die(&mark),
            said = speak(Writer::new(write), self.outbox) => said.or_else(|_| die(&mark)),
        }
    }
}

/// Takes answers and the wish to stop, until the worker is gone.
async fn listen(mut reader: Reader, questions: Questions, cancel: CancellationToken) {
    while let Some(message) = reader.next().await {
        match message {
            ToChild::Answer { number, answer } => {
                if let Some(asker) = lock(&questions).remove(&number) {
                    drop(asker.send(answer));
                }
            }
            ToChild::Stop => cancel.cancel(),
            ToChild::Start(_) => {}
        }
    }
}

/// Says what there is to say, until the plugin is done.
async fn speak(mut writer: Writer, mut outbox: mpsc::UnboundedReceiver<ToWorker>) -> std::io::Result<()> {
    while let Some(message) = outbox.recv().await {
        writer.send(&message).await?;
        if matches!(message, ToWorker::Done { .. }) {
            break;
        }
    }
    Ok(())
}

/// The worker is gone, and with it the reason to live: ends what this process started, then itself, whatever else it does.
fn die(mark: &Mark) -> ! {
    for _ in 0..tree::ROUNDS {
        if !tree::kill_once(mark) {
            break;
        }
        std::thread::yield_now();
    }
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::exit(70)
}

async fn run(
    registry: &Registry,
    start: Start,
    (cancel, host): (CancellationToken, Arc<PipeHost>),
) -> Result<Value, TaskError> {
    let name = &start.plugin;
    let plugin = registry
        .get(name)
        .cloned()
        .ok_or_else(|| TaskError::fail(format_args!("this worker has no plugin `{name}`")))?;
    let mut ctx = Ctx::new(start.attempt, start.folders, cancel, host);
    ctx.params = start.params;
    ctx.env = Arc::new(start.env);
    ctx.deployment = start.deployment;
    ctx.mask = Mask::new(start.hidden);
    let task = tokio::spawn(async move { act(plugin.as_ref(), (&ctx, start.input), start.preview).await });
    task.await
        .unwrap_or_else(|error| Err(TaskError::fail(format_args!("the plugin panicked: {error}"))))
}

/// Runs a plugin, or asks it what it would do; answers its outputs, or its preview.
pub(super) async fn act(
    plugin: &dyn ErasedPlugin,
    (ctx, input): (&Ctx, Value),
    preview: bool,
) -> Result<Value, TaskError> {
    if !preview {
        return plugin.run(ctx, input).await;
    }
    let preview = plugin.preview(ctx, input).await?;
    serde_json::to_value(preview).map_err(TaskError::fail)
}

struct PipeHost {
    out: mpsc::UnboundedSender<ToWorker>,
    questions: Questions,
    next: AtomicU64,
}

#[async_trait]
impl Host for PipeHost {
    fn emit(&self, emission: Emission) {
        drop(self.out.send(ToWorker::Emit { emission }));
    }

    async fn call(&self, call: HostCall) -> Result<Value, HostError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (asker, answer) = oneshot::channel();
        lock(&self.questions).insert(number, asker);
        let gone = || HostError::Unavailable {
            message: "the worker is gone".to_owned(),
        };
        self.out
            .send(ToWorker::Call { number, call })
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
