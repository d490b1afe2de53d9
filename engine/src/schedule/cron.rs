//! A checked expression, and where it matches on a wall clock that never changes.

use super::days::Days;
use super::fault::{CronError, Fault};
use super::field::{self, Field, Kind, Piece};
use crate::graph::DomDow;

const DAY: i64 = 86_400;

/// The known names of whole expressions.
const MACROS: [(&str, &str); 6] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A cron expression of five fields that fires now and then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    source: String,
    pub(super) minutes: Field,
    pub(super) hours: Field,
    pub(super) days: Days,
}

impl Cron {
    /// Reads five fields or `@daily`, `@hourly`, `@weekly`, `@monthly`, `@yearly`. `dom_dow` must be given exactly when day of
    /// month and day of week both are. The error carries the bytes of `expr` that are wrong and the way out.
    pub fn parse(expr: &str, dom_dow: Option<DomDow>) -> Result<Self, CronError> {
        let whole = trimmed(expr);
        if whole.text.is_empty() {
            return Err(whole.error(
                Fault::Empty,
                "write five fields, like `0 2 * * *` for every day at 02:00",
            ));
        }
        if whole.text.starts_with('@') {
            let fields = expand(whole)?;
            return read_fields(whole, &five(fields), dom_dow).map(|cron| cron.named(expr));
        }
        let fields = split(whole);
        if fields.len() != 5 {
            return Err(wrong_count(whole, &fields));
        }
        read_fields(whole, &fields, dom_dow).map(|cron| cron.named(expr))
    }

    fn named(self, expr: &str) -> Self {
        Self {
            source: expr.trim().to_owned(),
            ..self
        }
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether every listed time is a fixed time: no wildcard and no step in hour and minute.
    pub fn is_fixed(&self) -> bool {
        !self.minutes.wild && !self.hours.wild
    }

    /// The first match at or after `at`, in seconds of the wall clock since 1970.
    pub(super) fn at_or_after(&self, at: i64) -> Option<i64> {
        let minute = at.div_euclid(60) + i64::from(at.rem_euclid(60) != 0);
        let day = minute.div_euclid(1_440);
        if self.days.contains(day)
            && let Some(found) = self.in_day_from(minute.rem_euclid(1_440) as u32)
        {
            return Some(day * DAY + found * 60);
        }
        let day = self.days.at_or_after(day + 1)?;
        self.in_day_from(0).map(|found| day * DAY + found * 60)
    }

    /// The last match before `at`.
    pub(super) fn before(&self, at: i64) -> Option<i64> {
        let minute = (at - 1).div_euclid(60);
        let day = minute.div_euclid(1_440);
        if self.days.contains(day)
            && let Some(found) = self.in_day_until(minute.rem_euclid(1_440) as u32)
        {
            return Some(day * DAY + found * 60);
        }
        let day = self.days.at_or_before(day - 1)?;
        self.in_day_until(1_439).map(|found| day * DAY + found * 60)
    }

    /// How many matches lie in `[from, until)`.
    pub(super) fn count(&self, from: i64, until: i64) -> u64 {
        if from >= until {
            return 0;
        }
        let (first, last) = (from.div_euclid(DAY), until.div_euclid(DAY));
        let before_first = self.times_before(first, from - first * DAY);
        let whole = self.days.count(first, last) * self.times_a_day();
        whole + self.times_before(last, until - last * DAY) - before_first
    }

    pub(super) fn times_a_day(&self) -> u64 {
        u64::from(self.hours.values.count_ones()) * u64::from(self.minutes.values.count_ones())
    }

    /// Matches of a day before the second `second` of it.
    fn times_before(&self, day: i64, second: i64) -> u64 {
        if !self.days.contains(day) {
            return 0;
        }
        let minute = (second + 59) / 60;
        let (hour, rest) = (minute / 60, minute % 60);
        let below = |bits: u64, n: i64| u64::from((bits & ((1 << n) - 1)).count_ones());
        let this_hour = self.hours.values >> hour & 1;
        below(self.hours.values, hour) * u64::from(self.minutes.values.count_ones())
            + this_hour * below(self.minutes.values, rest)
    }

    fn in_day_from(&self, minute: u32) -> Option<i64> {
        let (hour, rest) = (minute / 60, minute % 60);
        let here = self.minutes.values >> rest;
        if self.hours.values >> hour & 1 == 1 && here != 0 {
            return Some(i64::from(minute + here.trailing_zeros()));
        }
        let later = self.hours.values & (u64::MAX << (hour + 1));
        (later != 0).then(|| i64::from(later.trailing_zeros() * 60 + self.minutes.values.trailing_zeros()))
    }

    fn in_day_until(&self, minute: u32) -> Option<i64> {
        let (hour, rest) = (minute / 60, minute % 60);
        let here = self.minutes.values & ((2 << rest) - 1);
        if self.hours.values >> hour & 1 == 1 && here != 0 {
            return Some(i64::from(hour * 60 + here.ilog2()));
        }
        let earlier = self.hours.values & ((1 << hour) - 1);
        let last_minute = self.minutes.values.checked_ilog2()?;
        earlier
            .checked_ilog2()
            .map(|hour| i64::from(hour * 60 + last_minute))
    }
}

fn trimmed(expr: &str) -> Piece<'_> {
    let text = expr.trim();
    Piece {
        text,
        start: expr.len() - expr.trim_start().len(),
    }
}

/// The fields of an expression, each with its place.
fn split(whole: Piece<'_>) -> Vec<Piece<'_>> {
    let mut fields = Vec::new();
    let mut rest = whole;
    while !rest.text.is_empty() {
        let end = rest.text.find(char::is_whitespace).unwrap_or(rest.text.len());
        let (text, tail) = rest.text.split_at(end);
        fields.push(Piece {
            text,
            start: rest.start,
        });
        let next = tail.trim_start();
        rest = Piece {
            text: next,
            start: rest.start + end + tail.len() - next.len(),
        };
    }
    fields
}

/// The fields of an expanded name; they have no places of their own, and no error of theirs can come up.
fn five(fields: &str) -> Vec<Piece<'_>> {
    fields.split(' ').map(|text| Piece { text, start: 0 }).collect()
}

fn expand(whole: Piece<'_>) -> Result<&'static str, CronError> {
    let name = whole.text.to_ascii_lowercase();
    if let Some((_, fields)) = MACROS.iter().find(|(known, _)| *known == name) {
        return Ok(fields);
    }
    if name == "@reboot" {
        return Err(whole.error(
            Fault::Reboot,
            "start a run by the API when a machine comes up, or write a time",
        ));
    }
    let help = match name.as_str() {
        "@midnight" => "write `@daily`".to_owned(),
        every if every.starts_with("@every") => "write `*/5 * * * *` for every five minutes".to_owned(),
        _ => {
            let near = MACROS
                .iter()
                .map(|(known, _)| known)
                .min_by_key(|known| strsim::levenshtein(known, &name));
            near.filter(|known| strsim::levenshtein(known, &name) <= 2)
                .map_or_else(
                    || "known are @hourly, @daily, @weekly, @monthly and @yearly".to_owned(),
                    |known| format!("did you mean `{known}`?"),
                )
        }
    };
    Err(whole.error(Fault::Macro(whole.text.to_owned()), help))
}

fn wrong_count(whole: Piece<'_>, fields: &[Piece<'_>]) -> CronError {
    let fault = Fault::Fields(fields.len());
    let texts: Vec<&str> = fields.iter().map(|field| field.text).collect();
    let is_year = |text: &str| text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit());
    match (fields, texts.as_slice()) {
        _ if texts.first().is_some_and(|text| text.contains("TZ=")) => {
            whole.error(fault, "write the zone as the key `timezone` of the schedule")
        }
        ([.., last], [five @ .., year]) if five.len() == 5 && is_year(year) => last.error(
            fault,
            format!("drop the year at the end, `{year}`: `{}`", five.join(" ")),
        ),
        ([first, ..], [seconds, five @ ..]) if five.len() == 5 => first.error(
            fault,
            format!(
                "there are no seconds; drop the first field, `{seconds}`: `{}`",
                five.join(" ")
            ),
        ),
        _ => whole.error(
            fault,
            "the fields are minute, hour, day of month, month, day of week: `0 2 * * *`",
        ),
    }
}

fn read_fields(whole: Piece<'_>, fields: &[Piece<'_>], dom_dow: Option<DomDow>) -> Result<Cron, CronError> {
    let mut read = [const { None }; 5];
    for ((slot, kind), field) in read.iter_mut().zip(Kind::ALL).zip(fields) {
        *slot = Some(field::read(kind, *field)?);
    }
    let [minutes, hours, of_month, months, of_week] = read.map(Option::unwrap_or_default);
    let days = Days {
        months,
        of_month,
        of_week,
        both: dom_dow == Some(DomDow::And),
    };
    check_combination(whole, fields, &days, dom_dow)?;
    check_dates(whole, fields, &days)?;
    Ok(Cron {
        source: String::new(),
        minutes,
        hours,
        days,
    })
}

fn check_combination(
    whole: Piece<'_>,
    fields: &[Piece<'_>],
    days: &Days,
    dom_dow: Option<DomDow>,
) -> Result<(), CronError> {
    let both_given = !days.of_month.star && !days.of_week.star;
    if both_given && dom_dow.is_none() {
        let at = fields[2].range().start..fields[4].range().end;
        return Err(CronError {
            fault: Fault::BothDays,
            at,
            help: how_to_combine(fields, days),
        });
    }
    if !both_given && dom_dow.is_some() {
        return Err(whole.error(Fault::NothingToCombine, "remove `dom_dow`"));
    }
    Ok(())
}

fn how_to_combine(fields: &[Piece<'_>], days: &Days) -> String {
    let choice = "write `dom_dow = \"or\"` (either fits, as in Unix) or `dom_dow = \"and\"` (both must fit)";
    let plain = days.of_week.modifiers.is_empty() && days.of_month.modifiers.is_empty();
    let week = (0..4).find(|week| days.of_month.values == 0b1111_1110 << (7 * week));
    let Some(week) = week.filter(|_| plain && days.of_week.values.count_ones() <= 3) else {
        return choice.to_owned();
    };
    let names = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    let of_week = (0..7).filter(|day| days.of_week.values >> day & 1 == 1);
    let offer: Vec<String> = of_week
        .map(|day| format!("{}#{}", names[day], week + 1))
        .collect();
    let [minute, hour, _, month, _] = [0, 1, 2, 3, 4].map(|i| fields[i].text);
    format!(
        "for one week of the month write `{minute} {hour} * {month} {}`; else {choice}",
        offer.join(",")
    )
}

/// Refuses dates that never come, and days of the month that none of the months has.
fn check_dates(whole: Piece<'_>, fields: &[Piece<'_>], days: &Days) -> Result<(), CronError> {
    let of_month_alone = Days {
        of_week: Field {
            star: true,
            ..Field::default()
        },
        both: false,
        ..days.clone()
    };
    if !of_month_alone.ever() {
        let at = fields[2].range().start..fields[3].range().end.max(fields[2].range().end);
        let help = format!(
            "no month `{}` has a day `{}`; write `L` for the last day of a month",
            fields[3].text, fields[2].text
        );
        let at = if at.start == 0 { whole.range() } else { at };
        return Err(CronError {
            fault: Fault::NeverComes,
            at,
            help,
        });
    }
    if !days.ever() {
        let at = fields[2].range().start..fields[4].range().end;
        let help = "day of month, month and day of week together fit no day of the calendar".to_owned();
        return Err(CronError {
            fault: Fault::NeverComes,
            at,
            help,
        });
    }
    Ok(())
}
