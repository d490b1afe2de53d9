//! Ending a child with everything it started.
//!
//! The group goes first; what left the group (`setsid`, double fork) still carries the attempt's mark in its environment and is
//! found in `/proc`. A process that cleared its environment and left the group escapes: the named rest.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// The variable that marks every process of an attempt.
pub(super) const MARK: &str = "TIDEGATE_ATTEMPT";

/// Sends a signal to the group of a child and to every process that carries its mark.
pub(super) fn signal(group: Option<u32>, mark: &str, signal: Signal) {
    if let Some(group) = group.and_then(|id| Pid::from_raw(id as i32)) {
        let _ = kill_process_group(group, signal);
    }
    for pid in marked(mark) {
        let _ = kill_process(pid, signal);
    }
}

/// Processes whose environment carries `TIDEGATE_ATTEMPT=mark`.
fn marked(mark: &str) -> Vec<Pid> {
    let wanted = format!("{MARK}={mark}");
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| carries(Path::new("/proc").join(pid.to_string()).join("environ"), &wanted))
        .filter_map(Pid::from_raw)
        .collect()
}

fn carries(environ: impl AsRef<Path>, wanted: &str) -> bool {
    let Ok(bytes) = std::fs::read(environ) else {
        return false;
    };
    bytes.split(|b| *b == 0).any(|entry| entry == wanted.as_bytes())
}
