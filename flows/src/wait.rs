//! `wait`: until an instant, or until something is there: a URL answers, an object exists, a query says true.
//!
//! Between looks the task run is parked: no slot, no lease, nothing that runs. It comes back by the clock of the database's `ready`
//! table, whichever workers were restarted meanwhile; since when it waits and how often it looked, it remembers.

mod look;
#[cfg(test)]
mod tests;
mod written;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_engine::clock;
use tidegate_engine::plugin::{Ctx, Isolation, Objection, Parking, Plugin, TaskError, WaitsFor};

use look::Look;

/// The plugin.
pub struct Wait;

/// Its `with`: one of `until`, `for`, `url`, `object` and `query`, and how it is looked for.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// An instant, RFC 3339.
    #[serde(default, deserialize_with = "tidegate_engine::instant::read_option")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// So long, from the first look on.
    #[serde(default, rename = "for", with = "tidegate_engine::duration::text_option")]
    #[schemars(with = "Option<String>")]
    pub span: Option<Duration>,
    /// A URL that answers GET with a status that is expected.
    #[serde(default)]
    pub url: Option<String>,
    /// Headers for `url`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Statuses of `url` that count; default: 200 to 299.
    #[serde(default)]
    pub expected: Vec<u16>,
    /// An object that exists: `s3://bucket/key` or `file:///path`.
    #[serde(default)]
    pub object: Option<String>,
    /// A query whose first row begins with true; read-only.
    #[serde(default)]
    pub query: Option<String>,
    /// Where `query` is asked: `postgres://…`, or the name of a variable of the task's environment that holds it.
    #[serde(default)]
    pub database: Option<String>,
    /// Pause after the first look; each further one is half as long again.
    #[serde(default = "half_a_minute", with = "tidegate_engine::duration::text")]
    #[schemars(with = "String", default = "half_a_minute_as_text")]
    pub every: Duration,
    /// The longest pause.
    #[serde(default = "five_minutes", with = "tidegate_engine::duration::text")]
    #[schemars(with = "String", default = "five_minutes_as_text")]
    pub at_most_every: Duration,
    /// How long it is waited for `url`, `object` or `query` before the task fails.
    #[serde(default = "a_day", with = "tidegate_engine::duration::text")]
    #[schemars(with = "String", default = "a_day_as_text")]
    pub timeout: Duration,
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

fn half_a_minute_as_text() -> &'static str {
    "30s"
}

fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

fn five_minutes_as_text() -> &'static str {
    "5m"
}

fn a_day() -> Duration {
    Duration::from_secs(86_400)
}

fn a_day_as_text() -> &'static str {
    "1d"
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Output {
    /// When it was there, RFC 3339.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Seconds since the first look.
    pub waited: u64,
    /// How often it was looked.
    pub looks: u64,
}

/// What is waited for.
enum Goal<'a> {
    Instant(Timestamp),
    Span(Duration),
    Url(&'a str),
    Object(&'a str),
    Query { sql: &'a str, database: &'a str },
}

/// What an attempt leaves for the next.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Memory {
    since: Timestamp,
    looks: u64,
}

impl Input {
    fn goal(&self) -> Result<Goal<'_>, TaskError> {
        let query = match (&self.query, &self.database) {
            (Some(sql), Some(database)) => Some(Goal::Query { sql, database }),
            (None, None) => None,
            _ => return Err(TaskError::fail("`query` and `database` belong together")),
        };
        let mut goals: Vec<Goal<'_>> = [
            self.until.map(Goal::Instant),
            self.span.map(Goal::Span),
            self.url.as_deref().map(Goal::Url),
            self.object.as_deref().map(Goal::Object),
            query,
        ]
        .into_iter()
        .flatten()
        .collect();
        match (goals.len(), goals.pop()) {
            (1, Some(goal)) => Ok(goal),
            _ => Err(TaskError::fail(
                "give one of `until`, `for`, `url`, `object` and `query`",
            )),
        }
    }

    /// The pause after so many looks.
    fn pause(&self, looks: u64) -> Duration {
        let grown = self.every.as_secs_f64() * 1.5_f64.powi(i32::try_from(looks - 1).unwrap_or(i32::MAX));
        let longest = self.at_most_every.max(self.every);
        Duration::try_from_secs_f64(grown)
            .unwrap_or(longest)
            .clamp(Duration::from_millis(100), longest)
    }
}

fn parked(waits_for: WaitsFor, until: Timestamp, (note, memory): (String, Memory)) -> TaskError {
    TaskError::Parked(Box::new(Parking {
        waits_for,
        until: Some(until),
        note,
        memory: json!(memory),
    }))
}

/// How a look that found nothing goes on: later, or not at all.
fn later(input: &Input, (what, why): (&str, &str), memory: Memory, now: Timestamp) -> TaskError {
    let end = memory.since.checked_add(input.timeout).unwrap_or(Timestamp::MAX);
    let looks = memory.looks;
    if now >= end {
        let limit = tidegate_engine::duration::Shown(input.timeout);
        return TaskError::fail(format_args!(
            "waited {limit} for {what}, in vain; the last of {looks} looks: {why}"
        ));
    }
    let next = now.checked_add(input.pause(looks)).unwrap_or(end).min(end);
    let times = if looks == 1 {
        "once".to_owned()
    } else {
        format!("{looks} times")
    };
    parked(
        WaitsFor::Poll,
        next,
        (format!("waits for {what}; looked {times}: {why}"), memory),
    )
}

#[async_trait]
impl Plugin for Wait {
    type Input = Input;
    type Output = Output;

    const NAME: &'static str = "wait";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str =
        "Waits for an instant, a URL, an object or a query, and holds nothing meanwhile";
    const ISOLATION: Isolation = Isolation::Inline;
    const FOLDERS: bool = false;
    const ACTS: bool = true;

    async fn run(&self, ctx: &Ctx, input: Input) -> Result<Output, TaskError> {
        ctx.checkpoint()?;
        let goal = input.goal()?;
        let now = clock::now();
        let first = Memory { since: now, looks: 0 };
        let mut memory: Memory = serde_json::from_value(ctx.attempt.memory.clone()).unwrap_or(first);
        memory.looks += 1;
        let instant = match goal {
            Goal::Instant(instant) => Some(instant),
            Goal::Span(span) => Some(memory.since.checked_add(span).unwrap_or(Timestamp::MAX)),
            _ => None,
        };
        if let Some(instant) = instant.filter(|instant| *instant > now) {
            return Err(parked(
                WaitsFor::Timer,
                instant,
                (format!("waits until {instant}"), memory),
            ));
        }
        if let Look::NotYet { what, why } = look::look(ctx, &input, &goal).await? {
            return Err(later(&input, (&what, &why), memory, clock::now()));
        }
        let at = clock::now();
        let waited = u64::try_from(at.duration_since(memory.since).as_secs()).unwrap_or(0);
        Ok(Output {
            at,
            waited,
            looks: memory.looks,
        })
    }

    fn objections(with: &Value) -> Vec<Objection> {
        written::objections(with)
    }

    fn idle_keys(with: &Value) -> Vec<Objection> {
        written::idle_keys(with)
    }
}
