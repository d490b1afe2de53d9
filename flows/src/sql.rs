//! `sql`: statements and a query on a PostgreSQL database of the user's, in one transaction, over a connection of its own.
//!
//! It can only read unless `write = true`. Values are bound, never pasted: whole numbers as `bigint`, others as `double precision`,
//! `true` and `false` as `boolean`, texts as `text`, lists and tables as `jsonb`; where a column is of another type the statement
//! says so (`$1::date`). Tasks run at least once: what writes must bear a repeat.

mod rows;
#[cfg(test)]
mod tests;
mod written;

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tidegate_engine::plugin::{Artifact, Ctx, Isolation, Objection, Plugin, TaskError};

pub(crate) use written::unreachable;

/// How long a server may take to take a connection, and to hear that a statement is to end.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// The plugin.
pub struct Sql;

/// Its `with`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// `postgres://user:password@host/database`, best from a secret, or the name of a variable of the task's environment that holds it.
    pub url: String,
    /// Carried out in order before the query; their rows are not looked at.
    #[serde(default)]
    pub statements: Vec<Statement>,
    /// A SELECT, VALUES or TABLE whose rows are handed on.
    #[serde(default)]
    pub query: Option<String>,
    /// Values for `$1`, `$2`, … of the query.
    #[serde(default)]
    pub params: Vec<Value>,
    /// Whether it may change anything.
    #[serde(default)]
    pub write: bool,
    /// How long each statement may take.
    #[serde(default = "a_minute", with = "tidegate_engine::duration::text")]
    #[schemars(with = "String", default = "a_minute_as_text")]
    pub timeout: Duration,
    /// `outputs`: the rows are an output. `csv`: they are written to an artifact.
    #[serde(default)]
    pub to: Target,
    /// Rows at most; more fail the task. Default: 1000 as outputs, ten million in a file.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_rows: Option<u64>,
}

/// A statement, alone or with its values.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Statement {
    /// Without values.
    Plain(String),
    /// With values.
    Bound {
        /// The statement.
        sql: String,
        /// Values for `$1`, `$2`, …
        #[serde(default)]
        params: Vec<Value>,
    },
}

/// Where rows go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Into the output `rows`.
    #[default]
    Outputs,
    /// Into an artifact.
    Csv,
}

fn a_minute() -> Duration {
    Duration::from_secs(60)
}

fn a_minute_as_text() -> &'static str {
    "60s"
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Output {
    /// The query's rows, as tables by column name; empty with `to = "csv"`.
    pub rows: Vec<Map<String, Value>>,
    /// How many rows the query yielded.
    pub count: u64,
    /// Rows that each statement touched, in order.
    pub affected: Vec<u64>,
    /// The file of `to = "csv"`.
    pub file: Option<Artifact>,
}

impl Statement {
    fn parts(&self) -> (&str, &[Value]) {
        match self {
            Self::Plain(sql) => (sql, &[]),
            Self::Bound { sql, params } => (sql, params),
        }
    }
}

/// The values of a statement, bound by their JSON type.
fn bound(params: &[Value]) -> Result<PgArguments, TaskError> {
    use sqlx::Arguments;
    let mut arguments = PgArguments::default();
    for (at, value) in params.iter().enumerate() {
        let added = match value {
            Value::Null => arguments.add(None::<String>),
            Value::Bool(value) => arguments.add(*value),
            Value::String(text) => arguments.add(text.as_str()),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => arguments.add(whole),
                (None, Some(broken)) => arguments.add(broken),
                (None, None) => arguments.add(number.to_string()),
            },
            Value::Array(_) | Value::Object(_) => arguments.add(sqlx::types::Json(value)),
        };
        added.map_err(|e| TaskError::fail(format_args!("the value of ${} cannot be bound: {e}", at + 1)))?;
    }
    Ok(arguments)
}

/// A connection, and the way to another one that can tell the server to stop.
struct Session {
    options: PgConnectOptions,
    place: String,
    conn: PgConnection,
    pid: i32,
}

impl Session {
    async fn open(ctx: &Ctx, (url, write): (&str, bool), limit: Duration) -> Result<Self, TaskError> {
        let url = match url.contains("://") {
            true => url,
            false => ctx.env(url).ok_or_else(|| {
                TaskError::fail("`url` is no address, and no variable of the task's environment either")
            })?,
        };
        let wrong = "the address can't be parsed; write postgres://user:password@host/database";
        let options: PgConnectOptions = url.parse().map_err(|_| TaskError::fail(wrong))?;
        let database = options.get_database().unwrap_or_default();
        let place = format!(
            "PostgreSQL {}:{}/{database}",
            options.get_host(),
            options.get_port()
        );
        let read_only = if write { "off" } else { "on" };
        let limit = format!("{}ms", limit.as_millis());
        let own = options.clone().application_name("tidegate sql").options([
            ("default_transaction_read_only", read_only),
            ("statement_timeout", limit.as_str()),
            ("idle_in_transaction_session_timeout", "60s"),
        ]);
        let opened = tokio::select! {
            () = ctx.cancelled() => return Err(TaskError::Cancelled),
            opened = tokio::time::timeout(CONNECT_LIMIT, own.connect()) => opened,
        };
        let slow = |_| {
            TaskError::retry(format_args!(
                "{place}: no connection within {} s",
                CONNECT_LIMIT.as_secs()
            ))
        };
        let mut conn = opened
            .map_err(slow)?
            .map_err(|e| failure(&place, "connecting", &e))?;
        let pid = sqlx::query_scalar("select pg_backend_pid()")
            .fetch_one(&mut conn)
            .await;
        let pid = pid.map_err(|e| failure(&place, "connecting", &e))?;
        Ok(Self {
            options,
            place,
            conn,
            pid,
        })
    }

    /// Tells the server to end what runs on the connection: a closed socket alone would leave it running.
    async fn cancel(options: PgConnectOptions, pid: i32) {
        let told = async {
            let mut conn = options.connect().await?;
            sqlx::query("select pg_cancel_backend($1)")
                .bind(pid)
                .execute(&mut conn)
                .await?;
            conn.close().await
        };
        if let Ok(Err(error)) = tokio::time::timeout(CONNECT_LIMIT, told).await {
            tracing::warn!(error = %error, "a statement could not be told to end; its timeout will");
        }
    }
}

/// Whether the first row of a query begins with true. It can only read.
pub(crate) async fn ask_whether(
    ctx: &Ctx,
    (url, query): (&str, &str),
    limit: Duration,
) -> Result<bool, TaskError> {
    use sqlx::Row;
    let mut session = Session::open(ctx, (url, false), limit).await?;
    let asked = sqlx::query(AssertSqlSafe(query)).fetch_optional(&mut session.conn);
    let row = tokio::select! {
        () = ctx.cancelled() => None,
        row = asked => Some(row),
    };
    let Some(row) = row else {
        Session::cancel(session.options, session.pid).await;
        return Err(TaskError::Cancelled);
    };
    let row = row.map_err(|e| failure(&session.place, "query", &e))?;
    let _ = tokio::time::timeout(CONNECT_LIMIT, session.conn.close()).await;
    let Some(row) = row else { return Ok(false) };
    let yes: Option<bool> = row
        .try_get(0)
        .map_err(|_| TaskError::fail("the query must yield true or false"))?;
    Ok(yes.unwrap_or(false))
}

/// An error of the server, in words, with its class.
fn failure(place: &str, what: &str, error: &sqlx::Error) -> TaskError {
    let sqlx::Error::Database(said) = error else {
        return TaskError::retry(format_args!("{place}, {what}: {error}"));
    };
    let code = said.code().unwrap_or_default();
    let message = format!("{place}, {what}: {} ({code})", said.message());
    let passing = ["08", "40", "53", "57", "58"]
        .iter()
        .any(|class| code.starts_with(class))
        || code == "55P03";
    if passing {
        TaskError::retry(message)
    } else {
        TaskError::fail(message)
    }
}

async fn act(session: &mut Session, ctx: &Ctx, input: &Input) -> Result<Output, TaskError> {
    let place = session.place.clone();
    let mut tx = session
        .conn
        .begin()
        .await
        .map_err(|e| failure(&place, "begin", &e))?;
    // A transaction that has looked at something can no longer be made a writing one.
    sqlx::query("select 1")
        .execute(&mut *tx)
        .await
        .map_err(|e| failure(&place, "begin", &e))?;
    let mut output = Output::default();
    for (at, statement) in input.statements.iter().enumerate() {
        let (sql, params) = statement.parts();
        let done = sqlx::query_with(AssertSqlSafe(sql), bound(params)?)
            .execute(&mut *tx)
            .await;
        let done = done.map_err(|e| failure(&place, &format!("statement {}", at + 1), &e))?;
        output.affected.push(done.rows_affected());
    }
    if let Some(query) = &input.query {
        let asked = rows::Asked {
            query,
            arguments: bound(&input.params)?,
            place: &place,
        };
        match input.to {
            Target::Outputs => {
                rows::collect(&mut tx, asked, (input.max_rows.unwrap_or(1000), &mut output)).await?
            }
            Target::Csv => {
                rows::write(
                    &mut tx,
                    asked,
                    (ctx, input.max_rows.unwrap_or(10_000_000)),
                    &mut output,
                )
                .await?
            }
        }
    }
    tx.commit().await.map_err(|e| failure(&place, "commit", &e))?;
    Ok(output)
}

#[async_trait]
impl Plugin for Sql {
    type Input = Input;
    type Output = Output;

    const NAME: &'static str = "sql";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str = "Runs statements and a query on a PostgreSQL database, in one transaction; only reads unless told to write";
    const ISOLATION: Isolation = Isolation::Inline;

    async fn run(&self, ctx: &Ctx, input: Input) -> Result<Output, TaskError> {
        ctx.checkpoint()?;
        if input.query.is_none() && input.statements.is_empty() {
            return Err(TaskError::fail("give a `query`, or `statements`"));
        }
        let mut session = Session::open(ctx, (&input.url, input.write), input.timeout).await?;
        let (options, pid) = (session.options.clone(), session.pid);
        let done = tokio::select! {
            () = ctx.cancelled() => None,
            done = act(&mut session, ctx, &input) => Some(done),
        };
        let Some(done) = done else {
            Session::cancel(options, pid).await;
            return Err(TaskError::Cancelled);
        };
        // What is left of a failed transaction ends with its connection.
        let _ = tokio::time::timeout(CONNECT_LIMIT, session.conn.close()).await;
        let output = done?;
        ctx.info(format!(
            "{}: {} rows, {:?} affected",
            session.place, output.count, output.affected
        ));
        Ok(output)
    }

    fn objections(with: &Value) -> Vec<Objection> {
        written::objections(with)
    }
}
