//! What one attempt said and is not written yet. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::plugin::{Emission, Level};
use crate::store::clean_text;
use crate::store::effects::{Batch, Line, MARK, Point};
use crate::store::leases::Holder;

/// Bytes of a line; longer ones are cut into several.
const LINE_CAP: usize = 16 << 10;
/// Bytes that are kept of the beginning of an attempt's log, and as many of its end.
pub(super) const LOG_CAP: usize = 10 << 20;
/// What a line costs beside its text.
const LINE_COST: usize = 32;
/// Bytes of one attempt in a batch, about: nobody's flood keeps the others waiting.
const SHARE: usize = 512 << 10;
/// Metric values of one attempt.
const POINTS_CAP: usize = 100_000;
/// Bytes of a metric's name.
const NAME_CAP: usize = 200;
/// How often progress is written at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// A line before it has a number.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    at: Timestamp,
    level: &'static str,
    text: String,
}

impl Said {
    fn mark(text: String, at: Timestamp) -> Self {
        Self {
            at,
            level: MARK,
            text,
        }
    }

    fn cost(&self) -> usize {
        self.text.len() + LINE_COST
    }

    /// With its line end.
    fn bytes(&self) -> u64 {
        self.text.len() as u64 + 1
    }
}

/// An attempt's unwritten log, metrics and progress.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// Number of the line that was last taken into a batch.
    seq: i64,
    queue: VecDeque<Said>,
    queued: usize,
    head: usize,
    tail: VecDeque<Said>,
    tailed: usize,
    /// Bytes between head and tail.
    left_out: u64,
    /// Bytes and metric values for which there was no room.
    dropped: (u64, u64),
    points: BTreeMap<(String, i64), (f64, Timestamp)>,
    points_taken: usize,
    progress: Option<(u64, u64)>,
    progress_at: Option<Instant>,
    /// Some of it is in a batch whose fate is not known.
    out: bool,
    closing: Option<oneshot::Sender<()>>,
}

impl Pages {
    /// Bytes that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.queued + self.points.len() * LINE_COST
    }

    /// Nothing is left to be written, and nothing is out.
    pub(super) fn is_blank(&self) -> bool {
        let silent = self.queue.is_empty() && self.tail.is_empty() && self.points.is_empty();
        silent && !self.out && self.dropped == (0, 0) && self.left_out == 0
    }

    /// Some of it is in the batch whose fate is to be settled.
    pub(super) fn is_out(&self) -> bool {
        self.out
    }

    pub(super) fn take_in(&mut self, emission: Emission, room: bool, now: Timestamp) {
        match emission {
            Emission::Log { level, text } => self.log(level, text, (room, now)),
            Emission::Progress { done, total } => self.progress = Some((done, total)),
            Emission::Metric { name, value, step } => self.metric((name, step), value, (room, now)),
        }
    }

    fn log(&mut self, level: Level, text: String, (room, now): (bool, Timestamp)) {
        let text = clean_text(text);
        for line in text.strip_suffix('\n').unwrap_or(&text).split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            for piece in pieces(line) {
                let said = Said {
                    at: now,
                    level: word(level),
                    text: piece.to_owned(),
                };
                self.say(said, room);
            }
        }
    }

    fn say(&mut self, said: Said, room: bool) {
        if self.head >= LOG_CAP {
            self.say_late(said);
            return;
        }
        if !room {
            self.dropped.0 += said.bytes();
            return;
        }
        self.own_up(said.at);
        self.head += said.cost();
        let at = said.at;
        self.enqueue(said);
        if self.head >= LOG_CAP {
            let notice = "the log has reached 10 MB; of what follows, the last 10 MB are written when the attempt ends";
            self.enqueue(Said::mark(notice.to_owned(), at));
        }
    }

    /// Keeps the newest of what is said after the head.
    fn say_late(&mut self, said: Said) {
        self.tailed += said.cost();
        self.tail.push_back(said);
        while self.tailed > LOG_CAP
            && let Some(oldest) = self.tail.pop_front()
        {
            self.tailed -= oldest.cost();
            self.left_out += oldest.bytes();
        }
    }

    fn enqueue(&mut self, said: Said) {
        self.queued += said.cost();
        self.queue.push_back(said);
    }

    /// Says what was dropped for want of room, once there is room.
    fn own_up(&mut self, now: Timestamp) {
        let (bytes, values) = std::mem::take(&mut self.dropped);
        if bytes > 0 {
            let text = format!("… {bytes} bytes left out: the database did not take them");
            self.enqueue(Said::mark(text, now));
        }
        if values > 0 {
            let text = format!("… {values} metric values left out: the database did not take them");
            self.enqueue(Said::mark(text, now));
        }
    }

    fn metric(&mut self, (name, step): (String, u64), value: f64, (room, now): (bool, Timestamp)) {
        if !value.is_finite() {
            return;
        }
        if !room {
            self.dropped.1 += 1;
            return;
        }
        if self.points_taken == POINTS_CAP {
            let text = format!("… more than {POINTS_CAP} metric values: what follows is left out");
            self.enqueue(Said::mark(text, now));
        }
        self.points_taken += 1;
        if self.points_taken <= POINTS_CAP {
            let name = clean_text(name);
            let name = name[..name.floor_char_boundary(NAME_CAP)].to_owned();
            let step = i64::try_from(step).unwrap_or(i64::MAX);
            self.points.insert((name, step), (value, now));
        }
    }

    /// Moves its share into a batch; answers the share's bytes.
    pub(super) fn hand_out(&mut self, holder: Holder, batch: &mut Batch) -> usize {
        let mut bytes = 0;
        while bytes < SHARE
            && let Some(said) = self.queue.pop_front()
        {
            bytes += said.cost();
            self.seq += 1;
            batch.lines.push(Line {
                holder,
                seq: self.seq,
                at: said.at,
                level: said.level,
                text: said.text,
            });
        }
        self.queued -= bytes;
        while bytes < SHARE
            && let Some(((name, step), (value, at))) = self.points.pop_first()
        {
            bytes += LINE_COST + name.len();
            batch.points.push(Point {
                holder,
                name,
                step,
                value,
                at,
            });
        }
        self.out = bytes > 0;
        bytes
    }

    /// The batch will never be written: its numbers are free again, and the next mark owns up to its bytes.
    pub(super) fn take_back(&mut self, holder: Holder, batch: &Batch) {
        for line in batch.lines.iter().filter(|line| line.holder == holder) {
            self.seq -= 1;
            self.dropped.0 += line.text.len() as u64 + 1;
        }
        self.dropped.1 += batch.points.iter().filter(|point| point.holder == holder).count() as u64;
    }

    /// Nothing of it is out any more. `true`: it is closed and all of it is written.
    pub(super) fn come_back(&mut self) -> bool {
        self.out = false;
        if !self.queue.is_empty() || !self.points.is_empty() {
            return false;
        }
        match self.closing.take() {
            Some(told) => {
                // Whoever waited may have given up.
                let _ = told.send(());
                true
            }
            None => false,
        }
    }

    /// Nothing more will be said: the tail follows the head.
    pub(super) fn close(&mut self, told: oneshot::Sender<()>, now: Timestamp) {
        self.own_up(now);
        if self.left_out > 0 {
            let text = format!("… {} bytes left out", self.left_out);
            self.enqueue(Said::mark(text, now));
        }
        for said in std::mem::take(&mut self.tail) {
            self.enqueue(said);
        }
        self.progress = None;
        self.closing = Some(told);
    }

    /// Progress that is to be written now.
    pub(super) fn progress_due(&mut self, now: Instant) -> Option<(u64, u64)> {
        if self.progress_at.is_some_and(|at| now < at + PROGRESS_EVERY) {
            return None;
        }
        let progress = self.progress.take()?;
        self.progress_at = Some(now);
        Some(progress)
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// A line cut into pieces of at most [`LINE_CAP`] bytes, between characters. An empty line is one piece.
fn pieces(mut line: &str) -> impl Iterator<Item = &str> {
    let mut first = true;
    std::iter::from_fn(move || {
        if line.is_empty() && !std::mem::take(&mut first) {
            return None;
        }
        first = false;
        let (piece, rest) = line.split_at(line.floor_char_boundary(LINE_CAP));
        line = rest;
        Some(piece)
    })
}
