//! Stretches of time in which a zone keeps one offset from UTC.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A stretch of one offset. Instants and offsets in seconds; a missing end is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub from: Option<i64>,
    pub until: Option<i64>,
    pub offset: i64,
    /// The offset before `from`; that of the stretch itself where there is none before.
    pub before: i64,
}

impl Span {
    /// The stretch that holds `at`, in seconds since 1970. `None` beyond what a timestamp can hold.
    ///
    /// Transitions that keep the offset are no ends: zones change their abbreviation alone, and `zic -b fat` writes one at the
    /// end of 32-bit time (2038-01-19), which jiff tells looking forward and not looking back.
    pub(super) fn at(zone: &TimeZone, at: i64) -> Option<Self> {
        let instant = Timestamp::from_second(at).ok()?;
        let just_after = Timestamp::from_second(at.saturating_add(1)).unwrap_or(Timestamp::MAX);
        let offset_at = |at: Timestamp| i64::from(zone.to_offset(at).seconds());
        let offset = offset_at(instant);
        let mut starts = zone.preceding(just_after).filter_map(|start| {
            let start = start.timestamp().as_second();
            Some((start, offset_at(Timestamp::from_second(start - 1).ok()?)))
        });
        let start = starts.find(|(_, before)| *before != offset);
        let mut ends = zone.following(instant);
        let until = ends.find(|end| i64::from(end.offset().seconds()) != offset);
        Some(Self {
            from: start.map(|(start, _)| start),
            until: until.map(|end| end.timestamp().as_second()),
            offset,
            before: start.map_or(offset, |(_, before)| before),
        })
    }

    /// The wall clock skips `[this, start + offset)` at the start of the stretch.
    pub(super) fn gap(&self) -> Option<(i64, i64)> {
        let from = self.from.filter(|_| self.before < self.offset)?;
        Some((from + self.before, from + self.offset))
    }

    /// The wall clock at the start; where it repeats and only first occurrences count, at the end of the repetition.
    pub(super) fn wall_start(&self, first_only: bool) -> i64 {
        let offset = if first_only {
            self.offset.max(self.before)
        } else {
            self.offset
        };
        self.from.map_or(i64::MIN / 4, |from| from + offset)
    }

    /// The wall clock at the end, exclusive.
    pub(super) fn wall_end(&self) -> i64 {
        self.until.map_or(i64::MAX / 4, |until| until + self.offset)
    }
}
