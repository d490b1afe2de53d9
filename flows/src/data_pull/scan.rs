//! From a lake: the files that can hold rows of the window, two at a time, decoded beside the spilling.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, AsArray, Float32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use futures::{StreamExt, TryStreamExt, stream};
use tidegate_engine::plugin::{Ctx, TaskError};
use tokio::sync::mpsc;

use super::rows::{Row, Sink};
use super::{Counts, Wanted};
use crate::lake::partition::{Part, day_of, parts};
use crate::lake::reader::{RangeReader, Window, scan};
use crate::lake::{LakeError, Store};

const COLUMNS: [&str; 6] = ["event_id", "user_id", "item_id", "event_type", "value", "ts"];
/// Files read at the same time.
const AT_ONCE: usize = 2;

/// Moves the rows of a lake into the sink.
pub async fn pull(ctx: &Ctx, uri: &str, wanted: &Wanted, sink: &mut Sink) -> Result<Counts, TaskError> {
    let store = Store::open(uri, &ctx.env).await?;
    let first = day_of(wanted.window.start);
    let last = day_of(wanted.window.end - 1) + wanted.late_days;
    let (parts, partitions) = parts(&store, first..=last).await?;
    if parts.is_empty() {
        let text = "no *.parquet file in the window's folders `year=/month=/day=`";
        return Err(TaskError::fail(format_args!("{uri}: {text}")));
    }
    let total = parts.len() as u64;
    let fetched = Arc::new(AtomicU64::new(0));
    let mut counts = Counts {
        partitions,
        ..Counts::default()
    };
    let (sender, mut batches) = mpsc::channel(2 * AT_ONCE);
    let files = Files {
        store,
        window: wanted.window.clone(),
        fetched: fetched.clone(),
        sender,
    };
    let reading = tokio::spawn(files.read_all(parts));
    let _ends_with_us = AbortOnDrop(reading.abort_handle());
    let mut done = 0;
    loop {
        let next = tokio::select! {
            () = ctx.cancelled() => return Err(TaskError::Cancelled),
            next = batches.recv() => next,
        };
        match next {
            Some(Message::Batch(day, file, batch)) => {
                take(&batch, (day, &file), wanted, (sink, &mut counts))?
            }
            Some(Message::FileDone) => {
                done += 1;
                ctx.progress(done, 2 * total);
            }
            None => break,
        }
    }
    reading.await.map_err(TaskError::retry)??;
    counts.fetched = fetched.load(Ordering::Relaxed);
    Ok(counts)
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

enum Message {
    Batch(i64, Arc<str>, RecordBatch),
    FileDone,
}

struct Files {
    store: Store,
    window: Window,
    fetched: Arc<AtomicU64>,
    sender: mpsc::Sender<Message>,
}

impl Files {
    async fn read_all(self, parts: Vec<Part>) -> Result<(), LakeError> {
        stream::iter(parts.into_iter().map(Ok))
            .try_for_each_concurrent(AT_ONCE, |part| self.read(part))
            .await
    }

    async fn read(&self, part: Part) -> Result<(), LakeError> {
        let file: Arc<str> = self.store.show(&part.object.key).into();
        let reader = RangeReader::new(self.store.clone(), part.object, self.fetched.clone());
        if let Some(mut batches) = scan(reader, &COLUMNS, &self.window).await? {
            while let Some(batch) = batches.next().await {
                let batch = batch.map_err(|source| LakeError::Parquet {
                    file: file.to_string(),
                    source,
                })?;
                if self
                    .sender
                    .send(Message::Batch(part.day, file.clone(), batch))
                    .await
                    .is_err()
                {
                    return Ok(());
                }
            }
        }
        let _ = self.sender.send(Message::FileDone).await;
        Ok(())
    }
}

/// An integer column, widened.
pub fn longs(batch: &RecordBatch, name: &str, file: &str) -> Result<Int64Array, LakeError> {
    let column = batch.column_by_name(name).filter(|c| c.data_type().is_integer());
    let wrong = || LakeError::Column {
        file: file.to_owned(),
        message: format!("`{name}` must be an integer column"),
    };
    let wide = column
        .and_then(|c| cast(c, &DataType::Int64).ok())
        .ok_or_else(wrong)?;
    Ok(wide.as_primitive::<arrow::datatypes::Int64Type>().clone())
}

struct Columns {
    id: Int64Array,
    user: Int64Array,
    item: Int64Array,
    kind: StringArray,
    value: Float32Array,
    ts: Int64Array,
}

impl Columns {
    fn of(batch: &RecordBatch, file: &str) -> Result<Self, LakeError> {
        let wrong = |name: &str, kind: &str| {
            let message = format!("`{name}` must be {kind}");
            LakeError::Column {
                file: file.to_owned(),
                message,
            }
        };
        let cast_to = |name: &str, to: &DataType, kind: &str| {
            let column = batch.column_by_name(name).and_then(|c| cast(c, to).ok());
            column.ok_or_else(|| wrong(name, kind))
        };
        let is_time = |t: &DataType| matches!(t, DataType::Timestamp(..));
        if !batch.column_by_name("ts").is_some_and(|c| is_time(c.data_type())) {
            return Err(wrong("ts", "a timestamp"));
        }
        let ts = cast_to(
            "ts",
            &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            "a timestamp",
        )?;
        let ts = cast(&ts, &DataType::Int64).map_err(|_| wrong("ts", "a timestamp"))?;
        Ok(Self {
            id: longs(batch, "event_id", file)?,
            user: longs(batch, "user_id", file)?,
            item: longs(batch, "item_id", file)?,
            kind: cast_to("event_type", &DataType::Utf8, "text")?
                .as_string::<i32>()
                .clone(),
            value: cast_to("value", &DataType::Float32, "a number")?
                .as_primitive::<arrow::datatypes::Float32Type>()
                .clone(),
            ts: ts.as_primitive::<arrow::datatypes::Int64Type>().clone(),
        })
    }
}

fn is_wide(batch: &RecordBatch) -> bool {
    let wide = |name| {
        batch
            .column_by_name(name)
            .is_some_and(|c| c.data_type() == &DataType::Int64)
    };
    wide("user_id") || wide("item_id")
}

fn at(values: &Int64Array, row: usize) -> Option<i64> {
    values.is_valid(row).then(|| values.value(row))
}

fn take(
    batch: &RecordBatch,
    (day, file): (i64, &str),
    wanted: &Wanted,
    (sink, counts): (&mut Sink, &mut Counts),
) -> Result<(), TaskError> {
    let columns = Columns::of(batch, file)?;
    counts.wide |= is_wide(batch);
    for row in 0..batch.num_rows() {
        let ts = at(&columns.ts, row);
        if ts.is_some_and(|ts| !wanted.window.contains(&ts)) {
            continue;
        }
        let kind = columns.kind.is_valid(row).then(|| columns.kind.value(row));
        if !wanted.takes(kind) {
            continue;
        }
        let ids = (
            at(&columns.id, row),
            at(&columns.user, row),
            at(&columns.item, row),
        );
        let (Some(ts), (Some(id), Some(user), Some(item))) = (ts, ids) else {
            counts.incomplete += 1;
            continue;
        };
        if wanted.forget.has(user) {
            counts.erased += 1;
            continue;
        }
        counts.late += u64::from(day_of(ts) < day);
        let kind = kind.map(|name| sink.kind(name)).transpose()?;
        let value = columns.value.is_valid(row).then(|| columns.value.value(row));
        sink.push(&Row {
            id,
            ts,
            user,
            item,
            value,
            kind,
        })?;
    }
    Ok(())
}
