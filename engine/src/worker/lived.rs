//! Starting programs that die with this process, however it dies.
//!
//! The kernel kills such a program (`PR_SET_PDEATHSIG`) when the *thread* that started it ends, and a runtime ends its threads as it
//! likes. So all of them are started by one thread that lives as long as the process. What the program starts in turn is not
//! covered: that is left to the worker's guard.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

struct Order {
    command: Command,
    runtime: Handle,
    started: oneshot::Sender<io::Result<Child>>,
}

/// Starts a program that is killed when this process ends. Must be called within a runtime.
pub async fn spawn(mut command: Command) -> io::Result<Child> {
    let me = getpid();
    let die_with_me = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Whoever lost its parent before that line would live for ever.
        if getppid() == Some(me) {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::BrokenPipe))
        }
    };
    // SAFETY: between fork and exec only async-signal-safe system calls are made; nothing is allocated.
    unsafe {
        command.pre_exec(die_with_me);
    }
    let (started, answer) = oneshot::channel();
    let order = Order {
        command,
        runtime: Handle::current(),
        started,
    };
    let gone = || io::Error::other("the thread that starts programs is gone");
    starter()?.send(order).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

/// The way to the thread that starts programs.
fn starter() -> io::Result<&'static Sender<Order>> {
    static STARTER: OnceLock<Sender<Order>> = OnceLock::new();
    if let Some(starter) = STARTER.get() {
        return Ok(starter);
    }
    let (orders, inbox) = channel::<Order>();
    std::thread::Builder::new()
        .name("starter".to_owned())
        .spawn(move || {
            for mut order in inbox {
                let _entered = order.runtime.enter();
                // Whoever asked may be gone; dropping the child then kills it where it was asked to.
                let _ = order.started.send(order.command.spawn());
            }
        })?;
    Ok(STARTER.get_or_init(|| orders))
}
