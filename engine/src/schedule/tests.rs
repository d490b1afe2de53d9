#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod catchup;
mod golden;
mod oracle;
mod properties;
mod wording;

use jiff::Timestamp;

use super::*;
use crate::graph::DomDow;

fn table(expr: &str, zone: &str) -> Timetable {
    combined(expr, zone, None)
}

fn combined(expr: &str, zone: &str, dom_dow: Option<DomDow>) -> Timetable {
    Timetable::new(
        Cron::parse(expr, dom_dow).expect(expr),
        find_zone(zone).expect(zone),
    )
}

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

/// The next `count` fires after a time, as `03-29 01:00`.
fn fires(table: &Timetable, after: &str, count: usize) -> Vec<String> {
    let ticks = table.between(at(after), Timestamp::MAX, count);
    ticks
        .iter()
        .map(|tick| tick.at.strftime("%m-%d %H:%M").to_string())
        .collect()
}
