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
    pub(super) fn at(zone: &TimeZone, at: i64) -> Option<Self> {
        let instant = Timestamp::from_second(at).ok()?;
        let just_after = Timestamp::from_second(at.saturating_add(1)).unwrap_or(Timestamp::MAX);
        let from = zone
            .preceding(just_after)
            .next()
            .map(|t| t.timestamp().as_second());
        let until = zone.following(instant).next().map(|t| t.timestamp().as_second());
        let offset = i64::from(zone.to_offset(instant).seconds());
        let earlier = from.and_then(|from| Timestamp::from_second(from - 1).ok());
        let before = earlier.map_or(offset, |earlier| i64::from(zone.to_offset(earlier).seconds()));
        Some(Self {
            from,
            until,
            offset,
            before,
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
