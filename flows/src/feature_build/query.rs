//! The user's SQL: bounded memory, bound parameters, reads only, errors with their place.

mod explain;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Schema, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext, cast, ident};
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use tidegate_engine::plugin::{Ctx, chain};
use tidegate_learn::Event;

use super::folds::{Keys, ts_type};
use super::write::{WriteError, file_writer};
use super::{BuildError, Input, Scalar, Table};
use crate::dataset::Dataset;

/// What the SQL yielded: all of it in a scratch file in time order, the keys in memory.
pub(super) struct Rows {
    /// The scratch file.
    pub file: PathBuf,
    /// Its columns.
    pub schema: Arc<Schema>,
    /// The interactions, in the file's order.
    pub events: Vec<Event>,
    /// Rows whose `features_as_of` is later than their `ts`.
    pub features_after: u64,
    nulls: BTreeMap<String, u64>,
}

impl Rows {
    /// Share of nulls per column.
    pub fn null_rates(&self) -> BTreeMap<String, f64> {
        let total = self.events.len().max(1) as f64;
        self.nulls
            .iter()
            .map(|(name, nulls)| (name.clone(), *nulls as f64 / total))
            .collect()
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), BuildError> {
        for (field, column) in self.schema.fields().iter().zip(batch.columns()) {
            let nulls = column.logical_null_count() as u64;
            if nulls > 0 && REQUIRED.contains(&field.name().as_str()) {
                let name = field.name();
                return Err(BuildError::Shape(format!(
                    "column `{name}` of the SQL's result holds nulls; filter them out"
                )));
            }
            *self.nulls.entry(field.name().clone()).or_default() += nulls;
        }
        let keys = Keys::of(batch).map_err(|e| BuildError::Shape(chain(&e)))?;
        self.events.extend(keys.events());
        self.features_after += foresight(batch);
        Ok(())
    }
}

const REQUIRED: [&str; 4] = ["user_id", "item_id", "ts", "value"];

/// Rows whose features were taken later than the row's own instant.
fn foresight(batch: &RecordBatch) -> u64 {
    let instants = |name| {
        batch
            .column_by_name(name)
            .map(|c| c.as_primitive::<TimestampMicrosecondType>())
    };
    let (Some(ts), Some(as_of)) = (instants("ts"), instants("features_as_of")) else {
        return 0;
    };
    let later = ts
        .iter()
        .zip(as_of.iter())
        .filter(|(ts, as_of)| matches!((ts, as_of), (Some(t), Some(a)) if a > t));
    later.count() as u64
}

/// Runs the SQL and keeps its result under `ctx.folders.work`.
pub(super) async fn run(ctx: &Ctx, input: &Input, sql: &str) -> Result<Rows, BuildError> {
    tokio::select! {
        biased;
        () = ctx.cancelled() => Err(BuildError::Cancelled),
        rows = collect(ctx, input, sql) => rows,
    }
}

async fn collect(ctx: &Ctx, input: &Input, sql: &str) -> Result<Rows, BuildError> {
    let explain = |error: DataFusionError| BuildError::Sql(explain::explain(&error, sql));
    let session = session(&ctx.folders.work, input.memory_mib).map_err(explain)?;
    register(&session, "events", &input.events).await?;
    for (name, table) in &input.inputs {
        match table {
            Table::Dataset(dataset) => register(&session, name, dataset).await?,
            Table::Uri(uri) => register_uri(&session, name, uri).await?,
        }
    }
    let options = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    let frame = session.sql_with_options(sql, options).await.map_err(explain)?;
    let frame = frame
        .with_param_values(bound(&input.params, sql)?)
        .map_err(explain)?;
    let frame = shaped(frame)?.map_err(explain)?;
    let mut stream = frame.execute_stream().await.map_err(explain)?;
    let file = ctx.folders.work.join("interactions.parquet");
    let schema = stream.schema();
    let mut writer = file_writer(&file, schema.clone(), None)?;
    let mut rows = Rows {
        file,
        schema,
        events: Vec::new(),
        features_after: 0,
        nulls: BTreeMap::new(),
    };
    while let Some(batch) = stream.next().await {
        keep(&mut rows, &mut writer, &batch.map_err(explain)?)?;
    }
    writer.close().map_err(WriteError::Parquet)?;
    if rows.events.is_empty() {
        Err(BuildError::Empty)
    } else {
        Ok(rows)
    }
}

fn keep(rows: &mut Rows, writer: &mut ArrowWriter<File>, batch: &RecordBatch) -> Result<(), BuildError> {
    rows.add(batch)?;
    Ok(writer.write(batch).map_err(WriteError::Parquet)?)
}

fn session(work: &Path, memory_mib: u32) -> Result<SessionContext, DataFusionError> {
    let mut config = SessionConfig::new().with_target_partitions(2);
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.parquet.schema_force_view_types = false;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(memory_mib as usize * (1 << 20), 1.0)
        .with_temp_file_path(work)
        .build_arc()?;
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

async fn register(session: &SessionContext, name: &str, dataset: &Dataset) -> Result<(), BuildError> {
    let failed = |message: String| BuildError::Table {
        name: name.to_owned(),
        message,
    };
    let files = dataset.files().map_err(|e| failed(chain(&e)))?;
    let paths: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let frame = session
        .read_parquet(paths, ParquetReadOptions::default())
        .await
        .map_err(|e| failed(chain(&e)))?;
    session
        .register_table(name, frame.into_view())
        .map_err(|e| failed(chain(&e)))?;
    Ok(())
}

async fn register_uri(session: &SessionContext, name: &str, uri: &str) -> Result<(), BuildError> {
    let failed = |message: String| BuildError::Table {
        name: name.to_owned(),
        message,
    };
    let path = uri.strip_prefix("file://").filter(|path| path.starts_with('/'));
    let path = path.ok_or_else(|| {
        failed(format!(
            "`{uri}` is not `file:///…`; let `data_pull` fetch it first"
        ))
    })?;
    let frame = session
        .read_parquet(path, ParquetReadOptions::default())
        .await
        .map_err(|e| failed(chain(&e)))?;
    session
        .register_table(name, frame.into_view())
        .map_err(|e| failed(chain(&e)))?;
    Ok(())
}

/// The parameters as DataFusion binds them. One that the SQL does not name is a mistake.
fn bound(params: &BTreeMap<String, Scalar>, sql: &str) -> Result<ParamValues, BuildError> {
    let mut values = Vec::new();
    for (name, value) in params {
        if !names(sql, name) {
            return Err(BuildError::Sql(format!(
                "the SQL does not use the parameter `${name}`"
            )));
        }
        values.push((name.clone(), scalar(value)));
    }
    Ok(ParamValues::from(values))
}

fn names(sql: &str, name: &str) -> bool {
    let wanted = format!("${name}");
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    sql.match_indices(&wanted)
        .any(|(at, _)| ends(&sql[at + wanted.len()..]))
}

fn scalar(value: &Scalar) -> ScalarValue {
    match value {
        Scalar::Boolean(value) => ScalarValue::Boolean(Some(*value)),
        Scalar::Integer(value) => ScalarValue::Int64(Some(*value)),
        Scalar::Number(value) => ScalarValue::Float64(Some(*value)),
        Scalar::Text(value) => ScalarValue::Utf8(Some(value.clone())),
    }
}

/// The result in the types and the order of a feature table: required columns first, rows by time, user, item, value.
fn shaped(frame: DataFrame) -> Result<Result<DataFrame, DataFusionError>, BuildError> {
    let schema = frame.schema().as_arrow().clone();
    let mut columns = Vec::new();
    for name in REQUIRED {
        let field = schema
            .column_with_name(name)
            .map(|(_, field)| field)
            .ok_or_else(|| missing(name, &schema))?;
        let target = target_type(name, field.data_type())?;
        columns.push(cast(ident(name), target).alias(name));
    }
    for field in schema
        .fields()
        .iter()
        .filter(|field| !REQUIRED.contains(&field.name().as_str()))
    {
        reserved(field.name())?;
        let plain = ident(field.name().clone());
        columns.push(match (field.name().as_str(), field.data_type()) {
            ("features_as_of", DataType::Timestamp(_, _) | DataType::Date32) => {
                cast(plain, ts_type()).alias("features_as_of")
            }
            ("features_as_of", other) => {
                return Err(BuildError::Shape(format!(
                    "`features_as_of` is {other}, not a timestamp"
                )));
            }
            (name, DataType::LargeUtf8 | DataType::Utf8View) => cast(plain, DataType::Utf8).alias(name),
            _ => plain,
        });
    }
    let order = ["ts", "user_id", "item_id", "value"]
        .map(|name| ident(name).sort(true, true))
        .to_vec();
    Ok(frame.select(columns).and_then(|frame| frame.sort(order)))
}

fn target_type(name: &str, found: &DataType) -> Result<DataType, BuildError> {
    let (fits, target) = match name {
        "ts" => (matches!(found, DataType::Timestamp(_, _)), ts_type()),
        "value" => (found.is_numeric(), DataType::Float32),
        _ => (found.is_integer(), DataType::Int64),
    };
    let wanted = match name {
        "ts" => "a timestamp",
        "value" => "a number",
        _ => "an integer",
    };
    if fits {
        Ok(target)
    } else {
        Err(BuildError::Shape(format!(
            "column `{name}` of the SQL's result is {found}, not {wanted}"
        )))
    }
}

fn missing(name: &str, schema: &Schema) -> BuildError {
    let found: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    BuildError::Shape(format!(
        "the SQL's result has no column `{name}`; it has {}",
        found.join(", ")
    ))
}

fn reserved(name: &str) -> Result<(), BuildError> {
    if super::folds::Named::ALL
        .iter()
        .any(|protocol| protocol.column() == name)
    {
        return Err(BuildError::Shape(format!(
            "column `{name}` is added here; the SQL must not yield it"
        )));
    }
    Ok(())
}
