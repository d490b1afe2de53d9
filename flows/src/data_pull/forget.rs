//! The people to leave out. A list that can't be read stops the pull: nobody is kept by accident.

use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tidegate_engine::plugin::{Ctx, TaskError};

use super::scan::longs;
use crate::lake::{LakeError, Store, store::split_name};

/// Sorted ids of users.
#[derive(Debug, Clone, Default)]
pub struct Forget {
    users: Vec<i64>,
}

impl Forget {
    /// Reads the list; no list, nobody.
    pub async fn load(ctx: &Ctx, uri: Option<&str>) -> Result<Self, TaskError> {
        let Some(uri) = uri else {
            return Ok(Self::default());
        };
        let (folder, name) = split_name(uri).ok_or_else(|| LakeError::Address(uri.to_owned()))?;
        let bytes = Store::open(folder, &ctx.env).await?.get(name).await?;
        let mut users = if name.ends_with(".parquet") {
            table(uri, bytes)?
        } else {
            text(uri, &bytes)?
        };
        users.sort_unstable();
        users.dedup();
        Ok(Self { users })
    }

    /// Whether the user is on the list.
    pub fn has(&self, user: i64) -> bool {
        self.users.binary_search(&user).is_ok()
    }
}

fn text(uri: &str, bytes: &[u8]) -> Result<Vec<i64>, TaskError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| TaskError::fail(format_args!("deletion list `{uri}`: {e}")))?;
    let mut users = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || (at == 0 && line == "user_id") {
            continue;
        }
        let wrong = |_| {
            TaskError::fail(format_args!(
                "deletion list `{uri}`, line {}: not a user id",
                at + 1
            ))
        };
        users.push(line.parse().map_err(wrong)?);
    }
    Ok(users)
}

fn table(uri: &str, bytes: Bytes) -> Result<Vec<i64>, TaskError> {
    let failed = |source| LakeError::Parquet {
        file: uri.to_owned(),
        source,
    };
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(failed)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["user_id"]);
    let mut users = Vec::new();
    for batch in builder.with_projection(mask).build().map_err(failed)? {
        let batch = batch.map_err(|e| failed(e.into()))?;
        users.extend(longs(&batch, "user_id", uri)?.iter().flatten());
    }
    Ok(users)
}
