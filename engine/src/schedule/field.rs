//! One field of an expression: split into list items with their places, each item read by `croner`.
//!
//! `croner` is used as a parser of single items only (`1-5/2`, `SUN#1`, `15W`): its evaluator loses and doubles runs when the clock
//! changes, and its whole-expression parser accepts `*/90`, `1,,2` and a month's name among the hours. Those are refused here, with
//! the bytes they stand at.

use std::fmt;
use std::ops::Range;

use croner::CronPattern;
use croner::parser::{CronParser, Seconds, Year};

use super::fault::{CronError, Fault};

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// Which of the five fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 0–59.
    Minute,
    /// 0–23.
    Hour,
    /// 1–31, `L`, `LW`, `15W`.
    DayOfMonth,
    /// 1–12 or names.
    Month,
    /// 0–7 or names, `SUN#1`, `5L`.
    DayOfWeek,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
        })
    }
}

impl Kind {
    /// In the order of an expression.
    pub(super) const ALL: [Self; 5] = [
        Self::Minute,
        Self::Hour,
        Self::DayOfMonth,
        Self::Month,
        Self::DayOfWeek,
    ];

    fn bounds(self) -> (u32, u32) {
        match self {
            Self::Minute => (0, 59),
            Self::Hour => (0, 23),
            Self::DayOfMonth => (1, 31),
            Self::Month => (1, 12),
            Self::DayOfWeek => (0, 7),
        }
    }

    /// The largest value that is no other name of a smaller one.
    fn top(self) -> u32 {
        if self == Self::DayOfWeek {
            6
        } else {
            self.bounds().1
        }
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Month => &MONTHS,
            Self::DayOfWeek => &DAYS,
            _ => &[],
        }
    }

    /// What the field takes, for a help text.
    fn fits(self) -> &'static str {
        match self {
            Self::Minute => "minutes go from 0 to 59: `0`, `*/15`, `0,30`, `10-20`",
            Self::Hour => "hours go from 0 to 23 (midnight is 0): `2`, `*/4`, `9-17`",
            Self::DayOfMonth => {
                "days of the month go from 1 to 31: `1`, `1,15`, `L` for the last, `15W` for the weekday nearest"
            }
            Self::Month => "months go from 1 to 12, or `JAN` to `DEC`",
            Self::DayOfWeek => {
                "days of the week go from 0 to 7 (0 and 7 are Sunday), or `SUN` to `SAT`; `SUN#1` is the first, `5L` the last Friday"
            }
        }
    }

    fn of(self, pattern: &CronPattern) -> Vec<u16> {
        match self {
            Self::Minute => pattern.minutes.values(),
            Self::Hour => pattern.hours.values(),
            Self::DayOfMonth => pattern.days.values(),
            Self::Month => pattern.months.values(),
            Self::DayOfWeek => pattern.days_of_week.values(),
        }
    }
}

/// What a field holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Field {
    /// Bit *n* for the plain value *n*; Sunday is 0.
    pub values: u64,
    /// Holds `*` or a step.
    pub wild: bool,
    /// Is exactly `*`.
    pub star: bool,
    /// Items that depend on the month.
    pub modifiers: Vec<Modifier>,
}

/// An item whose day depends on the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Modifier {
    /// `L`: the last day of the month.
    Last,
    /// `LW`: the last Monday-to-Friday of the month.
    LastWeekday,
    /// `15W`: the Monday-to-Friday nearest to the day, within the month.
    Nearest(u32),
    /// `SUN#1`: day of week (0 = Sunday) and which of the month, 1–5.
    Nth(u32, u32),
    /// `5L`: the last such day of the week.
    LastOf(u32),
}

/// A piece of the expression and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'t> {
    pub text: &'t str,
    pub start: usize,
}

impl Piece<'_> {
    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    pub(super) fn error(&self, fault: Fault, help: impl Into<String>) -> CronError {
        CronError {
            fault,
            at: self.range(),
            help: help.into(),
        }
    }
}

/// Reads a whole field.
pub(super) fn read(kind: Kind, field: Piece<'_>) -> Result<Field, CronError> {
    let mut read = Field {
        star: field.text == "*",
        ..Field::default()
    };
    let mut start = field.start;
    for text in field.text.split(',') {
        if text.is_empty() {
            return Err(field.error(
                Fault::EmptyItem(kind),
                "remove the comma that has nothing beside it",
            ));
        }
        read_item(kind, Piece { text, start }, &mut read)?;
        start += text.len() + 1;
    }
    Ok(read)
}

fn read_item(kind: Kind, item: Piece<'_>, field: &mut Field) -> Result<(), CronError> {
    let text = numbered(kind, item)?;
    if let Some(modifier) = modifier(kind, item, &text)? {
        field.modifiers.push(modifier);
        return Ok(());
    }
    check_numbers(kind, item, &text)?;
    let pattern = probe(kind, &text).ok_or_else(|| wrong_item(kind, item))?;
    let bits = kind
        .of(&pattern)
        .iter()
        .fold(0, |bits, value| bits | 1_u64 << value);
    field.values |= bits;
    field.wild |= text.contains(['*', '/']);
    Ok(())
}

/// `croner`'s reading of one item alone in its field.
fn probe(kind: Kind, item: &str) -> Option<CronPattern> {
    let fields = Kind::ALL.map(|k| if k == kind { item } else { "*" });
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build();
    parser.parse(&fields.join(" ")).ok().map(|cron| cron.pattern)
}

fn wrong_item(kind: Kind, item: Piece<'_>) -> CronError {
    let help = match item.text {
        "?" => "write `*`".to_owned(),
        text if text.contains('H') && kind.names().is_empty() => {
            "`H` is of Jenkins; write the minute or hour itself".to_owned()
        }
        text if text.contains('/') => {
            let step = text.rsplit('/').next().unwrap_or_default();
            format!("a step follows `*` or a range: `*/{step}`; {}", kind.fits())
        }
        _ => kind.fits().to_owned(),
    };
    item.error(
        Fault::Item {
            kind,
            item: item.text.to_owned(),
        },
        help,
    )
}

/// The item in capitals with names replaced by numbers. A range ends on Sunday as 7.
fn numbered(kind: Kind, item: Piece<'_>) -> Result<String, CronError> {
    let mut out = String::new();
    let mut word = String::new();
    for c in item.text.to_ascii_uppercase().chars().chain(['\0']) {
        if c.is_ascii_alphabetic() {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            out.push_str(&number_of(kind, item, &word, &out)?);
            word.clear();
        }
        if c != '\0' {
            out.push(c);
        }
    }
    let strange = out.chars().any(|c| !(c.is_ascii_digit() || "*/-#LW".contains(c)));
    if strange {
        Err(wrong_item(kind, item))
    } else {
        Ok(out)
    }
}

fn number_of(kind: Kind, item: Piece<'_>, word: &str, before: &str) -> Result<String, CronError> {
    let allowed = match kind {
        Kind::DayOfMonth => matches!(word, "L" | "W" | "LW"),
        Kind::DayOfWeek => word == "L",
        _ => false,
    };
    if allowed {
        return Ok(word.to_owned());
    }
    if kind == Kind::DayOfWeek && word == "SUN" && before.ends_with('-') {
        return Ok("7".to_owned());
    }
    let (name, rest) = word.split_at_checked(3).unwrap_or((word, ""));
    let known = kind.names().iter().position(|known| *known == name);
    let shift = u32::from(kind == Kind::Month) as usize;
    match known {
        Some(index) if rest.is_empty() => Ok((index + shift).to_string()),
        Some(index) if rest == "L" && kind == Kind::DayOfWeek => Ok(format!("{index}L")),
        _ => Err(unknown_name(kind, item, word)),
    }
}

fn unknown_name(kind: Kind, item: Piece<'_>, word: &str) -> CronError {
    let close = |name: &&&str| word.starts_with(**name) || strsim::damerau_levenshtein(word, name) == 1;
    match kind.names().iter().find(close) {
        Some(near) => item.error(
            Fault::Item {
                kind,
                item: item.text.to_owned(),
            },
            format!("did you mean `{near}`?"),
        ),
        None => wrong_item(kind, item),
    }
}

fn modifier(kind: Kind, item: Piece<'_>, text: &str) -> Result<Option<Modifier>, CronError> {
    let found = match kind {
        Kind::DayOfMonth if text == "L" => Some(Modifier::Last),
        Kind::DayOfMonth if text == "LW" => Some(Modifier::LastWeekday),
        Kind::DayOfMonth if text.contains(['L', 'W']) => {
            let day = text.strip_suffix('W').and_then(|day| within(day, 1, 31));
            Some(Modifier::Nearest(day.ok_or_else(|| wrong_item(kind, item))?))
        }
        Kind::DayOfWeek if text.contains('#') => {
            let parts = text
                .split_once('#')
                .and_then(|(day, nth)| Some((within(day, 0, 7)?, within(nth, 1, 5)?)));
            let (day, nth) = parts.ok_or_else(|| wrong_item(kind, item))?;
            Some(Modifier::Nth(day % 7, nth))
        }
        Kind::DayOfWeek if text.contains('L') => {
            let day = text.strip_suffix('L').and_then(|day| within(day, 0, 7));
            Some(Modifier::LastOf(day.ok_or_else(|| wrong_item(kind, item))? % 7))
        }
        _ => None,
    };
    Ok(found)
}

fn within(text: &str, min: u32, max: u32) -> Option<u32> {
    let all_digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|n| all_digits && (min..=max).contains(n))
}

/// What `croner` lets pass, or refuses without a word on the way out.
fn check_numbers(kind: Kind, item: Piece<'_>, text: &str) -> Result<(), CronError> {
    let (min, max) = kind.bounds();
    let (range, step) = text
        .split_once('/')
        .map_or((text, None), |(range, step)| (range, Some(step)));
    let number = |text: &str| text.parse::<u32>().map_err(|_| wrong_item(kind, item));
    let (first, last) = match range.split_once('-') {
        _ if range == "*" => (min, kind.top()),
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(range)?, number(range)?),
    };
    if let Some(value) = [first, last]
        .into_iter()
        .find(|value| !(min..=max).contains(value))
    {
        return Err(item.error(Fault::OutOfRange { kind, value }, kind.fits()));
    }
    if first > last {
        let help = format!("write two ranges: `{first}-{},{min}-{last}`", kind.top());
        return Err(item.error(Fault::Backwards { kind, first, last }, help));
    }
    let Some(step) = step.map(number).transpose()? else {
        return Ok(());
    };
    if !range.contains(['*', '-']) {
        return Err(wrong_item(kind, item));
    }
    if step == 0 || step > last - first {
        let help = format!(
            "steps within {first}-{last} go from 1 to {}; for one value write `{first}`",
            last - first
        );
        return Err(item.error(Fault::Step { kind, step }, help));
    }
    Ok(())
}
