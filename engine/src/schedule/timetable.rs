//! The instants at which an expression fires in a zone.
//!
//! Time is walked in stretches of one offset ([`Span`]); within one, an instant and its wall clock differ by a constant, so a search
//! on the wall clock is a search in time. Fixed times differ from others only at the seams: what falls into a gap fires at the
//! seam, and what a repetition shows again is left out.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::cron::Cron;
use super::span::Span;

/// No search needs to look at every seam: whatever lies this far from the last match is jumped over. Longer than any two
/// offsets differ by.
const FAR: i64 = 3 * 86_400;

/// One due instant of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// When it is due.
    pub at: Timestamp,
    /// The times on the wall clock that it stands for, oldest first: more than one where a clock change brought several together.
    pub nominal: Vec<DateTime>,
}

/// An expression in a zone.
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: TimeZone,
}

impl Timetable {
    /// Joins a checked expression and a zone.
    pub fn new(cron: Cron, zone: TimeZone) -> Self {
        Self { cron, zone }
    }

    /// The expression.
    pub fn cron(&self) -> &Cron {
        &self.cron
    }

    /// The zone.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first tick strictly after `after`. `None` only near the end of what a timestamp can hold (the year 9999).
    pub fn next(&self, after: Timestamp) -> Option<Tick> {
        let after = floor_second(after);
        let mut from = after + 1;
        loop {
            let span = Span::at(&self.zone, from)?;
            if span.from.is_some_and(|start| start > after)
                && let Some(tick) = self.tick_at_seam(&span)
            {
                return Some(tick);
            }
            let wall = span.wall_start(self.cron.is_fixed()).max(after + 1 + span.offset);
            let wall = self.cron.at_or_after(wall)?;
            if wall < span.wall_end() {
                return tick(wall - span.offset, &[wall]);
            }
            let far = wall - span.offset - FAR;
            let until = span.until?;
            from = if until - from > FAR { until.max(far) } else { until };
        }
    }

    /// The last tick strictly before `before`.
    pub fn prev(&self, before: Timestamp) -> Option<Tick> {
        let before = ceil_second(before);
        let mut last = before - 1;
        loop {
            let span = Span::at(&self.zone, last)?;
            let wall = self.cron.before(span.wall_end().min(before + span.offset));
            if let Some(wall) = wall.filter(|wall| *wall >= span.wall_start(self.cron.is_fixed())) {
                let at_seam = span.from == Some(wall - span.offset);
                let seam = if at_seam { self.tick_at_seam(&span) } else { None };
                return seam.or_else(|| tick(wall - span.offset, &[wall]));
            }
            if let Some(tick) = self.tick_at_seam(&span) {
                return Some(tick);
            }
            let start = span.from?;
            let far = wall? - span.offset + FAR;
            last = if last - start > FAR {
                (start - 1).min(far)
            } else {
                start - 1
            };
        }
    }

    /// The ticks in `(from, to]`, oldest first, at most `limit`.
    pub fn between(&self, from: Timestamp, to: Timestamp, limit: usize) -> Vec<Tick> {
        let first = self.next(from);
        let ticks = std::iter::successors(first, |tick| self.next(tick.at));
        ticks.take_while(|tick| tick.at <= to).take(limit).collect()
    }

    /// How many ticks lie in `(from, to]`, without making them: linear in months and clock changes.
    pub fn count(&self, from: Timestamp, to: Timestamp) -> u64 {
        let (from, to) = (floor_second(from), floor_second(to));
        let (mut at, mut count) = (from + 1, 0);
        while at <= to {
            let Some(span) = Span::at(&self.zone, at) else {
                return count;
            };
            let fixed = self.cron.is_fixed();
            let wall_from = span.wall_start(fixed).max(from + 1 + span.offset);
            count += self
                .cron
                .count(wall_from, span.wall_end().min(to + 1 + span.offset));
            let seam_inside = span.from.is_some_and(|start| start > from);
            count += u64::from(seam_inside && self.only_gap_fires(&span));
            let Some(until) = span.until else { return count };
            at = until;
        }
        count
    }

    /// Whether the seam fires for the gap alone, not for a time that exists too.
    fn only_gap_fires(&self, span: &Span) -> bool {
        self.tick_at_seam(span).is_some()
            && span
                .gap()
                .is_some_and(|(_, end)| self.cron.at_or_after(end) != Some(end))
    }

    /// The tick of fixed times that fall into the gap at the start of a stretch, with the one that falls on its end.
    fn tick_at_seam(&self, span: &Span) -> Option<Tick> {
        let (start, end) = span.gap().filter(|_| self.cron.is_fixed())?;
        let first = self.cron.at_or_after(start).filter(|wall| *wall < end)?;
        let walls = std::iter::successors(Some(first), |wall| self.cron.at_or_after(wall + 1));
        let walls: Vec<i64> = walls.take_while(|wall| *wall <= end).collect();
        tick(span.from?, &walls)
    }
}

fn tick(at: i64, walls: &[i64]) -> Option<Tick> {
    let nominal = walls.iter().filter_map(|wall| wall_clock(*wall)).collect();
    Some(Tick {
        at: Timestamp::from_second(at).ok()?,
        nominal,
    })
}

/// Seconds on a wall clock as date and time.
pub(super) fn wall_clock(wall: i64) -> Option<DateTime> {
    Timestamp::from_second(wall)
        .ok()
        .map(|instant| Offset::UTC.to_datetime(instant))
}

fn floor_second(at: Timestamp) -> i64 {
    at.as_second() - i64::from(at.subsec_nanosecond() < 0)
}

fn ceil_second(at: Timestamp) -> i64 {
    at.as_second() + i64::from(at.subsec_nanosecond() > 0)
}
