//! All processes of an attempt: the program's session, and whatever it started elsewhere.
//!
//! A child that leaves the session (setsid, a double fork) still carries `TIDEGATE_ATTEMPT` in its environment; a census of
//! `/proc` finds it. One that clears its environment too is the named rest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tidegate_engine::clock;
use tokio::process::{Child, Command};

/// Rounds of the census before a process counts as one that can't be killed; 50 ms apart.
const ROUNDS: usize = 40;

/// Puts the program into a session of its own, its files readable by nobody else.
pub fn separate(command: &mut Command) {
    let prepare = || -> std::io::Result<()> {
        rustix::process::setsid()?;
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        Ok(())
    };
    // SAFETY: between fork and exec only two async-signal-safe system calls are made; nothing is allocated.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// The processes of one attempt. Killed when dropped.
pub struct Tree {
    group: Option<Pid>,
    leader_gone: AtomicBool,
    marker: String,
}

impl Tree {
    /// The tree of a program that was just started.
    pub fn of(child: &Child, marker: String) -> Self {
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        Self {
            group,
            leader_gone: AtomicBool::new(false),
            marker: format!("TIDEGATE_ATTEMPT={marker}"),
        }
    }

    /// The leader was waited for: its number may belong to somebody else from now on.
    pub fn leader_is_gone(&self) {
        self.leader_gone.store(true, Ordering::Relaxed);
    }

    /// Signals the session's group and all that carry the marker.
    pub fn signal_all(&self, signal: Signal) {
        if let (Some(group), false) = (self.group, self.leader_gone.load(Ordering::Relaxed)) {
            let _ = kill_process_group(group, signal);
        }
        for pid in self.census() {
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills what is left, until a census finds nobody.
    pub async fn end(&self) {
        for _ in 0..ROUNDS {
            let left = self.census();
            if left.is_empty() {
                return;
            }
            for pid in left {
                let _ = kill_process(pid, Signal::KILL);
            }
            clock::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Living processes that carry the marker; zombies have no environment any more.
    fn census(&self) -> Vec<Pid> {
        let me = std::process::id();
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        let others = numbers.filter(|pid| u32::try_from(*pid).is_ok_and(|pid| pid != me));
        others
            .filter(|pid| self.marks(*pid))
            .filter_map(Pid::from_raw)
            .collect()
    }

    fn marks(&self, pid: i32) -> bool {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|b| *b == 0)
            .any(|variable| variable == self.marker.as_bytes())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.signal_all(Signal::KILL);
    }
}

/// `SIGKILL` and the like.
pub fn signal_name(signal: i32) -> String {
    let known = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL (out of memory, or killed by somebody)"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (14, "SIGALRM"),
        (15, "SIGTERM"),
        (24, "SIGXCPU"),
    ];
    let name = known.iter().find(|(number, _)| *number == signal);
    name.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}
