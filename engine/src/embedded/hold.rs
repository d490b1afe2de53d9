//! One process at a time: a lock that the kernel releases with its holder, and that says who holds it.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use super::{EmbeddedError, io};

/// The lock on a home, until it is dropped or its process ends.
#[derive(Debug)]
pub(super) struct Hold {
    _file: File,
}

impl Hold {
    pub(super) fn take(home: &Path) -> Result<Self, EmbeddedError> {
        let path = home.join("pg.lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held_by(home, &mut file)),
            Err(TryLockError::Error(error)) => return Err(io("lock", &path)(error)),
        }
        sign(&mut file).map_err(io("write", &path))?;
        Ok(Self { _file: file })
    }
}

fn sign(file: &mut File) -> std::io::Result<()> {
    let command = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let words: Vec<_> = command
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    file.set_len(0)?;
    write!(file, "{}\n{}\n", std::process::id(), words.join(" "))
}

fn held_by(home: &Path, file: &mut File) -> EmbeddedError {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    let mut lines = text.lines().map(str::to_owned);
    EmbeddedError::Held {
        home: home.to_owned(),
        pid: lines.next().unwrap_or_else(|| "?".to_owned()),
        command: lines.next().unwrap_or_else(|| "?".to_owned()),
    }
}
