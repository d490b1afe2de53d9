//! Durations as people write them: `"90s"`, `"15m"`, `"3h"`, `"30d"`, `"1h30m"`, `"500ms"`.
//!
//! A day has 24 hours. The finest unit is the millisecond; what is finer is cut off when shown. The serde modules [`text`] and
//! [`text_option`] store durations as such texts.

use std::fmt;
use std::time::Duration;

/// Units from the largest: suffix and length in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The longest duration that is accepted: 100 years of 365 days.
pub const MAX: Duration = Duration::from_secs(36_500 * 86_400);

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing was written.
    #[error("a duration must not be empty; write \"90s\", \"15m\", \"3h\" or \"30d\"")]
    Empty,
    /// A number without its unit.
    #[error("{0:?} has no unit; write \"{0}s\", \"{0}m\", \"{0}h\" or \"{0}d\"")]
    NoUnit(String),
    /// A unit that is none of ours.
    #[error("{unit:?} is no unit; durations use ms, s, m, h and d{}", hint(.near))]
    Unit {
        /// As written.
        unit: String,
        /// What was probably meant, as a whole duration.
        near: Option<String>,
    },
    /// A unit where a number should be.
    #[error("a number must stand before {0:?}; write \"90s\", \"15m\", \"3h\" or \"30d\"")]
    NoNumber(String),
    /// A fraction.
    #[error("{0:?} is a fraction; durations are whole numbers, like \"1h30m\" or \"1500ms\"")]
    Fraction(String),
    /// Spaces within.
    #[error("a duration is written without spaces: \"{0}\"")]
    Spaces(String),
    /// Units repeated or not from large to small.
    #[error("units go from large to small, each once, like \"1h30m\"; {0:?} stands too late")]
    Order(String),
    /// More than 100 years.
    #[error("{0:?} is longer than 36500d")]
    TooLong(String),
}

fn hint(near: &Option<String>) -> String {
    near.as_ref()
        .map_or_else(String::new, |near| format!("; did you mean {near:?}?"))
}

/// Reads `"90s"`, `"1h30m"`, `"500ms"`, …: whole numbers with units from large to small, at most [`MAX`].
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if text.trim().is_empty() {
        return Err(DurationError::Empty);
    }
    if text.contains(char::is_whitespace) {
        return Err(DurationError::Spaces(text.split_whitespace().collect()));
    }
    let (mut rest, mut millis, mut next_unit) = (text, 0_u64, 0);
    while !rest.is_empty() {
        let part = take_part(rest)?;
        let index = unit_index(text, &part)?;
        if index < next_unit {
            return Err(DurationError::Order(format!("{}{}", part.number, part.unit)));
        }
        let too_long = || DurationError::TooLong(text.to_owned());
        let amount: u64 = part.number.parse().map_err(|_| too_long())?;
        let add = amount.checked_mul(UNITS[index].1).ok_or_else(too_long)?;
        millis = millis.checked_add(add).ok_or_else(too_long)?;
        next_unit = index + 1;
        rest = part.rest;
    }
    let duration = Duration::from_millis(millis);
    if duration > MAX {
        Err(DurationError::TooLong(text.to_owned()))
    } else {
        Ok(duration)
    }
}

/// `30m` of `1h30m`: a number, its unit and what follows.
struct Part<'t> {
    number: &'t str,
    unit: &'t str,
    rest: &'t str,
}

fn take_part(text: &str) -> Result<Part<'_>, DurationError> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, tail) = text.split_at(digits);
    if number.is_empty() {
        return Err(DurationError::NoNumber(text.to_owned()));
    }
    if tail.starts_with(['.', ',']) {
        return Err(DurationError::Fraction(text.to_owned()));
    }
    let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
    let (unit, rest) = tail.split_at(unit_end);
    if unit.is_empty() {
        Err(DurationError::NoUnit(number.to_owned()))
    } else {
        Ok(Part { number, unit, rest })
    }
}

fn unit_index(text: &str, part: &Part<'_>) -> Result<usize, DurationError> {
    let known = UNITS.iter().position(|(unit, _)| *unit == part.unit);
    known.ok_or_else(|| DurationError::Unit {
        unit: part.unit.to_owned(),
        near: near_unit(part.unit).map(|unit| text.replacen(part.unit, &unit, 1)),
    })
}

/// Our unit for one that people write elsewhere.
fn near_unit(unit: &str) -> Option<String> {
    let unit = match unit.to_lowercase().trim_end_matches('s') {
        "" | "sec" | "second" => "s",
        "m" if unit.eq_ignore_ascii_case("ms") => "ms",
        "milli" | "msec" | "millisecond" => "ms",
        "m" | "min" | "minute" => "m",
        "h" | "hr" | "hour" => "h",
        "d" | "day" => "d",
        _ => return None,
    };
    Some(unit.to_owned())
}

/// The shortest text that [`parse`] reads back: `1h30m`, `90d`, `0s`.
pub fn format(duration: Duration) -> String {
    Shown(duration).to_string()
}

/// A duration that displays as [`format()`] writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown(pub Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return f.write_str("0s");
        }
        if let Some((unit, length)) = whole_unit(millis) {
            return write!(f, "{}{unit}", millis / length);
        }
        for (unit, length) in UNITS {
            if millis >= length {
                write!(f, "{}{unit}", millis / length)?;
                millis %= length;
            }
        }
        Ok(())
    }
}

/// The unit that says it in one short number: `90s` rather than `1m30s`, but `1h1m` rather than `61m` is no shorter.
fn whole_unit(millis: u64) -> Option<(&'static str, u64)> {
    let largest = UNITS.iter().find(|(_, length)| millis.is_multiple_of(*length))?;
    (millis / largest.1 < 100).then_some(*largest)
}

/// `#[serde(with = "crate::duration::text")]`: a duration as its text.
pub mod text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes `"15m"`.
    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&super::Shown(*duration))
    }

    /// Reads `"15m"`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        super::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// `#[serde(with = "crate::duration::text_option")]`: a duration that may be absent, as its text or null.
pub mod text_option {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes `"15m"` or null.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => to.collect_str(&super::Shown(*duration)),
            None => to.serialize_none(),
        }
    }

    /// Reads `"15m"` or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| super::parse(&text))
            .transpose()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_contract_writes_is_read() {
        let seconds = |text| parse(text).map(|d| d.as_secs_f64());
        assert_eq!(seconds("90s"), Ok(90.0));
        assert_eq!(seconds("15m"), Ok(900.0));
        assert_eq!(seconds("3h"), Ok(10_800.0));
        assert_eq!(seconds("30d"), Ok(2_592_000.0));
        assert_eq!(seconds("1h30m"), Ok(5_400.0));
        assert_eq!(seconds("500ms"), Ok(0.5));
        assert_eq!(seconds("0s"), Ok(0.0));
    }

    #[test]
    fn a_wrong_duration_says_what_fits() {
        let error = |text: &str| parse(text).unwrap_err().to_string();
        let all = [
            "",
            "90",
            "1.5h",
            "-5m",
            "5 m",
            "5min",
            "3H",
            "2w",
            "30m1h",
            "1h1h",
            "99999999999999999999d",
            "40000d",
            "h",
            "1h30",
            "5µs",
            "２h",
        ]
        .map(|text| format!("{text:?}: {}", error(text)));
        insta::assert_snapshot!(all.join("\n"), @r#"
        "": a duration must not be empty; write "90s", "15m", "3h" or "30d"
        "90": "90" has no unit; write "90s", "90m", "90h" or "90d"
        "1.5h": "1.5h" is a fraction; durations are whole numbers, like "1h30m" or "1500ms"
        "-5m": a number must stand before "-5m"; write "90s", "15m", "3h" or "30d"
        "5 m": a duration is written without spaces: "5m"
        "5min": "min" is no unit; durations use ms, s, m, h and d; did you mean "5m"?
        "3H": "H" is no unit; durations use ms, s, m, h and d; did you mean "3h"?
        "2w": "w" is no unit; durations use ms, s, m, h and d
        "30m1h": units go from large to small, each once, like "1h30m"; "1h" stands too late
        "1h1h": units go from large to small, each once, like "1h30m"; "1h" stands too late
        "99999999999999999999d": "99999999999999999999d" is longer than 36500d
        "40000d": "40000d" is longer than 36500d
        "h": a number must stand before "h"; write "90s", "15m", "3h" or "30d"
        "1h30": "30" has no unit; write "30s", "30m", "30h" or "30d"
        "5µs": "µs" is no unit; durations use ms, s, m, h and d
        "２h": a number must stand before "２h"; write "90s", "15m", "3h" or "30d"
        "#);
    }

    #[test]
    fn the_shortest_form_is_shown() {
        let shown = |text: &str| format(parse(text).unwrap());
        assert_eq!(shown("90s"), "90s");
        assert_eq!(shown("60s"), "1m");
        assert_eq!(shown("5400s"), "90m");
        assert_eq!(shown("3661s"), "1h1m1s");
        assert_eq!(shown("48h"), "2d");
        assert_eq!(shown("1500ms"), "1s500ms");
        assert_eq!(shown("0h"), "0s");
        assert_eq!(shown("36500d"), "36500d");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(millis in 0..=MAX.as_millis() as u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "[0-9a-zµ. ]{0,12}") {
            let _ = parse(&text);
        }
    }
}
