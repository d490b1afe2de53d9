//! What an earlier server left behind: a server that still runs, orphans of one that was killed, a file that names a stranger.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::place::Place;
use super::{EmbeddedError, io};
use crate::clock;

/// How long orphans may take to notice that their server is gone before they are told.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a server may take to come up or go down, or orphans to end, before it is given up.
const LIMIT: Duration = Duration::from_secs(30);

/// What is there.
pub(super) enum Found {
    /// A server of ours that accepts connections.
    Running(Pid),
    /// Nothing that runs; the folder is free.
    Nothing,
}

/// `postmaster.pid` as the server writes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) pid: Pid,
    pub(super) ready: bool,
}

impl PidFile {
    pub(super) fn read(data: &Path) -> Option<Self> {
        let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok().and_then(Pid::from_raw)?;
        let ready = lines.nth(6).is_some_and(|status| status.starts_with("ready"));
        Some(Self { pid, ready })
    }
}

/// Whether a server of this place runs and its socket answers.
pub(super) fn answers(place: &Place) -> bool {
    PidFile::read(&place.data()).is_some_and(|file| file.ready && is_there(file.pid))
        && UnixStream::connect(place.socket_file()).is_ok()
}

/// Takes stock of what an earlier server left, waits for what ends by itself, and clears the rest away.
pub(super) async fn settle(place: &Place) -> Result<Found, EmbeddedError> {
    let data = place.data();
    let begun = clock::monotonic();
    loop {
        let waited = begun.elapsed();
        let file = PidFile::read(&data);
        match &file {
            Some(file) if works_in(file.pid, &data) => {
                if file.ready && UnixStream::connect(place.socket_file()).is_ok() {
                    return Ok(Found::Running(file.pid));
                }
            }
            _ => {
                let orphans = working_in(&data);
                if orphans.is_empty() {
                    return clear(&data, file).map(|()| Found::Nothing);
                }
                if waited > PATIENCE {
                    tell_to_quit(&orphans);
                }
            }
        }
        if waited > LIMIT {
            return Err(EmbeddedError::Leftover(data));
        }
        clock::sleep(Duration::from_millis(20)).await;
    }
}

fn tell_to_quit(orphans: &[Pid]) {
    for pid in orphans {
        // Gone meanwhile is what we want.
        let _ = kill_process(*pid, Signal::QUIT);
    }
}

/// Removes a file that names a stranger: PostgreSQL would take the stranger for a server. It knows by itself what to do with one
/// that names nobody.
fn clear(data: &Path, file: Option<PidFile>) -> Result<(), EmbeddedError> {
    if !file.is_some_and(|file| is_there(file.pid)) {
        return Ok(());
    }
    let path = data.join("postmaster.pid");
    fs::remove_file(&path).map_err(io("remove", &path))
}

/// Whether a process exists that is more than a zombie.
pub(super) fn is_there(pid: Pid) -> bool {
    let exists = test_kill_process(pid) != Err(rustix::io::Errno::SRCH);
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).unwrap_or_default();
    let zombie = stat
        .rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('Z'));
    exists && !zombie
}

/// Whether a process works in a folder, as every process of a server does in its data.
pub(super) fn works_in(pid: Pid, folder: &Path) -> bool {
    fs::read_link(format!("/proc/{}/cwd", pid.as_raw_pid())).is_ok_and(|cwd| cwd == folder) && is_there(pid)
}

fn working_in(folder: &Path) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| works_in(*pid, folder))
        .collect()
}
