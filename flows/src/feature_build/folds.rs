//! The folds of a feature table: which rows each named protocol holds out, as columns of the table itself.
//!
//! | protocol | column | holds out |
//! |---|---|---|
//! | `temporal_full` | `temporal_test` | the last 10 % of rows, one cut in time for all users |
//! | `random_user_20_full` | `random_test` | a random 20 % of each user's items, by a seed |
//!
//! The file's metadata (`tidegate.folds`) carries the cut and the seed, so that whoever reads it judges by the same protocol.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use jiff::Timestamp;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_learn::{Event, Split};

use crate::dataset::{Dataset, DatasetError};

/// Key of [`Cuts`] in a file's metadata.
pub(crate) const METADATA: &str = "tidegate.folds";
/// Share of rows that `temporal_full` holds out.
pub(crate) const TEMPORAL_SHARE: f64 = 0.1;
/// Share of a user's items that `random_user_20_full` holds out.
pub(crate) const RANDOM_SHARE: f64 = 0.2;

/// The protocols that every table is cut by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Named {
    /// One cut in time for all users; the whole catalogue competes.
    #[serde(rename = "temporal_full")]
    TemporalFull,
    /// A random fifth of each user's items; the whole catalogue competes.
    #[serde(rename = "random_user_20_full")]
    RandomUser20Full,
}

impl Named {
    /// Both, in the order of the columns.
    pub const ALL: [Self; 2] = [Self::TemporalFull, Self::RandomUser20Full];

    /// As written in flow files and metric names.
    pub fn name(self) -> &'static str {
        match self {
            Self::TemporalFull => "temporal_full",
            Self::RandomUser20Full => "random_user_20_full",
        }
    }

    /// The boolean column that marks its held-out rows.
    pub fn column(self) -> &'static str {
        match self {
            Self::TemporalFull => "temporal_test",
            Self::RandomUser20Full => "random_test",
        }
    }
}

/// Where a table was cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cuts {
    /// First held-out second of `temporal_full`, Unix time.
    pub cut: i64,
    /// Seed of `random_user_20_full`.
    pub seed: u64,
    /// Columns that name a user's cohort.
    pub slices: Vec<String>,
    /// SHA-256 of the interactions and their folds: the same for all tables of one build.
    pub digest: String,
}

/// A feature table in memory: its interactions, folds and cohorts.
#[derive(Debug, Clone)]
pub(crate) struct Folds {
    /// All interactions, in the order of the file.
    pub events: Vec<Event>,
    /// Where it was cut.
    pub cuts: Cuts,
    /// Per slice column: user → cohort, the last one that was known.
    pub cohorts: BTreeMap<String, HashMap<i64, String>>,
    /// Per protocol, in the order of [`Named::ALL`]: whether each row is held out.
    pub held: [Vec<bool>; 2],
}

/// Why a table is not one that `feature_build` made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FoldsError {
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error("can't open `{0}`")]
    Open(String, #[source] std::io::Error),
    #[error("can't read `{0}` as Parquet")]
    Parquet(String, #[source] parquet::errors::ParquetError),
    #[error("can't read the rows")]
    Rows(#[from] arrow::error::ArrowError),
    #[error("the table says nothing of its folds; it must come from `feature_build`")]
    NoMetadata,
    #[error("the table's note on its folds can't be read")]
    Metadata(#[from] serde_json::Error),
    #[error("the table has no column `{0}` of the right type; it must come from `feature_build`")]
    Column(String),
}

impl Folds {
    /// Reads a table that `feature_build` made.
    pub fn read(dataset: &Dataset) -> Result<Self, FoldsError> {
        let mut folds: Option<Self> = None;
        for file in dataset.files()? {
            let reader = open(&file)?;
            let cuts = cuts_of(&reader)?;
            let folds = folds.get_or_insert_with(|| Self::empty(cuts));
            for batch in reader
                .build()
                .map_err(|e| FoldsError::Parquet(file.display().to_string(), e))?
            {
                folds.add(&batch?)?;
            }
        }
        folds.ok_or(FoldsError::NoMetadata)
    }

    fn empty(cuts: Cuts) -> Self {
        let cohorts = cuts
            .slices
            .iter()
            .map(|name| (name.clone(), HashMap::new()))
            .collect();
        Self {
            events: Vec::new(),
            cuts,
            cohorts,
            held: [Vec::new(), Vec::new()],
        }
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), FoldsError> {
        let events = Keys::of(batch)?;
        for (held, protocol) in self.held.iter_mut().zip(Named::ALL) {
            let column = column(batch, protocol.column(), &DataType::Boolean)?;
            held.extend(column.as_boolean().iter().map(|value| value == Some(true)));
        }
        for (name, cohort_of) in &mut self.cohorts {
            let cohorts = column(batch, name, &DataType::Utf8)?;
            for (user, cohort) in events.users().zip(cohorts.as_string::<i32>()) {
                if let Some(cohort) = cohort {
                    cohort_of.insert(user, cohort.to_owned());
                }
            }
        }
        self.events.extend(events.events());
        Ok(())
    }

    /// What a protocol lets a model learn from, and what it holds out.
    pub fn split(&self, protocol: Named) -> Split {
        let held = &self.held[protocol as usize];
        let part = |wanted: bool| -> Vec<Event> {
            let rows = self.events.iter().zip(held);
            rows.filter(|(_, held)| **held == wanted)
                .map(|(event, _)| *event)
                .collect()
        };
        let cut = (protocol == Named::TemporalFull).then_some(self.cuts.cut);
        Split::from_parts(&part(false), &part(true), cut)
    }
}

/// An instant in whole seconds, as RFC 3339.
pub(crate) fn instant(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s"), |t| t.to_string())
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, FoldsError> {
    let name = || path.display().to_string();
    let file = File::open(path).map_err(|e| FoldsError::Open(name(), e))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| FoldsError::Parquet(name(), e))
}

fn cuts_of(reader: &ParquetRecordBatchReaderBuilder<File>) -> Result<Cuts, FoldsError> {
    let notes = reader.metadata().file_metadata().key_value_metadata();
    let note = notes.and_then(|notes| notes.iter().find(|note| note.key == METADATA));
    let text = note
        .and_then(|note| note.value.as_deref())
        .ok_or(FoldsError::NoMetadata)?;
    Ok(serde_json::from_str(text)?)
}

fn column<'a>(batch: &'a RecordBatch, name: &str, wanted: &DataType) -> Result<&'a ArrayRef, FoldsError> {
    let column = batch
        .column_by_name(name)
        .filter(|column| column.data_type() == wanted);
    column.ok_or_else(|| FoldsError::Column(name.to_owned()))
}

/// The four columns every table has, of one batch.
pub(crate) struct Keys<'a> {
    user: &'a ArrayRef,
    item: &'a ArrayRef,
    value: &'a ArrayRef,
    ts: &'a ArrayRef,
}

impl<'a> Keys<'a> {
    /// The columns of a batch, as `feature_build` types them.
    pub fn of(batch: &'a RecordBatch) -> Result<Self, FoldsError> {
        Ok(Self {
            user: column(batch, "user_id", &DataType::Int64)?,
            item: column(batch, "item_id", &DataType::Int64)?,
            value: column(batch, "value", &DataType::Float32)?,
            ts: column(batch, "ts", &ts_type())?,
        })
    }

    /// The users, row by row.
    pub fn users(&self) -> impl Iterator<Item = i64> {
        self.user.as_primitive::<Int64Type>().values().iter().copied()
    }

    /// The rows as events.
    pub fn events(&self) -> impl Iterator<Item = Event> {
        let ids = |column: &'a ArrayRef| column.as_primitive::<Int64Type>().values();
        let (user, item) = (ids(self.user), ids(self.item));
        let value = self.value.as_primitive::<Float32Type>().values();
        let ts = self.ts.as_primitive::<TimestampMicrosecondType>().values();
        (0..user.len()).map(move |at| Event {
            user: user[at],
            item: item[at],
            value: value[at],
            ts: ts[at].div_euclid(1_000_000),
        })
    }
}

/// The type of `ts` in every table.
pub(crate) fn ts_type() -> DataType {
    DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()))
}
