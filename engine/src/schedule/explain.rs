//! What a schedule will do, as data to print.

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::Serialize;

use super::span::Span;
use super::timetable::{Tick, Timetable, wall_clock};
use super::words;

/// A schedule in words and dates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// As written.
    pub expression: String,
    /// IANA name of the zone.
    pub zone: String,
    /// `Every day at 02:00`.
    pub sentence: String,
    /// How clock changes are met.
    pub clock_rule: &'static str,
    /// The next fires.
    pub next: Vec<Fire>,
    /// The next two changes of the zone's clock; none where it never changes.
    pub clock_changes: Vec<ClockChange>,
}

/// A fire in both clocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fire {
    /// The instant.
    pub utc: Timestamp,
    /// The zone's wall clock at that instant, `2026-03-29T03:00:00+02:00[Europe/Berlin]`.
    pub local: String,
}

/// A change of the zone's clock and what the schedule does about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClockChange {
    /// When.
    pub at: Timestamp,
    /// The wall clock reaches this…
    pub from: DateTime,
    /// … and shows this.
    pub to: DateTime,
    /// What happens: `The clock goes from 02:00 to 03:00. What is due at 02:30 starts at 03:00.`
    pub sentence: String,
}

impl Timetable {
    /// Explains it as of `now`, with `count` next fires.
    pub fn explain(&self, now: Timestamp, count: usize) -> Explanation {
        Explanation {
            expression: self.cron().as_str().to_owned(),
            zone: self.zone().iana_name().unwrap_or("UTC").to_owned(),
            sentence: words::sentence(self.cron()),
            clock_rule: if self.cron().is_fixed() {
                "fixed times: one that a clock change skips starts right after it, one that comes twice starts once"
            } else {
                "elapsed time: a skipped hour has no starts, a repeated hour has its starts twice"
            },
            next: self
                .between(now, Timestamp::MAX, count)
                .iter()
                .map(|tick| self.fire(tick))
                .collect(),
            clock_changes: self.clock_changes(now),
        }
    }

    fn fire(&self, tick: &Tick) -> Fire {
        Fire {
            utc: tick.at,
            local: tick.at.to_zoned(self.zone().clone()).to_string(),
        }
    }

    fn clock_changes(&self, now: Timestamp) -> Vec<ClockChange> {
        let seams = self.zone().following(now).map(|seam| seam.timestamp());
        let spans = seams
            .take(8)
            .filter_map(|at| Some((at, Span::at(self.zone(), at.as_second())?)));
        let changes = spans.filter(|(_, span)| span.before != span.offset);
        changes
            .filter_map(|(at, span)| self.clock_change(at, &span))
            .take(2)
            .collect()
    }

    fn clock_change(&self, at: Timestamp, span: &Span) -> Option<ClockChange> {
        let start = span.from?;
        let (from, to) = (wall_clock(start + span.before)?, wall_clock(start + span.offset)?);
        let effect = if !self.cron().is_fixed() {
            self.elapsed_effect(span, start)
        } else if span.before < span.offset {
            self.gap_effect(start, span)
        } else {
            self.repeat_effect(start, span)
        };
        let sentence = format!("The clock goes from {} to {}. {effect}", hour(from), hour(to));
        Some(ClockChange {
            at,
            from,
            to,
            sentence,
        })
    }

    fn gap_effect(&self, start: i64, span: &Span) -> String {
        let times = self.times(start + span.before, start + span.offset);
        let to = wall_clock(start + span.offset).map_or_else(String::new, hour);
        if times.is_empty() {
            return "Nothing is due in the skipped time.".to_owned();
        }
        format!("What is due at {} starts at {to}.", words::list(&times))
    }

    fn repeat_effect(&self, start: i64, span: &Span) -> String {
        let times = self.times(start + span.offset, start + span.before);
        if times.is_empty() {
            return "Nothing is due in the repeated time.".to_owned();
        }
        format!(
            "What is due at {} starts the first time the clock shows it, and not again.",
            words::list(&times)
        )
    }

    fn elapsed_effect(&self, span: &Span, start: i64) -> String {
        let midnight = (start + span.before).div_euclid(86_400) * 86_400;
        let usual = self.cron().count(midnight, midnight + 86_400);
        let (first, last) = (midnight - span.before, midnight + 86_400 - span.offset);
        let instants = Timestamp::from_second(first - 1)
            .ok()
            .zip(Timestamp::from_second(last - 1).ok());
        let that_day = instants.map_or(0, |(from, to)| self.count(from, to));
        match that_day == usual {
            true => format!("It starts {usual} times that day, as always."),
            false => format!("It starts {that_day} times that day rather than {usual}."),
        }
    }

    /// Up to six matches of a stretch of the wall clock, as clock times.
    fn times(&self, from: i64, until: i64) -> Vec<String> {
        let next = |at: i64| self.cron().at_or_after(at).filter(|wall| *wall < until);
        let walls = std::iter::successors(next(from), |wall| next(wall + 1));
        walls.take(6).filter_map(wall_clock).map(hour).collect()
    }
}

fn hour(at: DateTime) -> String {
    format!("{:02}:{:02}", at.hour(), at.minute())
}
