//! Which files of a lake hold the events that arrived on some days.

use std::ops::RangeInclusive;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::{DAY, LakeError, Object, Store};

/// A file of the lake and the day it arrived, in days since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The file.
    pub object: Object,
    /// Days since 1970-01-01, UTC.
    pub day: i64,
}

/// The day of an instant, in days since 1970-01-01, UTC.
pub fn day_of(micros: i64) -> i64 {
    micros.div_euclid(DAY)
}

/// `year=2026/month=01/day=31/` for a day since 1970.
pub fn folder(day: i64) -> String {
    let date = Timestamp::from_microsecond(day * DAY)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_zoned(TimeZone::UTC)
        .date();
    format!(
        "year={:04}/month={:02}/day={:02}/",
        date.year(),
        date.month(),
        date.day()
    )
}

/// The Parquet files that arrived on these days, by day and name; and how many folders of days there are.
pub async fn parts(store: &Store, days: RangeInclusive<i64>) -> Result<(Vec<Part>, u64), LakeError> {
    let mut parts = Vec::new();
    let mut partitions = 0;
    for (year, year_folder) in numbered(store, "", "year").await? {
        if !touches(&days, year, 1, 12) {
            continue;
        }
        for (month, month_folder) in numbered(store, &year_folder, "month").await? {
            if !touches(&days, year, month, month) {
                continue;
            }
            for (day, day_folder) in numbered(store, &month_folder, "day").await? {
                let Some(day) = since_1970(year, month, day).filter(|d| days.contains(d)) else {
                    continue;
                };
                partitions += 1;
                let (_, files) = store.list(&day_folder).await?;
                let wanted = files.into_iter().filter(|o| is_data(&o.key) && o.size > 0);
                parts.extend(wanted.map(|object| Part { object, day }));
            }
        }
    }
    parts.sort_by(|a, b| (a.day, &a.object).cmp(&(b.day, &b.object)));
    Ok((parts, partitions))
}

fn is_data(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    name.ends_with(".parquet") && !name.starts_with(['_', '.'])
}

/// Folders `name=NUMBER` directly in a folder, padded with zeros or not.
async fn numbered(store: &Store, folder: &str, name: &str) -> Result<Vec<(i16, String)>, LakeError> {
    let (folders, _) = store.list(folder).await?;
    let parse = |found: String| {
        let number = found.strip_prefix(name)?.strip_prefix('=')?.parse().ok()?;
        Some((number, format!("{folder}{found}/")))
    };
    Ok(folders.into_iter().filter_map(parse).collect())
}

fn since_1970(year: i16, month: i16, day: i16) -> Option<i64> {
    let date = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let midnight = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(day_of(midnight.as_microsecond()))
}

/// Whether any day of these months is wanted.
fn touches(days: &RangeInclusive<i64>, year: i16, first: i16, last: i16) -> bool {
    let start = since_1970(year, first, 1);
    let end = i8::try_from(last).ok().and_then(|m| Date::new(year, m, 1).ok());
    let end = end.and_then(|d| d.checked_add(Span::new().months(1)).ok());
    let end = end.and_then(|d| since_1970(d.year(), i16::from(d.month()), 1));
    matches!((start, end), (Some(start), Some(end)) if start <= *days.end() && end > *days.start())
}
