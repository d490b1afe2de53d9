//! Rows of a query: as outputs, or into a file.

use std::io::Write;
use std::path::Path;

use futures::TryStreamExt;
use serde_json::{Map, Value};
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{AssertSqlSafe, Row};
use tidegate_engine::plugin::{Ctx, TaskError};

use super::{Output, failure};

/// Bytes of rows as outputs; all outputs together may have 1 MiB.
const OUTPUT_CAP: usize = 900 << 10;

/// A query about to be asked.
pub(super) struct Asked<'a> {
    pub query: &'a str,
    pub arguments: PgArguments,
    pub place: &'a str,
}

/// Hands each row on, as a table in the order of its columns. PostgreSQL makes the JSON: it knows all its types.
async fn each(
    conn: &mut PgConnection,
    asked: Asked<'_>,
    cap: u64,
    mut take: impl FnMut(Map<String, Value>, usize) -> Result<(), TaskError>,
) -> Result<u64, TaskError> {
    let query = asked.query.trim().trim_end_matches(';');
    let sql = format!("select row_to_json(asked)::text from (\n{query}\n) as asked");
    let failed = |e| failure(asked.place, "query", &e);
    let mut rows = sqlx::query_with(AssertSqlSafe(sql), asked.arguments).fetch(conn);
    let mut count = 0;
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        count += 1;
        if count > cap {
            return Err(TaskError::fail(format_args!(
                "the query yields more than {cap} rows (`max_rows`)"
            )));
        }
        let text: &str = row.try_get(0).map_err(failed)?;
        let table = serde_json::from_str(text).map_err(TaskError::fail)?;
        take(table, text.len())?;
    }
    Ok(count)
}

/// Takes the rows into the outputs.
pub(super) async fn collect(
    conn: &mut PgConnection,
    asked: Asked<'_>,
    (cap, output): (u64, &mut Output),
) -> Result<(), TaskError> {
    let (rows, mut bytes) = (&mut output.rows, 0);
    output.count = each(conn, asked, cap, |row, size| {
        bytes += size;
        if bytes > OUTPUT_CAP {
            return Err(TaskError::fail(
                "the rows are too large for outputs; write them to a file with to = \"csv\"",
            ));
        }
        rows.push(row);
        Ok(())
    })
    .await?;
    Ok(())
}

/// Writes the rows to `rows.csv`, an artifact. A query without rows leaves an empty file: what its columns are is then not known.
pub(super) async fn write(
    conn: &mut PgConnection,
    asked: Asked<'_>,
    (ctx, cap): (&Ctx, u64),
    output: &mut Output,
) -> Result<(), TaskError> {
    let path = ctx.folders.artifacts.join("rows.csv");
    let failed = |e: std::io::Error| TaskError::retry(format_args!("{}: {e}", path.display()));
    let mut file = Sheet::create(&path).map_err(failed)?;
    output.count = each(conn, asked, cap, |row, _| file.row(&row).map_err(failed)).await?;
    file.end().map_err(failed)?;
    output.file = Some(ctx.artifact("rows.csv", &path).await?);
    Ok(())
}

/// A CSV file (RFC 4180), its header made of the first row's columns.
struct Sheet {
    out: std::io::BufWriter<std::fs::File>,
    begun: bool,
}

impl Sheet {
    fn create(path: &Path) -> std::io::Result<Self> {
        let out = std::io::BufWriter::new(std::fs::File::create(path)?);
        Ok(Self { out, begun: false })
    }

    fn row(&mut self, row: &Map<String, Value>) -> std::io::Result<()> {
        if !self.begun {
            self.line(row.keys().map(|name| field(name)))?;
            self.begun = true;
        }
        self.line(row.values().map(cell))
    }

    fn line(&mut self, cells: impl Iterator<Item = String>) -> std::io::Result<()> {
        let cells: Vec<String> = cells.collect();
        self.out.write_all(cells.join(",").as_bytes())?;
        self.out.write_all(b"\r\n")
    }

    fn end(mut self) -> std::io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()
    }
}

/// Null is an empty field, an empty text is `""`.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => field(text),
        other => field(&other.to_string()),
    }
}

fn field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
