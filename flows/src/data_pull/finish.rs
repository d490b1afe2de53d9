//! Sorts, deduplicates, digests and writes what was spilled, one file at a time.

use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float32Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use sha2::{Digest, Sha256};
use tidegate_engine::plugin::{Ctx, TaskError};

use super::rows::{Row, Sink, WIDTH, disk};
use super::spill::{BUCKETS, Distinct};
use crate::dataset::{Dataset, Size};
use crate::lake::event_schema;

/// What came out.
pub struct Finished {
    pub dataset: Dataset,
    pub path: PathBuf,
    pub users: u64,
    pub items: u64,
    pub duplicates: u64,
}

/// Writes the sink's rows, each id once, to `events.parquet` of the attempt's artifacts.
pub async fn finish(ctx: &Ctx, sink: Sink, wide: bool) -> Result<Finished, TaskError> {
    let ctx = ctx.clone();
    let work = move || {
        let folder = sink.folder.clone();
        let finished = Finish::start(&ctx, sink, wide)?.run(&ctx);
        std::fs::remove_dir_all(&folder).map_err(|e| disk(&folder, &e))?;
        finished
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(TaskError::retry)?
}

struct Finish {
    sink: Sink,
    path: PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<File>,
    users: Distinct,
    items: Distinct,
    digest: Sha256,
    rows: u64,
}

impl Finish {
    fn start(ctx: &Ctx, mut sink: Sink, wide: bool) -> Result<Self, TaskError> {
        let failed = |e: io::Error| disk(&ctx.folders.work, &e);
        sink.spill.flush().map_err(failed)?;
        let path = ctx.folders.artifacts.join("events.parquet");
        let schema = event_schema(wide);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(256 << 10))
            .build();
        let file = File::create(&path).map_err(|e| disk(&path, &e))?;
        let writer =
            ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(|e| parquet(&path, &e))?;
        let users = Distinct::create(&sink.folder, "users").map_err(failed)?;
        let items = Distinct::create(&sink.folder, "items").map_err(failed)?;
        Ok(Self {
            sink,
            path,
            schema,
            writer,
            users,
            items,
            digest: Sha256::new(),
            rows: 0,
        })
    }

    fn run(mut self, ctx: &Ctx) -> Result<Finished, TaskError> {
        for at in 0..BUCKETS {
            ctx.checkpoint()?;
            self.bucket(at)?;
            ctx.progress((BUCKETS + at + 1) as u64, 2 * BUCKETS as u64);
        }
        self.writer.close().map_err(|e| parquet(&self.path, &e))?;
        let failed = |e: io::Error| disk(&self.sink.folder, &e);
        let bytes = std::fs::metadata(&self.path)
            .map_err(|e| disk(&self.path, &e))?
            .len();
        let digest = hex::encode(self.digest.finalize());
        let dataset = Dataset::local(
            &self.path,
            &self.schema,
            Size {
                rows: self.rows,
                bytes,
            },
            &digest,
        );
        Ok(Finished {
            dataset,
            path: self.path.clone(),
            users: self.users.count().map_err(failed)?,
            items: self.items.count().map_err(failed)?,
            duplicates: self.sink.rows - self.rows,
        })
    }

    fn bucket(&mut self, at: usize) -> Result<(), TaskError> {
        let failed = |e: io::Error| disk(&self.sink.folder, &e);
        let records = self.sink.spill.take::<WIDTH>(at).map_err(failed)?;
        let mut rows: Vec<Row> = records.iter().map(Row::decode).collect();
        drop(records);
        let kinds = &self.sink.kinds;
        rows.sort_unstable_by(|a, b| order(a, b, kinds));
        rows.dedup_by_key(|row| row.id);
        for row in &rows {
            digest(&mut self.digest, row, kinds);
        }
        self.users
            .add(rows.iter().map(|r| r.user).collect())
            .map_err(failed)?;
        self.items
            .add(rows.iter().map(|r| r.item).collect())
            .map_err(failed)?;
        self.rows += rows.len() as u64;
        for piece in rows.chunks(8192) {
            let batch = batch(piece, kinds, &self.schema).map_err(TaskError::fail)?;
            self.writer.write(&batch).map_err(|e| parquet(&self.path, &e))?;
        }
        Ok(())
    }
}

fn parquet(path: &Path, error: &ParquetError) -> TaskError {
    TaskError::retry(format_args!("can't write {}: {error}", path.display()))
}

fn kind<'a>(row: &Row, kinds: &'a [String]) -> Option<&'a str> {
    row.kind.map(|k| kinds[usize::from(k)].as_str())
}

/// By id; among equal ids by time, then by all the rest, so that no order of arrival shows.
fn order(a: &Row, b: &Row, kinds: &[String]) -> Ordering {
    let keys = |r: &Row| (r.id, r.ts, r.user, r.item, r.value.map(f32::to_bits));
    keys(a)
        .cmp(&keys(b))
        .then_with(|| kind(a, kinds).cmp(&kind(b, kinds)))
}

fn digest(hasher: &mut Sha256, row: &Row, kinds: &[String]) {
    for number in [row.id, row.ts, row.user, row.item] {
        hasher.update(number.to_le_bytes());
    }
    match row.value {
        Some(value) => hasher.update([&[1], &value.to_le_bytes()[..]].concat()),
        None => hasher.update([0]),
    }
    match kind(row, kinds) {
        Some(kind) => {
            hasher.update((kind.len() as u64 + 1).to_le_bytes());
            hasher.update(kind);
        }
        None => hasher.update(0_u64.to_le_bytes()),
    }
}

fn ids(values: impl Iterator<Item = i64>, schema: &SchemaRef, column: usize) -> Result<ArrayRef, ArrowError> {
    if schema.field(column).data_type() == &arrow::datatypes::DataType::Int64 {
        return Ok(Arc::new(Int64Array::from_iter_values(values)));
    }
    let narrow =
        |id| i32::try_from(id).map_err(|_| ArrowError::CastError(format!("id {id} has more than 32 bits")));
    Ok(Arc::new(Int32Array::from(
        values.map(narrow).collect::<Result<Vec<_>, _>>()?,
    )))
}

fn batch(rows: &[Row], kinds: &[String], schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let ts = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.ts));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.id))),
        ids(rows.iter().map(|r| r.user), schema, 1)?,
        ids(rows.iter().map(|r| r.item), schema, 2)?,
        Arc::new(rows.iter().map(|r| kind(r, kinds)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.value).collect::<Float32Array>()),
        Arc::new(ts.with_timezone("UTC")),
    ];
    RecordBatch::try_new(schema.clone(), columns)
}
