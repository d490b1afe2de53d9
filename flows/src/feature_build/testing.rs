//! A small made-up world for the tests of the ML plugins: people with one taste each, events as real Parquet.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::dataset::{Dataset, Size};
use crate::testing::Bench;

/// Topics of items, tastes of people.
const TOPICS: i32 = 5;
/// 2026-10-01.
const START: i64 = 1_790_812_800;

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub user: i32,
    pub item: i32,
    pub kind: &'static str,
    pub ts: i64,
}

/// 150 people, 100 items in five topics, 40 events a person over 60 days; a person keeps to one topic five times out of six.
pub(crate) fn world(seed: u64) -> Vec<Row> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut rows = Vec::new();
    for user in 0..150 {
        for _ in 0..40 {
            let topic = if rng.random_range(0..6) == 0 {
                rng.random_range(0..TOPICS)
            } else {
                user % TOPICS
            };
            let depth = rng.random::<f64>();
            let item = topic + TOPICS * ((depth * depth * 20.0) as i32);
            let kind = ["view", "progress", "complete"][rng.random_range(0..3)];
            rows.push(Row {
                user,
                item,
                kind,
                ts: START + rng.random_range(0..60 * 86_400),
            });
        }
    }
    rows
}

/// The events as a table that `data_pull` could have made.
pub(crate) fn events(folder: &Path, rows: &[Row]) -> Dataset {
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "event_id",
            Arc::new((0..rows.len() as i64).collect::<Int64Array>()),
        ),
        (
            "user_id",
            Arc::new(rows.iter().map(|r| r.user).collect::<Int32Array>()),
        ),
        (
            "item_id",
            Arc::new(rows.iter().map(|r| r.item).collect::<Int32Array>()),
        ),
        (
            "event_type",
            Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.kind))),
        ),
        (
            "value",
            Arc::new(
                rows.iter()
                    .map(|r| (r.ts % 10 > 0).then_some(0.5))
                    .collect::<Float32Array>(),
            ),
        ),
        (
            "ts",
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.ts * 1_000_000))
                    .with_timezone("UTC"),
            ),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let path = folder.join("events.parquet");
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    Dataset::local(
        &path,
        &batch.schema(),
        Size {
            rows: rows.len() as u64,
            bytes,
        },
        &"0".repeat(64),
    )
}

/// The SQL of the playbook's ranking flow.
pub(crate) const SQL: &str = include_str!("../../playbook/sql/ranking_features.sql");

/// The world's features, by the playbook's SQL; the bench keeps the files.
pub(crate) async fn features(rows: &[Row], seed: u64) -> (Bench, Value) {
    let bench = Bench::new();
    let events = events(bench.root.path(), rows);
    let with = json!({"events": events, "sql": SQL, "params": {"complete_weight": 3.0}, "seed": seed});
    let output = bench.run("feature_build", with).await.unwrap();
    (bench, output)
}

/// A quick retrieval training on features.
pub(crate) fn training(features: &Value, seed: u64) -> Value {
    let retrieval = json!({"dim": 16, "epochs": 12, "batch": 256});
    json!({"kind": "retrieval", "features": features["table"], "seed": seed, "retrieval": retrieval})
}
