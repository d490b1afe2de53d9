//! Which days of a month an expression names. Days are counted from 1970-01-01.

use super::field::{Field, Modifier};

/// Days by the calendar alone: months, days of the month, days of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Days {
    pub months: Field,
    pub of_month: Field,
    pub of_week: Field,
    /// Both day fields must fit where both are given; else either.
    pub both: bool,
}

/// A month of the calendar.
#[derive(Debug, Clone, Copy)]
pub(super) struct Month {
    pub year: i64,
    /// 1–12.
    pub month: u32,
}

impl Month {
    pub(super) fn next(self) -> Self {
        if self.month == 12 {
            Self {
                year: self.year + 1,
                month: 1,
            }
        } else {
            Self {
                month: self.month + 1,
                ..self
            }
        }
    }

    pub(super) fn previous(self) -> Self {
        if self.month == 1 {
            Self {
                year: self.year - 1,
                month: 12,
            }
        } else {
            Self {
                month: self.month - 1,
                ..self
            }
        }
    }

    pub(super) fn length(self) -> u32 {
        match self.month {
            2 if self.leap() => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn leap(self) -> bool {
        self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0)
    }

    /// Day number of its first day. Years are counted from March, so that a leap day comes last.
    pub(super) fn first_day(self) -> i64 {
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * i64::from((self.month + 9) % 12) + 2) / 5;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
    }

    /// The month a day lies in, and its day of the month (from 1).
    pub(super) fn of_day(day: i64) -> (Self, u32) {
        let shifted = day + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day_of_month = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (
            Self {
                year,
                month: month as u32,
            },
            day_of_month as u32,
        )
    }
}

/// 0 = Sunday.
fn weekday(day: i64) -> u32 {
    (day + 4).rem_euclid(7) as u32
}

/// The calendar repeats after this many months.
const CYCLE: u32 = 400 * 12;

impl Days {
    /// Bit *n* for day *n* of the month.
    pub(super) fn mask(&self, month: Month) -> u32 {
        if self.months.values & 1 << month.month == 0 {
            return 0;
        }
        let length = month.length();
        let all = ((1_u64 << (length + 1)) - 2) as u32;
        let first = weekday(month.first_day());
        let of_month = if self.of_month.star {
            all
        } else {
            of_month(&self.of_month, length, first)
        };
        let of_week = if self.of_week.star {
            all
        } else {
            of_week(&self.of_week, length, first)
        };
        let either = !self.of_month.star && !self.of_week.star && !self.both;
        all & if either {
            of_month | of_week
        } else {
            of_month & of_week
        }
    }

    pub(super) fn contains(&self, day: i64) -> bool {
        let (month, day) = Month::of_day(day);
        self.mask(month) & 1 << day != 0
    }

    /// The first named day at or after `day`. `None` when the calendar holds no such day.
    pub(super) fn at_or_after(&self, day: i64) -> Option<i64> {
        let (mut month, day) = Month::of_day(day);
        let mut mask = self.mask(month) & (u32::MAX << day);
        for _ in 0..=CYCLE {
            if mask != 0 {
                return Some(month.first_day() + i64::from(mask.trailing_zeros()) - 1);
            }
            month = month.next();
            mask = self.mask(month);
        }
        None
    }

    /// The last named day at or before `day`.
    pub(super) fn at_or_before(&self, day: i64) -> Option<i64> {
        let (mut month, day) = Month::of_day(day);
        let mut mask = self.mask(month) & (u32::MAX >> (31 - day));
        for _ in 0..=CYCLE {
            if mask != 0 {
                return Some(month.first_day() + i64::from(mask.ilog2()) - 1);
            }
            month = month.previous();
            mask = self.mask(month);
        }
        None
    }

    /// How many named days lie in `[from, until)`.
    pub(super) fn count(&self, from: i64, until: i64) -> u64 {
        let (mut month, _) = Month::of_day(from);
        let mut count = 0;
        loop {
            let first = month.first_day();
            if first >= until {
                return count;
            }
            let mut mask = u64::from(self.mask(month));
            if from > first {
                mask &= u64::MAX << (from - first + 1);
            }
            if until < first + i64::from(month.length()) {
                mask &= (1 << (until - first + 1)) - 1;
            }
            count += u64::from(mask.count_ones());
            month = month.next();
        }
    }

    /// Whether any year has such a day, among the fourteen kinds of years and beyond.
    pub(super) fn ever(&self) -> bool {
        self.at_or_after(0).is_some()
    }
}

fn of_month(field: &Field, length: u32, first_weekday: u32) -> u32 {
    let weekday_of = |day: u32| (first_weekday + day - 1) % 7;
    let modified = field.modifiers.iter().map(|modifier| match *modifier {
        Modifier::Last => 1 << length,
        Modifier::LastWeekday => match weekday_of(length) {
            6 => 1 << (length - 1),
            0 => 1 << (length - 2),
            _ => 1 << length,
        },
        Modifier::Nearest(day) if day > length => 0,
        Modifier::Nearest(day) => match weekday_of(day) {
            6 if day > 1 => 1 << (day - 1),
            6 => 1 << (day + 2),
            0 if day < length => 1 << (day + 1),
            0 => 1 << (day - 2),
            _ => 1 << day,
        },
        Modifier::Nth(..) | Modifier::LastOf(_) => 0,
    });
    modified.fold(field.values as u32, |mask, bit| mask | bit)
}

fn of_week(field: &Field, length: u32, first_weekday: u32) -> u32 {
    // The day of the month on which a day of the week comes first.
    let first_of = |weekday: u32| 1 + (weekday + 7 - first_weekday) % 7;
    let plain = (0..7).filter(|weekday| field.values & 1 << weekday != 0);
    let plain = plain.flat_map(|weekday| (0..5).map(move |week| first_of(weekday) + 7 * week));
    let modified = field.modifiers.iter().map(|modifier| match *modifier {
        Modifier::Nth(weekday, nth) => first_of(weekday) + 7 * (nth - 1),
        Modifier::LastOf(weekday) => first_of(weekday) + 7 * ((length - first_of(weekday)) / 7),
        _ => 0,
    });
    plain
        .chain(modified)
        .filter(|day| (1..=length).contains(day))
        .fold(0, |mask, day| mask | 1 << day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_numbers_agree_with_jiff() {
        let mut date = jiff::civil::date(1968, 1, 1);
        let mut day = date
            .to_datetime(jiff::civil::Time::midnight())
            .duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0))
            .as_secs()
            / 86_400;
        while date.year() < 2405 {
            let (month, of_month) = Month::of_day(day);
            assert_eq!(
                (month.year, month.month, of_month),
                (i64::from(date.year()), date.month() as u32, date.day() as u32)
            );
            assert_eq!(month.first_day() + i64::from(of_month) - 1, day);
            assert_eq!(weekday(day), date.weekday().to_sunday_zero_offset() as u32);
            assert_eq!(month.length(), date.days_in_month() as u32);
            date = date.tomorrow().unwrap_or(date);
            day += 1;
        }
    }
}
