//! `data_pull`: the events of the last days, from a lake or a PostgreSQL table, each once, without the people to forget.
//!
//! Memory stays bounded whatever comes in: rows stream into 64 files by the hash of their `event_id` ([`spill`]), and each file
//! is then sorted, deduplicated and written by itself. Of events with one id the one that is first by time and then by content
//! is kept, so the snapshot does not depend on how the source is cut into files or in which order they answer.

mod finish;
mod forget;
mod postgres;
mod rows;
mod scan;
mod spill;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_engine::instant;
use tidegate_engine::plugin::{Ctx, Level, Objection, Plugin, TaskError, is_given, literal};

use crate::dataset::Dataset;
use crate::lake::DAY;
use crate::lake::reader::Window;

/// The plugin.
pub struct DataPull;

/// Its `with`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// `s3://bucket/prefix` or `file:///folder` of a lake, `postgres://…`, or the name of an environment variable that holds one.
    pub source: String,
    /// Days before `until`, 24 hours each.
    #[schemars(range(min = 1, max = 3650))]
    pub days: u32,
    /// End of the window, exclusive, RFC 3339; default: the run's time.
    #[serde(default, deserialize_with = "tidegate_engine::instant::read_option")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// The table, where the source is PostgreSQL: `events` (default) or `schema.events`.
    #[serde(default)]
    pub table: Option<String>,
    /// How many days after the window a lake is looked into for events that arrived late; default 3.
    #[serde(default)]
    #[schemars(range(min = 0, max = 365))]
    pub late_days: Option<u32>,
    /// People to leave out: `s3://…` or `file:///…` of a Parquet file with `user_id`, or of a text with one id a line.
    #[serde(default)]
    pub deletion_list: Option<String>,
    /// Only events of these types.
    #[serde(default)]
    pub event_types: Option<Vec<String>>,
}

const TABLE: &str = "events";
const LATE_DAYS: u32 = 3;

/// Where events come from: what an address begins with says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Postgres,
    Lake,
}

impl Source {
    fn of(address: &str) -> Self {
        if address.starts_with("postgres://") || address.starts_with("postgresql://") {
            Self::Postgres
        } else {
            Self::Lake
        }
    }

    /// The key that has no effect with it, and why.
    fn idle_key(self) -> (&'static str, &'static str) {
        match self {
            Self::Postgres => (
                "late_days",
                "`late_days` has no effect on PostgreSQL: it is asked by the events' own time",
            ),
            Self::Lake => (
                "table",
                "`table` has no effect on a lake: only PostgreSQL has tables",
            ),
        }
    }
}

/// Its outputs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Output {
    /// The events.
    pub events: Dataset,
    /// How many.
    pub rows: u64,
    /// Bytes fetched from the source; from PostgreSQL, bytes of the values.
    pub bytes: u64,
    /// Different users.
    pub users: u64,
    /// Different items.
    pub items: u64,
    /// Rows left out because their `event_id` had come already.
    pub duplicates: u64,
    /// Rows that arrived on a later day than they happened on.
    pub late: u64,
    /// Rows left out because their user is on the deletion list.
    pub erased: u64,
    /// Rows left out because id, user, item or time is missing.
    pub incomplete: u64,
    /// Start of the window, inclusive.
    #[schemars(with = "String")]
    pub from: Timestamp,
    /// End of the window, exclusive.
    #[schemars(with = "String")]
    pub until: Timestamp,
    /// Days of arrival that were read; 0 from PostgreSQL.
    pub partitions: u64,
    /// `sha256:…` of the content: the same events give the same digest, however they are stored.
    pub snapshot: String,
}

/// What is asked of a source.
struct Wanted {
    window: Window,
    late_days: i64,
    types: Option<Vec<String>>,
    forget: forget::Forget,
}

impl Wanted {
    fn takes(&self, kind: Option<&str>) -> bool {
        self.types
            .as_ref()
            .is_none_or(|types| kind.is_some_and(|k| types.iter().any(|t| t == k)))
    }
}

/// What was counted on the way.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    fetched: u64,
    late: u64,
    erased: u64,
    incomplete: u64,
    partitions: u64,
    wide: bool,
}

fn window(ctx: &Ctx, input: &Input) -> Result<Window, TaskError> {
    let until = input.until.unwrap_or(ctx.attempt.run_time).as_microsecond();
    if input.days == 0 || input.days > 3650 || input.late_days.is_some_and(|days| days > 365) {
        return Err(TaskError::fail(
            "`days` lies between 1 and 3650, `late_days` between 0 and 365",
        ));
    }
    Ok(until - i64::from(input.days) * DAY..until)
}

fn instant(micros: i64) -> Result<Timestamp, TaskError> {
    Timestamp::from_microsecond(micros).map_err(TaskError::fail)
}

/// The source itself, where `source` is the name of a variable that holds it.
fn resolve<'a>(ctx: &'a Ctx, source: &'a str) -> Result<&'a str, TaskError> {
    if source.contains("://") {
        return Ok(source);
    }
    ctx.env(source).ok_or_else(|| {
        TaskError::fail(format_args!(
            "source `{source}` is no address and no variable of the task's environment; write `s3://…`, `file:///…` or `postgres://…`"
        ))
    })
}

/// Refuses what the source makes nothing of. `check` does where the address stands in the flow file, this where it does not.
fn refuse_idle(input: &Input, source: &str) -> Result<(), TaskError> {
    let (key, message) = Source::of(source).idle_key();
    let given = match key {
        "table" => input.table.is_some(),
        _ => input.late_days.is_some(),
    };
    if given {
        return Err(TaskError::fail(format_args!("{message}; leave it out")));
    }
    Ok(())
}

#[async_trait]
impl Plugin for DataPull {
    type Input = Input;
    type Output = Output;

    const NAME: &'static str = "data_pull";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str = "Pulls the events of the last days from a lake or PostgreSQL, each once";

    async fn run(&self, ctx: &Ctx, input: Input) -> Result<Output, TaskError> {
        let source = resolve(ctx, &input.source)?.to_owned();
        refuse_idle(&input, &source)?;
        let window = window(ctx, &input)?;
        let (from, until) = (instant(window.start)?, instant(window.end)?);
        let forget = forget::Forget::load(ctx, input.deletion_list.as_deref()).await?;
        let wanted = Wanted {
            window,
            late_days: input.late_days.unwrap_or(LATE_DAYS).into(),
            types: input.event_types,
            forget,
        };
        let mut sink = rows::Sink::create(&ctx.folders.work.join("data_pull"))?;
        let counts = match Source::of(&source) {
            Source::Postgres => {
                let table = input.table.as_deref().unwrap_or(TABLE);
                postgres::pull(ctx, &source, table, (&wanted, &mut sink)).await?
            }
            Source::Lake => scan::pull(ctx, &source, &wanted, &mut sink).await?,
        };
        if counts.incomplete > 0 {
            let text = format!(
                "{} rows left out: event_id, user_id, item_id or ts is null",
                counts.incomplete
            );
            ctx.log(Level::Warn, text);
        }
        let finished = finish::finish(ctx, sink, counts.wide).await?;
        ctx.artifact("events", &finished.path).await?;
        ctx.info(format!(
            "{} events from {from} to {until}: {} duplicates, {} late, {} erased",
            finished.dataset.rows, finished.duplicates, counts.late, counts.erased
        ));
        Ok(Output {
            rows: finished.dataset.rows,
            bytes: counts.fetched,
            users: finished.users,
            items: finished.items,
            duplicates: finished.duplicates,
            late: counts.late,
            erased: counts.erased,
            incomplete: counts.incomplete,
            from,
            until,
            partitions: counts.partitions,
            snapshot: finished.dataset.digest.clone(),
            events: finished.dataset,
        })
    }

    fn objections(with: &Value) -> Vec<Objection> {
        let no_instant = literal(with, "until").and_then(|until| instant::parse(until).err());
        let no_instant =
            no_instant.map(|_| Objection::hopeless("until", "`until` is no instant", instant::FORM));
        let source = with.get("source").and_then(Value::as_str).unwrap_or_default();
        let (key, message) = Source::of(source).idle_key();
        // An expression or the name of a variable says nothing yet.
        let is_idle = source.contains("://") && is_given(with, key);
        let idle = is_idle.then(|| Objection::idle(key, message, "leave it out"));
        idle.into_iter().chain(no_instant).collect()
    }
}
