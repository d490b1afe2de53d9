//! `events.jsonl`: what a program says of its progress while it runs, one JSON object a line.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde::Deserialize;
use tidegate_engine::plugin::{Ctx, Level};

/// Longest line that is read.
const CAP: usize = 64 << 10;
/// Bytes read at a time.
const PIECE: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
enum Event {
    Progress {
        done: u64,
        total: u64,
    },
    Metric {
        k: String,
        v: f64,
        step: u64,
    },
    Check {
        name: String,
        passed: bool,
    },
    #[serde(other)]
    Unknown,
}

/// Follows the file as it grows.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    offset: u64,
    rest: Vec<u8>,
}

impl Tail {
    /// Follows a file that may not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            offset: 0,
            rest: Vec::new(),
        }
    }

    /// Passes on the lines that are complete by now, at most a piece of them.
    pub fn read(&mut self, ctx: &Ctx) {
        self.piece(ctx);
    }

    /// Passes on all that is left, a last line without its newline too.
    pub fn read_rest(&mut self, ctx: &Ctx) {
        while self.piece(ctx) > 0 {}
        let rest = std::mem::take(&mut self.rest);
        say(ctx, &rest);
    }

    fn piece(&mut self, ctx: &Ctx) -> usize {
        let mut fresh = Vec::new();
        let read = File::open(&self.path)
            .and_then(|mut file| file.seek(SeekFrom::Start(self.offset)).map(|_| file))
            .and_then(|file| file.take(PIECE).read_to_end(&mut fresh));
        let count = read.unwrap_or(0);
        self.offset += count as u64;
        for piece in fresh.split_inclusive(|b| *b == b'\n') {
            if self.rest.len() <= CAP {
                self.rest.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                say(ctx, &self.rest);
                self.rest.clear();
            }
        }
        count
    }
}

fn say(ctx: &Ctx, line: &[u8]) {
    if line.len() > CAP || line.trim_ascii().is_empty() {
        return;
    }
    match serde_json::from_slice(line) {
        Ok(Event::Progress { done, total }) => ctx.progress(done, total),
        Ok(Event::Metric { k, v, step }) => ctx.metric(&k, v, step),
        Ok(Event::Check { name, passed: true }) => ctx.info(format!("check `{name}` passed")),
        Ok(Event::Check { name, passed: false }) => {
            ctx.log(Level::Warn, format!("check `{name}` did not pass"))
        }
        Ok(Event::Unknown) => {}
        Err(error) => ctx.log(
            Level::Warn,
            format!("events.jsonl: a line is not understood: {error}"),
        ),
    }
}
