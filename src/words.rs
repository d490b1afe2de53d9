//! Identities, instants and durations as people are shown them.

use jiff::{SignedDuration, Timestamp};
use tidegate_engine::store::read::short_id;
use uuid::Uuid;

/// The end of an id, as people type it: its beginning is the time, which neighbours share.
pub fn short(id: Uuid) -> String {
    short_id(id)
}

/// An instant to the second, `2026-11-25T02:00:00Z`.
pub fn instant(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// How long something took: `0.4s`, `42s`, `3m07s`, `2h05m`, `4d03h`.
pub fn took(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..10 => format!("{:.1}s", duration.as_secs_f64().max(0.0)),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// How long ago, or in how long, by one unit: `12s`, `5m`, `47h`, `9d`.
pub fn distance(duration: SignedDuration) -> String {
    let seconds = duration.abs().as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..259_200 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `1 task`, `2 tasks`.
pub fn count(number: impl TryInto<u64>, thing: &str) -> String {
    let number = number.try_into().unwrap_or_default();
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_two_units_at_most() {
        let told =
            [400, 42_900, 187_000, 7_500_000, 356_400_000].map(|ms| took(SignedDuration::from_millis(ms)));
        assert_eq!(told, ["0.4s", "42s", "3m07s", "2h05m", "4d03h"]);
    }
}
