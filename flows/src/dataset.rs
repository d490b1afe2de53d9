//! What tasks hand on instead of rows: a typed reference to a table in Parquet, with its size and digest.

use std::path::{Path, PathBuf};

use arrow::datatypes::Schema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A table that a task made. Equal digests mean equal content, however the files are cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// A Parquet file, or a folder whose `*.parquet` files are one table: `file:///…` (made by tasks) or `s3://…`.
    pub uri: String,
    /// How the table is stored.
    pub format: Format,
    /// Number of rows.
    pub rows: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// `sha256:` and 64 hex digits, of the content.
    pub digest: String,
    /// Columns in their order.
    pub columns: Vec<Column>,
}

/// How a table is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Apache Parquet.
    Parquet,
}

/// A column of a [`Dataset`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Arrow type, as Arrow prints it: `Int64`, `Utf8`, `Timestamp(µs, "UTC")`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it may hold nulls.
    pub nullable: bool,
}

/// Why a dataset cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// Tasks read what tasks made: files.
    #[error("the dataset lies at `{0}`; tasks read datasets from `file:///…` folders")]
    NotAFile(String),
    /// Nothing is there.
    #[error("can't list the dataset's folder `{path}`")]
    List {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder is empty.
    #[error("no *.parquet file in `{0}`")]
    Empty(PathBuf),
}

impl Dataset {
    /// The reference to a Parquet file or folder on this machine. `digest` is the hex SHA-256 of the content.
    pub fn local(path: &Path, schema: &Schema, size: Size, digest: &str) -> Self {
        Self {
            uri: format!("file://{}", path.display()),
            format: Format::Parquet,
            rows: size.rows,
            bytes: size.bytes,
            digest: format!("sha256:{digest}"),
            columns: columns(schema),
        }
    }

    /// Where the table lies on this machine: a file, or a folder of files.
    pub fn path(&self) -> Result<PathBuf, DatasetError> {
        let path = self.uri.strip_prefix("file://").filter(|p| p.starts_with('/'));
        path.map(PathBuf::from)
            .ok_or_else(|| DatasetError::NotAFile(self.uri.clone()))
    }

    /// The table's Parquet files by name; at least one.
    pub fn files(&self) -> Result<Vec<PathBuf>, DatasetError> {
        let path = self.path()?;
        if path.is_file() {
            return Ok(vec![path]);
        }
        let entries = std::fs::read_dir(&path)
            .and_then(|entries| {
                entries
                    .map(|e| e.map(|e| e.path()))
                    .collect::<Result<Vec<_>, _>>()
            })
            .map_err(|source| DatasetError::List {
                path: path.clone(),
                source,
            })?;
        let mut files: Vec<_> = entries.into_iter().filter(|p| is_parquet(p)).collect();
        files.sort();
        if files.is_empty() {
            Err(DatasetError::Empty(path))
        } else {
            Ok(files)
        }
    }
}

/// How big a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Number of rows.
    pub rows: u64,
    /// Bytes of all files together.
    pub bytes: u64,
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "parquet")
}

/// An Arrow schema as a dataset shows it.
pub fn columns(schema: &Schema) -> Vec<Column> {
    let column = |field: &arrow::datatypes::FieldRef| Column {
        name: field.name().clone(),
        kind: field.data_type().to_string(),
        nullable: field.is_nullable(),
    };
    schema.fields().iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "tests fail by panicking"
    )]

    use arrow::datatypes::{DataType, Field, TimeUnit};
    use serde_json::json;

    use super::*;

    fn example(path: &Path) -> Dataset {
        let ts = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let schema = Schema::new(vec![
            Field::new("user_id", DataType::Int32, false),
            Field::new("value", DataType::Float32, true),
            Field::new("ts", ts, false),
        ]);
        Dataset::local(path, &schema, Size { rows: 2, bytes: 10 }, &"0".repeat(64))
    }

    #[test]
    fn it_reads_back_as_written_and_takes_no_stranger() {
        let dataset = example(Path::new("/x/events"));
        let mut written = serde_json::to_value(&dataset).unwrap();
        assert_eq!(written["format"], json!("parquet"));
        assert_eq!(
            written["columns"][2],
            json!({"name": "ts", "type": "Timestamp(µs, \"UTC\")", "nullable": false})
        );
        assert_eq!(
            serde_json::from_value::<Dataset>(written.clone()).unwrap(),
            dataset
        );
        written["colums"] = json!([]);
        assert!(serde_json::from_value::<Dataset>(written).is_err());
    }

    #[test]
    fn files_are_those_of_the_folder_in_order_and_never_none() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = example(folder.path());
        assert!(matches!(dataset.files(), Err(DatasetError::Empty(_))));
        for name in ["b.parquet", "a.parquet", "_SUCCESS"] {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        let expected = vec![folder.path().join("a.parquet"), folder.path().join("b.parquet")];
        assert_eq!(dataset.files().unwrap(), expected);
        let remote = Dataset {
            uri: "s3://bucket/x".into(),
            ..dataset
        };
        assert!(matches!(remote.path(), Err(DatasetError::NotAFile(_))));
    }
}
