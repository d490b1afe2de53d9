//! An expression as an English sentence.

use super::cron::Cron;
use super::days::Days;
use super::field::{Field, Modifier};

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const NTH: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];

/// More clock times than this are not listed one by one.
const MOST_TIMES: u32 = 6;

/// The sentence: `Every day at 02:00`.
pub(super) fn sentence(cron: &Cron) -> String {
    let (days, times) = (days(&cron.days), times(cron));
    match (days.is_empty(), times.starts_with("every")) {
        (true, true) => capital(&times),
        (true, false) => format!("Every day {times}"),
        (false, true) => format!("{}, {days}", capital(&times)),
        (false, false) => format!("{} {times}", capital(&days)),
    }
}

fn times(cron: &Cron) -> String {
    let (hours, minutes) = (values(&cron.hours), values(&cron.minutes));
    if !cron.minutes.wild && hours.len() * minutes.len() <= MOST_TIMES as usize && !cron.hours.wild {
        let all = hours
            .iter()
            .flat_map(|hour| minutes.iter().map(move |minute| format!("{hour:02}:{minute:02}")));
        return format!("at {}", list(&all.collect::<Vec<_>>()));
    }
    let minute = every(&cron.minutes, &minutes, 60, "minute");
    let hour = every(&cron.hours, &hours, 24, "hour");
    let at_minute = || format!("at minute {}", list(&texts(&minutes)));
    match (minute, hour) {
        (Some(minute), Some(hour)) if hour == "every hour" => minute,
        (Some(minute), Some(hour)) => format!("{minute} of {hour}"),
        (Some(minute), None) => format!("{minute} of {}", hours_of_day(&hours)),
        (None, Some(hour)) => format!("{hour} {}", at_minute()),
        (None, None) => format!("{} of {}", at_minute(), hours_of_day(&hours)),
    }
}

/// `every 15 minutes`, where the steps go through the whole hour or day evenly.
fn every(field: &Field, values: &[u32], length: u32, noun: &str) -> Option<String> {
    if field.star {
        return Some(format!("every {noun}"));
    }
    let step = values.get(1)? - values.first()?;
    let even = values
        .iter()
        .enumerate()
        .all(|(i, value)| *value == i as u32 * step);
    (even && step * values.len() as u32 == length).then(|| format!("every {step} {noun}s"))
}

fn hours_of_day(hours: &[u32]) -> String {
    match (hours, hours.last()) {
        ([only], _) => format!("hour {only:02}"),
        ([first, ..], Some(last)) if hours.len() > 2 && last - first + 1 == hours.len() as u32 => {
            format!("the hours {first:02} to {last:02}")
        }
        _ => format!(
            "the hours {}",
            list(&hours.iter().map(|hour| format!("{hour:02}")).collect::<Vec<_>>())
        ),
    }
}

/// Empty for every day.
fn days(days: &Days) -> String {
    let of_month = (!days.of_month.star).then(|| of_month(&days.of_month));
    let of_week = (!days.of_week.star).then(|| of_week(&days.of_week));
    let months =
        (!days.months.star).then(|| list(&runs(&values(&days.months), |month| MONTHS[month as usize - 1])));
    let joined = match (of_month, of_week) {
        (Some(month), Some(week)) if days.both => {
            Some(format!("on {month} if it is {}", week.trim_start_matches("the ")))
        }
        (Some(month), Some(week)) => Some(format!("on {month} and on {week}")),
        (Some(one), None) | (None, Some(one)) => Some(format!("on {one}")),
        (None, None) => None,
    };
    match (joined, months) {
        (Some(days), Some(months)) => format!("{} in {months}", days.replace(" of the month", "")),
        (Some(days), None) => days,
        (None, Some(months)) => format!("every day in {months}"),
        (None, None) => String::new(),
    }
}

fn of_month(field: &Field) -> String {
    let plain = values(field);
    let mut all: Vec<String> = runs(&plain, |day| day)
        .into_iter()
        .map(|text| ordinals(&text))
        .collect();
    all.extend(field.modifiers.iter().map(|modifier| match *modifier {
        Modifier::Last => "last day".to_owned(),
        Modifier::LastWeekday => "last Monday-to-Friday day".to_owned(),
        Modifier::Nearest(day) => format!("Monday-to-Friday day nearest to the {}", ordinal(day)),
        Modifier::Nth(..) | Modifier::LastOf(_) => String::new(),
    }));
    format!("the {} of the month", list(&all))
}

fn of_week(field: &Field) -> String {
    let name = |day: u32| DAYS[day as usize % 7];
    let mut all = runs(&values(field), name);
    let modified: Vec<String> = field
        .modifiers
        .iter()
        .map(|modifier| match *modifier {
            Modifier::Nth(day, nth) => format!("the {} {} of the month", NTH[nth as usize - 1], name(day)),
            Modifier::LastOf(day) => format!("the last {} of the month", name(day)),
            _ => String::new(),
        })
        .collect();
    all.extend(modified);
    list(&all)
}

fn values(field: &Field) -> Vec<u32> {
    (0..64).filter(|value| field.values >> value & 1 == 1).collect()
}

fn texts(values: &[u32]) -> Vec<String> {
    values.iter().map(u32::to_string).collect()
}

/// Values with neighbours joined: `Monday to Friday`.
fn runs<T: ToString>(values: &[u32], name: impl Fn(u32) -> T) -> Vec<String> {
    let joined = values.chunk_by(|a, b| a + 1 == *b);
    let text = |run: &[u32]| match run {
        [first, .., last] if run.len() > 2 => vec![format!(
            "{} to {}",
            name(*first).to_string(),
            name(*last).to_string()
        )],
        few => few.iter().map(|value| name(*value).to_string()).collect(),
    };
    joined.flat_map(text).collect()
}

fn ordinals(text: &str) -> String {
    let each = text
        .split(" to ")
        .map(|part| part.parse().map_or_else(|_| part.to_owned(), ordinal));
    each.collect::<Vec<_>>().join(" to ")
}

fn ordinal(day: u32) -> String {
    let ending = match (day % 10, day / 10) {
        (1, tens) if tens != 1 => "st",
        (2, tens) if tens != 1 => "nd",
        (3, tens) if tens != 1 => "rd",
        _ => "th",
    };
    format!("{day}{ending}")
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
