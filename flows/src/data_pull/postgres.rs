//! From a PostgreSQL table, streamed over a connection of its own. Values are bound; the table's name is checked and quoted.

use futures::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Row as _};
use tidegate_engine::plugin::{Ctx, TaskError};

use super::rows::{Row, Sink};
use super::{Counts, Wanted, instant};

/// Moves the rows of a table into the sink.
pub async fn pull(
    ctx: &Ctx,
    url: &str,
    table: &str,
    (wanted, sink): (&Wanted, &mut Sink),
) -> Result<Counts, TaskError> {
    let options: PgConnectOptions = url.parse().map_err(|_| {
        TaskError::fail(
            "the PostgreSQL address can't be parsed; write postgres://user:password@host/database",
        )
    })?;
    let place = format!(
        "{}:{}/{}",
        options.get_host(),
        options.get_port(),
        options.get_database().unwrap_or_default()
    );
    let options = options
        .application_name("tidegate data_pull")
        .options([("TimeZone", "UTC"), ("default_transaction_read_only", "on")]);
    let failed = |e: sqlx::Error| failure(&place, &e);
    let mut connection = tokio::select! {
        () = ctx.cancelled() => return Err(TaskError::Cancelled),
        opened = options.connect() => opened.map_err(failed)?,
    };
    let (from, until) = (
        instant(wanted.window.start)?.to_string(),
        instant(wanted.window.end)?.to_string(),
    );
    let query = sqlx::query(AssertSqlSafe(statement(table)?))
        .bind(from)
        .bind(until)
        .bind(&wanted.types);
    let mut found = query.fetch(&mut connection);
    let mut counts = Counts {
        wide: true,
        ..Counts::default()
    };
    loop {
        let next = tokio::select! {
            () = ctx.cancelled() => return Err(TaskError::Cancelled),
            next = found.try_next() => next.map_err(failed)?,
        };
        let Some(row) = next else { return Ok(counts) };
        counts.fetched += 36;
        take(&row, wanted, (sink, &mut counts)).map_err(failed)??;
    }
}

fn failure(place: &str, error: &sqlx::Error) -> TaskError {
    match error {
        sqlx::Error::Database(said) => {
            let hint = "the table needs event_id, user_id, item_id, event_type, value, ts";
            TaskError::fail(format_args!("PostgreSQL {place}: {}; {hint}", said.message()))
        }
        other => TaskError::retry(format_args!("PostgreSQL {place}: {other}")),
    }
}

fn statement(table: &str) -> Result<String, TaskError> {
    let fits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    if !table.split('.').all(fits) || table.split('.').count() > 2 {
        return Err(TaskError::fail(format_args!(
            "`{table}` is no table: write `events` or `schema.events`"
        )));
    }
    let quoted: Vec<_> = table.split('.').map(|part| format!("\"{part}\"")).collect();
    Ok(format!(
        "SELECT event_id::bigint, user_id::bigint, item_id::bigint, event_type::text, value::real, \
         (extract(epoch FROM ts) * 1000000)::bigint AS ts FROM {} \
         WHERE (ts IS NULL OR (ts >= $1::text::timestamptz AND ts < $2::text::timestamptz)) \
         AND ($3::text[] IS NULL OR event_type = ANY($3))",
        quoted.join(".")
    ))
}

fn take(
    row: &PgRow,
    wanted: &Wanted,
    (sink, counts): (&mut Sink, &mut Counts),
) -> Result<Result<(), TaskError>, sqlx::Error> {
    let long = |at: usize| row.try_get::<Option<i64>, _>(at);
    let (Some(id), Some(user), Some(item), Some(ts)) = (long(0)?, long(1)?, long(2)?, long(5)?) else {
        counts.incomplete += 1;
        return Ok(Ok(()));
    };
    if wanted.forget.has(user) {
        counts.erased += 1;
        return Ok(Ok(()));
    }
    let value = row.try_get(4)?;
    let name: Option<&str> = row.try_get(3)?;
    let kind = name.map(|name| sink.kind(name)).transpose();
    Ok(kind.and_then(|kind| {
        sink.push(&Row {
            id,
            ts,
            user,
            item,
            value,
            kind,
        })
    }))
}
