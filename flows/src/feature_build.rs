//! `feature_build`: SQL over events and other tables by DataFusion, cut into folds by the named protocols, checked for leaks.
//!
//! The SQL yields interactions: `user_id`, `item_id` (integers), `ts` (timestamp), `value` (number), and any columns more, one row
//! per event. What comes out:
//!
//! - `table`: all of it in time order, with the boolean columns `temporal_test` and `random_test` ([`folds`]);
//! - `holdout`: the same rows, narrow: keys, those two columns and the slice columns. It is all that `evaluate` needs, because
//!   judging a list takes the user's history and the catalogue at the cut beside the held-out rows.
//!
//! Every parameter of the SQL is bound (`$name`), never pasted; the SQL can only read.

pub(crate) mod folds;
mod query;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_engine::plugin::{Ctx, Objection, Plugin, TaskError, chain};
use tidegate_learn::Split;

use crate::dataset::Dataset;
use folds::{Folds, Named};

/// The plugin.
pub struct FeatureBuild;

/// Its `with`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The events; table `events` in the SQL.
    pub events: Dataset,
    /// More tables by their names in the SQL: datasets, or `file:///…` of a Parquet file or folder.
    #[serde(default)]
    pub inputs: BTreeMap<String, Table>,
    /// The SQL itself. Either this or `sql_file`.
    #[serde(default)]
    pub sql: Option<String>,
    /// A file beside the flow that holds the SQL. Either this or `sql`.
    #[serde(default)]
    pub sql_file: Option<String>,
    /// Values for `$name` in the SQL.
    #[serde(default)]
    pub params: BTreeMap<String, Scalar>,
    /// Decides which items of a user `random_user_20_full` holds out.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Columns of the SQL that name a user's cohort, for the slices of `evaluate`.
    #[serde(default)]
    pub slices: Vec<String>,
    /// Memory the SQL may take, in MiB; beyond it, it spills to disk.
    #[serde(default = "default_memory")]
    pub memory_mib: u32,
}

fn default_seed() -> u64 {
    20
}

fn default_memory() -> u32 {
    512
}

/// A table for the SQL.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Table {
    /// What a task made.
    Dataset(Dataset),
    /// `file:///…` of a Parquet file or folder.
    Uri(String),
}

/// A value that the SQL may name.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// `BOOLEAN`
    Boolean(bool),
    /// `BIGINT`
    Integer(i64),
    /// `DOUBLE`
    Number(f64),
    /// `VARCHAR`; cast it where a timestamp is meant: `CAST($until AS TIMESTAMP)`.
    Text(String),
}

/// Its outputs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Output {
    /// All interactions with their features and folds, in time order.
    pub table: Dataset,
    /// What `evaluate` needs: keys, folds and slices of all interactions.
    pub holdout: Dataset,
    /// Rows of either.
    pub rows: u64,
    /// Different users.
    pub users: u64,
    /// Different items.
    pub items: u64,
    /// Share of nulls per column of `table`.
    pub null_rates: BTreeMap<String, f64>,
    /// What each protocol holds out.
    pub splits: Splits,
    /// What was looked for and not found; anything but zeros fails the task.
    pub leakage: Leakage,
}

/// What each protocol holds out.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Splits {
    /// One cut in time for all, the last 10 % of rows: what the model itself is judged by.
    pub temporal_full: SplitSize,
    /// A random 20 % of each user's items: what the procedure is judged by.
    pub random_user_20_full: SplitSize,
}

/// The size of a split.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SplitSize {
    /// Rows to learn from.
    pub n_train: u64,
    /// Rows held out.
    pub n_test: u64,
    /// Users with a held-out row.
    pub n_users: u64,
    /// The first held-out instant, where all users share one.
    pub cut: Option<String>,
}

/// Counts of leaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Leakage {
    /// Training rows that tell of held-out ones, in either protocol.
    pub overlap: u64,
    /// Rows whose `features_as_of` is later than their own `ts`.
    pub features_after: u64,
}

/// Why features could not be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("give either `sql` or `sql_file`")]
    NoSql,
    #[error("can't read `{file}`")]
    SqlFile { file: String, source: std::io::Error },
    #[error("table `{name}`: {message}")]
    Table { name: String, message: String },
    #[error("{0}")]
    Sql(String),
    #[error("{0}")]
    Shape(String),
    #[error("the SQL yields no row")]
    Empty,
    #[error("{0}")]
    Leak(String),
    #[error("can't write the features")]
    Write(#[from] write::WriteError),
    #[error(transparent)]
    Host(TaskError),
    #[error("stopped on request")]
    Cancelled,
}

impl From<BuildError> for TaskError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Cancelled | BuildError::Write(write::WriteError::Cancelled) => Self::Cancelled,
            BuildError::Host(error) => error,
            other => Self::fail(chain(&other)),
        }
    }
}

#[async_trait]
impl Plugin for FeatureBuild {
    type Input = Input;
    type Output = Output;

    const NAME: &'static str = "feature_build";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str =
        "builds a feature table by SQL, splits it by the named protocols, checks it for leaks";

    async fn run(&self, ctx: &Ctx, input: Input) -> Result<Output, TaskError> {
        Ok(build(ctx, &input).await?)
    }

    fn objections(with: &Value) -> Vec<Objection> {
        let given = |key: &str| with.get(key).is_some_and(|sql| !sql.is_null());
        let message = match (given("sql"), given("sql_file")) {
            (true, true) => "`sql_file` and `sql` both hold the statement",
            (false, false) => "there is no statement: neither `sql` nor `sql_file` is given",
            _ => return Vec::new(),
        };
        let help = "give one of them: sql_file = \"sql/features.sql\", or sql = \"SELECT …\"";
        vec![Objection::hopeless("sql_file", message, help)]
    }
}

async fn build(ctx: &Ctx, input: &Input) -> Result<Output, BuildError> {
    let sql = statement(ctx, input)?;
    ctx.progress(0, 3);
    let rows = query::run(ctx, input, &sql).await?;
    refuse_foresight(rows.features_after)?;
    ctx.info(format!("the SQL yields {} rows", rows.events.len()));
    ctx.progress(1, 3);
    let null_rates = rows.null_rates();
    let (table, holdout) = write::write(ctx, input, rows).await?;
    ctx.progress(2, 3);
    let mut output = report(&holdout).await?;
    for (name, dataset) in [("features", &table), ("holdout", &holdout)] {
        let path = dataset.path().map_err(|e| BuildError::Shape(chain(&e)))?;
        ctx.artifact(name, &path).await.map_err(BuildError::Host)?;
    }
    ctx.progress(3, 3);
    output.null_rates = null_rates;
    Ok(Output { table, ..output })
}

/// The statement, from wherever the flow keeps it.
fn statement(ctx: &Ctx, input: &Input) -> Result<String, BuildError> {
    match (&input.sql, &input.sql_file) {
        (Some(sql), None) => Ok(sql.clone()),
        (None, Some(file)) => {
            std::fs::read_to_string(ctx.folders.work.join(file)).map_err(|source| BuildError::SqlFile {
                file: file.clone(),
                source,
            })
        }
        _ => Err(BuildError::NoSql),
    }
}

fn refuse_foresight(rows: u64) -> Result<(), BuildError> {
    if rows == 0 {
        return Ok(());
    }
    Err(BuildError::Leak(format!(
        "{rows} rows have `features_as_of` after their own `ts`: their features know the future"
    )))
}

/// What the files say, read back: sizes of the splits, and whether anything leaks.
async fn report(holdout: &Dataset) -> Result<Output, BuildError> {
    let dataset = holdout.clone();
    let work = move || Folds::read(&dataset).map(|folds| summarise(&folds, &dataset));
    let read = tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| BuildError::Shape(chain(&e)))?;
    let output = read.map_err(|e| BuildError::Shape(chain(&e)))?;
    if output.leakage.overlap == 0 {
        return Ok(output);
    }
    let n = output.leakage.overlap;
    Err(BuildError::Leak(format!(
        "{n} training rows tell of held-out ones"
    )))
}

fn summarise(folds: &Folds, holdout: &Dataset) -> Output {
    let [temporal, random] = Named::ALL.map(|protocol| folds.split(protocol));
    Output {
        table: holdout.clone(),
        holdout: holdout.clone(),
        rows: folds.events.len() as u64,
        users: temporal.train.users().len() as u64,
        items: temporal.train.items().len() as u64,
        null_rates: BTreeMap::new(),
        leakage: Leakage {
            overlap: (temporal.leaks() + random.leaks()) as u64,
            features_after: 0,
        },
        splits: Splits {
            temporal_full: size_of(&temporal),
            random_user_20_full: size_of(&random),
        },
    }
}

fn size_of(split: &Split) -> SplitSize {
    let users = split.test.by_user();
    let held = (0..users.len() as u32).filter(|user| !users.of(*user).is_empty());
    SplitSize {
        n_train: split.train.len() as u64,
        n_test: split.test.len() as u64,
        n_users: held.count() as u64,
        cut: split.cut.map(folds::instant),
    }
}
