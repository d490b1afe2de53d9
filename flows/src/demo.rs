//! The lake of `tidegate demo`: made-up learning events of the last 60 days, as untidy as real ones.
//!
//! Whatever has not happened or not arrived by `until` is not in it, so that a run sees today as it would in life. A window
//! of 30 days, this one or an older one, clears the staging rules of `playbook/train-ranking-model.toml` with its whole interval.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use jiff::Timestamp;
use tidegate_learn::generate::{self, LearningEvent, Params, World};

use crate::lake::write::Event;
use crate::lake::{DAY, Lake, LakeError, Written, write};

/// Days of events, `until`'s own day included.
const DAYS: u32 = 60;

/// Writes the lake below `root` (`s3://…` or `file:///…`): at least 200,000 events, `users.parquet`, `items.parquet` and
/// `gdpr/deleted_users.txt`. The same day gives the same lake. `env`: where credentials for S3 are looked for.
pub async fn write_lake(
    root: &str,
    until: Timestamp,
    env: &BTreeMap<String, String>,
) -> Result<Written, LakeError> {
    let made = tokio::task::spawn_blocking(move || lake(until)).await;
    let lake = made.map_err(|e| LakeError::Setting(format!("the events could not be made: {e}")))?;
    write(&lake, root, env).await
}

fn lake(until: Timestamp) -> Lake {
    let now = until.as_microsecond();
    let today = now.div_euclid(DAY);
    let first_day = today - i64::from(DAYS) + 1;
    let params = Params {
        days: DAYS,
        start: first_day * (DAY / 1_000_000),
        ..Params::default()
    };
    let world = generate::world(&params);
    let arrived = |event: &LearningEvent| arrival(event, first_day);
    let known = |event: &&LearningEvent| event.ts_micros < now && arrived(event) < now;
    let events: Vec<Event> = world
        .events
        .iter()
        .filter(known)
        .map(|event| delivered(event, arrived(event)))
        .collect();
    Lake {
        users: Some(users(&world, &events)),
        items: Some(items(&world)),
        events,
        deleted_users: world.forgotten,
    }
}

/// An event that was not delayed arrives at once, a delayed one at the same hour of a later day.
fn arrival(event: &LearningEvent, first_day: i64) -> i64 {
    let happened = event.ts_micros.div_euclid(DAY);
    let arrived = first_day + i64::from(event.arrival_day);
    event.ts_micros + (arrived - happened).max(0) * DAY
}

fn delivered(event: &LearningEvent, arrived: i64) -> Event {
    Event {
        event_id: event.event_id,
        user_id: Some(event.user_id as i32),
        item_id: Some(event.item_id as i32),
        event_type: Some(event.event_type.name().to_owned()),
        value: event.value,
        ts: Some(event.ts_micros),
        arrived,
    }
}

/// Who has been seen: id, first event, cohort.
fn users(world: &World, events: &[Event]) -> RecordBatch {
    let mut first: HashMap<i32, i64> = HashMap::new();
    for event in events {
        if let (Some(user), Some(ts)) = (event.user_id, event.ts) {
            first
                .entry(user)
                .and_modify(|known| *known = ts.min(*known))
                .or_insert(ts);
        }
    }
    let seen = |user: &generate::Learner| {
        Some((
            user.user_id as i32,
            *first.get(&(user.user_id as i32))?,
            user.cohort,
        ))
    };
    let rows: Vec<(i32, i64, &str)> = world.users.iter().filter_map(seen).collect();
    let firsts = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1));
    table(vec![
        (
            "user_id",
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.0))),
        ),
        ("first_ts", Arc::new(firsts.with_timezone("UTC"))),
        (
            "cohort",
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2))),
        ),
    ])
}

fn items(world: &World) -> RecordBatch {
    let items = &world.items;
    let ids = items.iter().map(|item| item.item_id as i32);
    let topics = items.iter().map(|item| item.topic as i32);
    let difficulties = items.iter().map(|item| item.difficulty);
    table(vec![
        ("item_id", Arc::new(Int32Array::from_iter_values(ids))),
        ("topic", Arc::new(Int32Array::from_iter_values(topics))),
        (
            "difficulty",
            Arc::new(Float32Array::from_iter_values(difficulties)),
        ),
    ])
}

#[expect(clippy::panic, reason = "the columns are made here, equally long")]
fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns)
        .unwrap_or_else(|e| panic!("BUG: columns of a made-up table differ: {e}"))
}

#[cfg(test)]
mod tests;
