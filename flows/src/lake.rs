//! The event lake: `year=/month=/day=` folders of Parquet by day of arrival, on `s3://bucket/prefix` or `file:///dir`.
//!
//! Columns: `event_id` i64, `user_id` and `item_id` i32 (i64 is accepted), `event_type` utf8, `value` f32 or null, `ts`
//! timestamp\[us, UTC\]. Read in this order: [`store`] (bytes), [`s3`] (its client), [`partition`] (days), [`reader`] (rows).

pub mod partition;
pub mod reader;
pub mod s3;
pub mod store;
pub mod write;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use tidegate_engine::plugin::{TaskError, chain};

pub use store::{Object, Store};
pub use write::{Lake, Written, write};

/// Microseconds of a day.
pub const DAY: i64 = 86_400_000_000;

/// Why the lake can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// Neither `s3://` nor `file:///`.
    #[error("`{0}` is no lake: write `s3://bucket/prefix` or `file:///folder`")]
    Address(String),
    /// S3 refused or could not be reached.
    #[error("{action} s3://{bucket}/{key}: {message}{help}")]
    S3 {
        /// What was tried.
        action: &'static str,
        /// Where.
        bucket: String,
        /// What.
        key: String,
        /// The service's answer.
        message: String,
        /// The way out; empty or starts with `; `.
        help: &'static str,
        /// Whether trying again may help.
        passing: bool,
    },
    /// The file system refused.
    #[error("{path}")]
    File {
        /// Which file or folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A setting of the environment that can't be used.
    #[error("{0}")]
    Setting(String),
    /// Not Parquet, or damaged.
    #[error("`{file}` can't be read as Parquet")]
    Parquet {
        /// Which file.
        file: String,
        /// What is wrong.
        source: parquet::errors::ParquetError,
    },
    /// A column is missing or of another type.
    #[error("`{file}`: {message}")]
    Column {
        /// Which file.
        file: String,
        /// What is wrong.
        message: String,
    },
}

impl LakeError {
    fn file(path: impl Into<String>, source: std::io::Error) -> Self {
        Self::File {
            path: path.into(),
            source,
        }
    }

    fn is_passing(&self) -> bool {
        match self {
            Self::S3 { passing, .. } => *passing,
            Self::Parquet { source, .. } => {
                let external = match source {
                    parquet::errors::ParquetError::External(inner) => inner.downcast_ref::<Self>(),
                    _ => None,
                };
                external.is_some_and(Self::is_passing)
            }
            _ => false,
        }
    }
}

impl From<LakeError> for TaskError {
    fn from(error: LakeError) -> Self {
        if error.is_passing() {
            Self::retry(chain(&error))
        } else {
            Self::fail(chain(&error))
        }
    }
}

/// The schema of events; ids are 32 bits wide unless the source's are wider.
pub fn event_schema(wide: bool) -> SchemaRef {
    let id = if wide { DataType::Int64 } else { DataType::Int32 };
    Arc::new(Schema::new(vec![
        Field::new("event_id", DataType::Int64, false),
        Field::new("user_id", id.clone(), false),
        Field::new("item_id", id, false),
        Field::new("event_type", DataType::Utf8, true),
        Field::new("value", DataType::Float32, true),
        Field::new(
            "ts",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            false,
        ),
    ]))
}
