//! The second pass: adds the folds, writes the table and its narrow sibling, digests their content.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::json;
use sha2::{Digest, Sha256};
use tidegate_engine::plugin::{Ctx, chain};
use tidegate_learn::{Event, Holdout, Interactions, Split};

use super::folds::{Cuts, Keys, METADATA, Named, RANDOM_SHARE, TEMPORAL_SHARE};
use super::query::Rows;
use super::{BuildError, Input};
use crate::dataset::{Dataset, Size};

/// Why a table could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("`{}`", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("stopped on request")]
    Cancelled,
}

/// Writes `features.parquet` and `holdout.parquet` among the attempt's artifacts.
pub(super) async fn write(ctx: &Ctx, input: &Input, rows: Rows) -> Result<(Dataset, Dataset), BuildError> {
    slices_exist(&input.slices, &rows.schema)?;
    let (ctx, seed, slices) = (ctx.clone(), input.seed, input.slices.clone());
    let work = move || -> Result<(Dataset, Dataset), WriteError> {
        let marks = Marks::new(&rows.events, seed);
        let cuts = Cuts {
            cut: marks.cut,
            seed,
            slices,
            digest: marks.digest(&rows.events, seed),
        };
        let schema = with_folds(
            &rows.schema,
            rows.schema.fields().iter().map(|field| field.name().as_str()),
        );
        let narrow = ["user_id", "item_id", "ts", "value"]
            .into_iter()
            .chain(cuts.slices.iter().map(String::as_str));
        let narrow = with_folds(&rows.schema, narrow);
        let mut table = Sink::new(&ctx.folders.artifacts.join("features.parquet"), schema, &cuts)?;
        let mut holdout = Sink::new(&ctx.folders.artifacts.join("holdout.parquet"), narrow, &cuts)?;
        for batch in ParquetRecordBatchReaderBuilder::try_new(open(&rows.file)?)?.build()? {
            if ctx.is_cancelled() {
                return Err(WriteError::Cancelled);
            }
            let marked = marks.mark(&batch?, &table.schema)?;
            table.write(&marked)?;
            holdout.write(&marked)?;
        }
        Ok((table.finish()?, holdout.finish()?))
    };
    let done = tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| BuildError::Shape(chain(&e)))?;
    Ok(done?)
}

fn slices_exist(slices: &[String], schema: &Schema) -> Result<(), BuildError> {
    for name in slices {
        let found = schema.column_with_name(name).map(|(_, field)| field.data_type());
        match found {
            Some(DataType::Utf8) => {}
            Some(other) => {
                return Err(BuildError::Shape(format!(
                    "slice column `{name}` is {other}, not text"
                )));
            }
            None => {
                return Err(BuildError::Shape(format!(
                    "the SQL's result has no slice column `{name}`"
                )));
            }
        }
    }
    Ok(())
}

/// Which rows are held out by which protocol.
struct Marks {
    cut: i64,
    /// Pairs of user and item that `random_user_20_full` holds out.
    pairs: HashSet<(i64, i64)>,
}

impl Marks {
    fn new(events: &[Event], seed: u64) -> Self {
        let data = Interactions::from_events(events);
        let temporal = Split::new(
            &data,
            Holdout::Temporal {
                fraction: TEMPORAL_SHARE,
            },
        );
        let random = Split::new(
            &data,
            Holdout::RandomUser {
                fraction: RANDOM_SHARE,
                seed,
            },
        );
        let pairs = random
            .test
            .events()
            .iter()
            .map(|event| (event.user, event.item))
            .collect();
        Self {
            cut: temporal.cut.unwrap_or(i64::MAX),
            pairs,
        }
    }

    /// Names exactly these interactions in exactly these folds.
    fn digest(&self, events: &[Event], seed: u64) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.cut.to_le_bytes());
        hasher.update(seed.to_le_bytes());
        for event in events {
            for field in [event.user, event.item, event.ts, i64::from(event.value.to_bits())] {
                hasher.update(field.to_le_bytes());
            }
        }
        hex::encode(hasher.finalize())
    }

    fn mark(&self, batch: &RecordBatch, schema: &Arc<Schema>) -> Result<RecordBatch, WriteError> {
        let keys = Keys::of(batch).map_err(|e| ParquetError::General(e.to_string()))?;
        let temporal: BooleanArray = keys.events().map(|event| Some(event.ts >= self.cut)).collect();
        let random: BooleanArray = keys
            .events()
            .map(|event| Some(self.pairs.contains(&(event.user, event.item))))
            .collect();
        let mut columns = batch.columns().to_vec();
        columns.extend([Arc::new(temporal) as ArrayRef, Arc::new(random) as ArrayRef]);
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    }
}

/// The named columns of a schema and the folds behind them; what must not be null is declared so.
fn with_folds<'a>(schema: &Schema, names: impl Iterator<Item = &'a str>) -> Arc<Schema> {
    let required = ["user_id", "item_id", "ts", "value"];
    let kept = names.filter_map(|name| schema.column_with_name(name));
    let kept = kept.map(|(_, field)| {
        let nullable = field.is_nullable() && !required.contains(&field.name().as_str());
        Field::new(field.name(), field.data_type().clone(), nullable)
    });
    let folds = Named::ALL.map(|protocol| Field::new(protocol.column(), DataType::Boolean, false));
    Arc::new(Schema::new(kept.chain(folds).collect::<Vec<_>>()))
}

/// A Parquet file being written, with the digest of its content.
struct Sink {
    path: PathBuf,
    schema: Arc<Schema>,
    writer: ArrowWriter<File>,
    converter: RowConverter,
    hasher: Sha256,
    rows: u64,
}

impl Sink {
    fn new(path: &Path, schema: Arc<Schema>, cuts: &Cuts) -> Result<Self, WriteError> {
        let fields = schema
            .fields()
            .iter()
            .map(|field| SortField::new(field.data_type().clone()))
            .collect();
        let mut hasher = Sha256::new();
        for field in schema.fields() {
            hasher.update(format!("{} {}\n", field.name(), field.data_type()));
        }
        hasher.update(json!(cuts).to_string());
        Ok(Self {
            path: path.to_owned(),
            writer: file_writer(path, schema.clone(), Some(cuts))?,
            converter: RowConverter::new(fields)?,
            schema,
            hasher,
            rows: 0,
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        let columns = self
            .schema
            .fields()
            .iter()
            .filter_map(|field| batch.column_by_name(field.name()).cloned());
        let batch = RecordBatch::try_new(self.schema.clone(), columns.collect())?;
        for row in &self.converter.convert_columns(batch.columns())? {
            self.hasher.update(row.as_ref());
        }
        self.rows += batch.num_rows() as u64;
        Ok(self.writer.write(&batch)?)
    }

    fn finish(self) -> Result<Dataset, WriteError> {
        self.writer.close()?;
        let bytes = open(&self.path)?
            .metadata()
            .map_err(|source| WriteError::File {
                path: self.path.clone(),
                source,
            })?
            .len();
        let digest = hex::encode(self.hasher.finalize());
        Ok(Dataset::local(
            &self.path,
            &self.schema,
            Size {
                rows: self.rows,
                bytes,
            },
            &digest,
        ))
    }
}

/// A Parquet file, Snappy, with a note on its folds where it has them.
pub(super) fn file_writer(
    path: &Path,
    schema: Arc<Schema>,
    cuts: Option<&Cuts>,
) -> Result<ArrowWriter<File>, WriteError> {
    let file = File::create(path).map_err(|source| WriteError::File {
        path: path.to_owned(),
        source,
    })?;
    let note = cuts.map(|cuts| vec![KeyValue::new(METADATA.to_owned(), json!(cuts).to_string())]);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(note)
        .build();
    Ok(ArrowWriter::try_new(file, schema, Some(properties))?)
}

fn open(path: &Path) -> Result<File, WriteError> {
    File::open(path).map_err(|source| WriteError::File {
        path: path.to_owned(),
        source,
    })
}
