//! Ending processes with everything they started.
//!
//! The group goes first; what left the group (`setsid`, double fork) still carries the attempt's mark in its environment and is
//! found in `/proc`. A process that cleared its environment and left the group escapes: the named rest.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, kill_process, kill_process_group, pidfd_open, pidfd_send_signal,
};

use crate::clock;
use crate::id::{Epoch, RunId};
use crate::store::claim::Claim;

/// The variable that marks every process of an attempt.
pub(super) const MARK: &str = "TIDEGATE_ATTEMPT";
/// Rounds of the census before a process counts as one that can't be killed.
pub(super) const ROUNDS: usize = 100;
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(20);

/// An attempt, as the environment of its processes names it: `RUN/TASK:EPOCH`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub run: RunId,
    pub task: String,
    pub epoch: Epoch,
}

impl Mark {
    /// The mark of a claimed attempt.
    pub(super) fn of(claim: &Claim) -> Self {
        Self {
            run: claim.run,
            task: claim.place(),
            epoch: claim.epoch,
        }
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}:{}", self.run, self.task, self.epoch)
    }
}

impl FromStr for Mark {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (run, rest) = text.split_once('/').ok_or(())?;
        let (task, epoch) = rest.split_once(':').ok_or(())?;
        Ok(Self {
            run: run.parse().map_err(drop)?,
            task: task.to_owned(),
            epoch: epoch.parse().map_err(drop)?,
        })
    }
}

/// Kills the group of a child and all that carry its mark.
pub(super) async fn kill(group: Option<u32>, mark: &Mark) {
    if let Some(group) = group.and_then(|id| Pid::from_raw(id as i32)) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    kill_marked(mark).await;
}

/// Kills all that carry a mark, until a census finds nobody: what forks meanwhile is found the next time.
pub(super) async fn kill_marked(mark: &Mark) {
    for _ in 0..ROUNDS {
        if !kill_once(mark) {
            return;
        }
        clock::sleep(PAUSE).await;
    }
    tracing::warn!(%mark, "a process of this attempt cannot be killed");
}

/// Kills what carries a mark at this moment, this process excepted. `false`: there was nobody.
pub(super) fn kill_once(mark: &Mark) -> bool {
    kill_any(&BTreeSet::from([mark.to_string()]))
}

/// The same of several marks.
pub(super) fn kill_any(marks: &BTreeSet<String>) -> bool {
    let marked = |pid: Pid| Some((pid, carried(pid).filter(|mark| marks.contains(mark))?));
    let found: Vec<(Pid, String)> = pids().filter_map(marked).collect();
    for (pid, mark) in &found {
        kill_if(*pid, mark);
    }
    !found.is_empty()
}

/// Kills a process if it still carries the mark: its number may have gone to another by now.
fn kill_if(pid: Pid, wanted: &str) {
    let still = || carried(pid).as_deref() == Some(wanted);
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) if still() => drop(pidfd_send_signal(&handle, Signal::KILL)),
        // A kernel without handles for processes.
        Err(rustix::io::Errno::NOSYS) if still() => drop(kill_process(pid, Signal::KILL)),
        _ => {}
    }
}

/// Marks of all living processes of this machine that may be looked at.
pub(super) fn census() -> BTreeMap<Mark, usize> {
    let mut marks = BTreeMap::new();
    for mark in pids().filter_map(carried).filter_map(|text| text.parse().ok()) {
        *marks.entry(mark).or_default() += 1;
    }
    marks
}

/// All processes but this one.
fn pids() -> impl Iterator<Item = Pid> {
    let me = getpid();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter_map(Pid::from_raw).filter(move |pid| *pid != me)
}

/// The mark in a process's environment. Zombies have no environment any more.
fn carried(pid: Pid) -> Option<String> {
    let environ = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).ok()?;
    let mark = environ
        .split(|b| *b == 0)
        .find_map(|entry| entry.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="))?;
    Some(String::from_utf8_lossy(mark).into_owned())
}
