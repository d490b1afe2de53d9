//! Which ticks make runs now, and what becomes of the others.
//!
//! Every tick in `(cursor, now]` has exactly one outcome: it runs, or it lies in one of the skipped ranges. A tick is on time for
//! [`ON_TIME`]; an older one was missed while nothing ran, and the policy decides. Windows are half open: a tick exactly as old as
//! the window is outside of it. Nothing is built per skipped tick.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::timetable::{Tick, Timetable};
use crate::graph::Missed;

/// A tick younger than this runs under every policy: a restart or a change of leader is no downtime.
pub const ON_TIME: Duration = Duration::from_secs(60);

/// The most ticks that `missed = "all"` makes up for at once: the newest ones.
pub const MOST_RUNS: usize = 100;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Catchup {
    /// Every tick up to here has its outcome.
    pub cursor: Timestamp,
    /// The present.
    pub now: Timestamp,
    /// Policy for missed ticks.
    pub missed: Missed,
    /// Missed ticks this old or older are never made up for.
    pub window: Duration,
    /// When the schedule got its present form; what that form names up to here are no ticks: an edit never fires the past.
    pub effective_from: Timestamp,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Due {
    /// To be run, oldest first, at most [`MOST_RUNS`].
    pub run: Vec<Tick>,
    /// To be recorded as skipped, oldest first, one row for each.
    pub skipped: Vec<SkippedTicks>,
}

impl Due {
    /// How many ticks are skipped.
    pub fn missed(&self) -> u64 {
        self.skipped.iter().map(|range| range.count).sum()
    }
}

/// Ticks in a row that make no run, for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkippedTicks {
    /// The oldest.
    pub first: Timestamp,
    /// The newest.
    pub last: Timestamp,
    /// How many.
    pub count: u64,
    /// Why.
    pub reason: SkipReason,
}

/// Why a missed tick is not made up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The policy is `skip`, or `latest` and a newer one runs.
    Missed,
    /// Older than the window.
    Window,
    /// More than [`MOST_RUNS`] under `all`.
    Limit,
}

impl SkipReason {
    /// As stored in the row of the tick.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Window => "window",
            Self::Limit => "limit",
        }
    }
}

impl Timetable {
    /// What is due. A `now` at or before the cursor is due nothing: a clock that went back repeats no tick.
    pub fn due(&self, ask: &Catchup) -> Due {
        let start = ask.cursor.max(ask.effective_from);
        if ask.now <= start {
            return Due::default();
        }
        let on_time = earlier(ask.now, ON_TIME);
        let oldest = earlier(ask.now, ask.window.max(ON_TIME)).max(start);
        let (from, reason) = match ask.missed {
            Missed::Skip => (on_time.max(oldest), SkipReason::Missed),
            Missed::Latest => (self.step_back(oldest, ask.now, 1), SkipReason::Missed),
            Missed::All => (self.step_back(oldest, ask.now, MOST_RUNS), SkipReason::Limit),
        };
        let skipped = [
            self.skip(start, oldest, SkipReason::Window),
            self.skip(oldest, from, reason),
        ];
        Due {
            run: self.between(from, ask.now, MOST_RUNS),
            skipped: skipped.into_iter().flatten().collect(),
        }
    }

    /// The ticks in `(from, to]` as one range; `None` when there are none. Also for schedules that are paused.
    pub fn skip(&self, from: Timestamp, to: Timestamp, reason: SkipReason) -> Option<SkippedTicks> {
        let first = self.next(from).filter(|tick| tick.at <= to)?;
        let last = self.prev(just_after(to))?;
        Some(SkippedTicks {
            first: first.at,
            last: last.at,
            count: self.count(from, to),
            reason,
        })
    }

    /// An instant in `[from, now]` after which at most `steps` ticks come up to `now`.
    fn step_back(&self, from: Timestamp, now: Timestamp, steps: usize) -> Timestamp {
        let mut edge = just_after(now);
        for _ in 0..steps {
            match self.prev(edge).filter(|tick| tick.at > from) {
                Some(tick) => edge = tick.at,
                None => return from,
            }
        }
        earlier(edge, Duration::from_nanos(1)).max(from)
    }
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

fn just_after(at: Timestamp) -> Timestamp {
    at.saturating_add(Duration::from_nanos(1))
        .unwrap_or(Timestamp::MAX)
}
