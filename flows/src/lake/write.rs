//! Writes events as a lake, for the demo and for tests.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float32Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::partition::{day_of, folder};
use super::{LakeError, Store};

/// An event as it lies in a lake. Ids and time may be missing: a lake is not clean.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Identity; repeated where a sender repeated itself.
    pub event_id: i64,
    /// Who.
    pub user_id: Option<i32>,
    /// What.
    pub item_id: Option<i32>,
    /// `view`, `progress`, `complete`, …
    pub event_type: Option<String>,
    /// Strength.
    pub value: Option<f32>,
    /// When it happened, microseconds since 1970.
    pub ts: Option<i64>,
    /// When it arrived, microseconds since 1970: decides its partition.
    pub arrived: i64,
}

/// What goes into a lake.
#[derive(Debug, Clone, Default)]
pub struct Lake {
    /// The events, in any order.
    pub events: Vec<Event>,
    /// `users.parquet`, where there is one.
    pub users: Option<RecordBatch>,
    /// `items.parquet`, where there is one.
    pub items: Option<RecordBatch>,
    /// `gdpr/deleted_users.txt`: people who asked to be forgotten.
    pub deleted_users: Vec<i64>,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Events.
    pub rows: u64,
    /// Days of arrival.
    pub partitions: u64,
}

/// Writes a lake below `root` (`s3://…` or `file:///…`); what lies there under the same names is replaced.
pub async fn write(lake: &Lake, root: &str, env: &BTreeMap<String, String>) -> Result<Written, LakeError> {
    let store = Store::open(root, env).await?;
    let mut days: HashMap<i64, Vec<&Event>> = HashMap::new();
    for event in &lake.events {
        days.entry(day_of(event.arrived)).or_default().push(event);
    }
    let partitions = days.len() as u64;
    for (day, events) in days {
        let key = format!("{}part-0.parquet", folder(day));
        store.put(&key, encode(&batch(&events), &key)?).await?;
    }
    for (key, table) in [("users.parquet", &lake.users), ("items.parquet", &lake.items)] {
        if let Some(table) = table {
            store.put(key, encode(table, key)?).await?;
        }
    }
    let list: String = lake
        .deleted_users
        .iter()
        .map(|user| format!("{user}\n"))
        .collect();
    store.put("gdpr/deleted_users.txt", list.into_bytes()).await?;
    Ok(Written {
        rows: lake.events.len() as u64,
        partitions,
    })
}

fn schema() -> Arc<Schema> {
    let ts = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("event_id", DataType::Int64, false),
        Field::new("user_id", DataType::Int32, true),
        Field::new("item_id", DataType::Int32, true),
        Field::new("event_type", DataType::Utf8, true),
        Field::new("value", DataType::Float32, true),
        Field::new("ts", ts, true),
    ]))
}

#[expect(
    clippy::panic,
    reason = "the columns are made here to fit the schema made here"
)]
fn batch(events: &[&Event]) -> RecordBatch {
    let ts: TimestampMicrosecondArray = events.iter().map(|e| e.ts).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(events.iter().map(|e| Some(e.event_id)).collect::<Int64Array>()),
        Arc::new(events.iter().map(|e| e.user_id).collect::<Int32Array>()),
        Arc::new(events.iter().map(|e| e.item_id).collect::<Int32Array>()),
        Arc::new(
            events
                .iter()
                .map(|e| e.event_type.as_deref())
                .collect::<StringArray>(),
        ),
        Arc::new(events.iter().map(|e| e.value).collect::<Float32Array>()),
        Arc::new(ts.with_timezone("UTC")),
    ];
    RecordBatch::try_new(schema(), columns)
        .unwrap_or_else(|e| panic!("BUG: events do not fit their schema: {e}"))
}

fn encode(batch: &RecordBatch, file: &str) -> Result<Vec<u8>, LakeError> {
    let failed = |source| LakeError::Parquet {
        file: file.to_owned(),
        source,
    };
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).map_err(failed)?;
    writer.write(batch).map_err(failed)?;
    writer.into_inner().map_err(failed)
}
