//! What is wrong with a cron expression, with the range inside its text.

use std::ops::Range;

use crate::graph::DomDow;

/// A mistake in an expression.
pub(super) struct CronMistake {
    /// Bytes of the expression.
    pub range: Range<usize>,
    pub message: String,
    pub help: Option<String>,
}

struct FieldRule {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MONTH_DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const MACROS: [&str; 6] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@hourly"];
const FIELDS: [FieldRule; 5] = [
    FieldRule {
        name: "minute",
        min: 0,
        max: 59,
        names: &[],
    },
    FieldRule {
        name: "hour",
        min: 0,
        max: 23,
        names: &[],
    },
    FieldRule {
        name: "day of month",
        min: 1,
        max: 31,
        names: &[],
    },
    FieldRule {
        name: "month",
        min: 1,
        max: 12,
        names: &MONTHS,
    },
    FieldRule {
        name: "day of week",
        min: 0,
        max: 7,
        names: &DAYS,
    },
];

fn mistake(range: Range<usize>, message: impl Into<String>, help: Option<&str>) -> Option<CronMistake> {
    Some(CronMistake {
        range,
        message: message.into(),
        help: help.map(str::to_owned),
    })
}

/// The first mistake; `None`: the expression holds and fires some day.
pub(super) fn find_mistake(text: &str, dom_dow: Option<DomDow>) -> Option<CronMistake> {
    let body = text.trim();
    if body.starts_with('@') {
        let known = MACROS.contains(&body) || body == "@midnight";
        let help = format!("known: {}", MACROS.join(", "));
        return (!known).then(|| mistake(0..text.len(), format!("there is no `{body}`"), Some(&help)))?;
    }
    let fields: Vec<Range<usize>> = split(text);
    if fields.len() == 6 || fields.len() == 7 {
        let help = format!(
            "leave the seconds out: \"{}\"",
            text[fields[1].start..].trim_end()
        );
        let message = format!(
            "{} fields; a cron expression here has 5, without seconds",
            fields.len()
        );
        return mistake(fields[0].clone(), message, Some(&help));
    }
    if fields.len() != 5 {
        let message = format!("a cron expression has 5 fields, this has {}", fields.len());
        return mistake(
            0..text.len(),
            message,
            Some("minute hour day-of-month month day-of-week: \"0 2 * * *\""),
        );
    }
    let wrong = FIELDS
        .iter()
        .zip(&fields)
        .find_map(|(rule, range)| field(text, rule, range.clone()));
    wrong
        .or_else(|| both_days(text, &fields, dom_dow))
        .or_else(|| never(text, &fields))
}

fn split(text: &str) -> Vec<Range<usize>> {
    let start = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    text.split_whitespace()
        .map(|word| start(word)..start(word) + word.len())
        .collect()
}

fn field(text: &str, rule: &FieldRule, range: Range<usize>) -> Option<CronMistake> {
    let mut at = range.start;
    for part in text[range].split(',') {
        let place = at..at + part.len();
        if let Some(message) = part_problem(part, rule) {
            return mistake(place, format!("{message} in the field `{}`", rule.name), None);
        }
        at = place.end + 1;
    }
    None
}

fn part_problem(part: &str, rule: &FieldRule) -> Option<String> {
    let (base, step) = part
        .split_once('/')
        .map_or((part, None), |(base, step)| (base, Some(step)));
    if let Some(step) = step {
        let span = rule.max - rule.min + 1;
        match step.parse::<u32>() {
            Ok(step) if step >= 1 && step < span => {}
            _ => return Some(format!("the step `{step}` is not between 1 and {}", span - 1)),
        }
    }
    if base == "*" || step.is_none() && is_special(base, rule) {
        return None;
    }
    let (low, high) = base.split_once('-').map_or((base, base), |ends| ends);
    match (value(low, rule), value(high, rule)) {
        (Some(low), Some(high)) if low <= high => None,
        (Some(_), Some(_)) => Some(format!("the range `{base}` runs backwards")),
        _ => Some(format!("`{base}` is not between {} and {}", rule.min, rule.max)),
    }
}

/// `L`, `15W`, `LW` in the day of month; `SUN#1`, `5L` in the day of week.
fn is_special(base: &str, rule: &FieldRule) -> bool {
    match rule.name {
        "day of month" => {
            let near = base
                .strip_suffix('W')
                .is_some_and(|day| value(day, rule).is_some());
            matches!(base, "L" | "LW") || near
        }
        "day of week" => {
            let nth = base.split_once('#').is_some_and(|(day, n)| {
                value(day, rule).is_some() && matches!(n, "1" | "2" | "3" | "4" | "5" | "L")
            });
            nth || base
                .strip_suffix('L')
                .is_some_and(|day| value(day, rule).is_some())
        }
        _ => false,
    }
}

fn value(text: &str, rule: &FieldRule) -> Option<u32> {
    let named = rule
        .names
        .iter()
        .position(|name| name.eq_ignore_ascii_case(text))
        .map(|at| at as u32 + rule.min);
    let digits = text
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten();
    named
        .or(digits)
        .filter(|value| (rule.min..=rule.max).contains(value))
}

fn both_days(text: &str, fields: &[Range<usize>], dom_dow: Option<DomDow>) -> Option<CronMistake> {
    let given = |at: usize| !text[fields[at].clone()].starts_with('*');
    match (given(2) && given(4), dom_dow) {
        (true, None) => {
            let help =
                "write dom_dow = \"or\" or \"and\"; for the first Sunday of a month write \"0 2 * * SUN#1\"";
            let message =
                "day of month and day of week are both given, which is read differently from tool to tool";
            mistake(fields[2].start..fields[4].end, message, Some(help))
        }
        (false, Some(_)) => {
            let message = "`dom_dow` has no effect: day of month and day of week are not both given";
            mistake(
                fields[2].start..fields[4].end,
                message,
                Some("leave `dom_dow` out"),
            )
        }
        _ => None,
    }
}

/// Whether the days all lie past the end of the months.
fn never(text: &str, fields: &[Range<usize>]) -> Option<CronMistake> {
    let (dom, months) = (&text[fields[2].clone()], &text[fields[3].clone()]);
    let first = dom.split(',').map(|part| {
        part.split(['-', '/'])
            .next()
            .and_then(|low| value(low, &FIELDS[2]))
    });
    let first = first.collect::<Option<Vec<u32>>>()?.into_iter().min()?;
    let longest = (1..=12).filter(|&month| months.split(',').any(|part| covers(part, month)));
    let longest = longest.map(|month| MONTH_DAYS[month as usize - 1]).max()?;
    let weekday_joins = !text[fields[4].clone()].starts_with('*');
    (first > longest && !weekday_joins).then(|| {
        let help = "for the last day of a month write \"0 0 L * *\"";
        mistake(
            fields[2].start..fields[3].end,
            "this date never comes",
            Some(help),
        )
    })?
}

fn covers(part: &str, month: u32) -> bool {
    let (base, step) = part
        .split_once('/')
        .map_or((part, 1), |(base, step)| (base, step.parse().unwrap_or(1)));
    let rule = &FIELDS[3];
    let (low, high) = match base.split_once('-') {
        Some((low, high)) => (value(low, rule), value(high, rule)),
        None if base == "*" => (Some(1), Some(12)),
        None if part.contains('/') => (value(base, rule), Some(12)),
        None => (value(base, rule), value(base, rule)),
    };
    let (Some(low), Some(high)) = (low, high) else {
        return false;
    };
    (low..=high).contains(&month) && (month - low) % step == 0
}
