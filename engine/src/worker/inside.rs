//! The child's side of a process plugin: runs the one plugin it is told to, then ends.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::lock;
use super::pipe::{Reader, Start, ToChild, ToWorker, Writer};
use crate::plugin::{Ctx, Emission, ErasedPlugin, Host, HostCall, HostError, Registry, TaskError};

type Questions = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Result<Value, HostError>>>>>;

/// Serves the worker on standard input until the plugin is done. An error is for standard error: there is no worker to tell.
pub async fn serve(registry: Registry) -> std::io::Result<()> {
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
    let (out, mut outbox) = mpsc::unbounded_channel::<ToWorker>();
    let cancel = CancellationToken::new();
    let questions = Questions::default();
    let host = Arc::new(PipeHost {
        out: out.clone(),
        questions: Arc::clone(&questions),
        next: AtomicU64::new(0),
    });
    tokio::spawn(listen(reader, questions, cancel.clone()));
    tokio::spawn(async move {
        let result = run(&registry, *start, (cancel, host)).await;
        drop(out.send(ToWorker::Done { result }));
    });
    let mut writer = Writer::new(write);
    while let Some(message) = outbox.recv().await {
        writer.send(&message).await?;
        if matches!(message, ToWorker::Done { .. }) {
            return Ok(());
        }
    }
    Ok(())
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
    ctx.env = start.env;
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

/// Takes answers and the wish to stop. When the worker is gone, so is the reason to live.
async fn listen(mut reader: Reader, questions: Questions, cancel: CancellationToken) {
    loop {
        match reader.next().await {
            Some(ToChild::Answer { number, answer }) => {
                if let Some(asker) = lock(&questions).remove(&number) {
                    drop(asker.send(answer));
                }
            }
            Some(ToChild::Stop) => cancel.cancel(),
            Some(ToChild::Start(_)) => {}
            None => std::process::exit(70),
        }
    }
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
