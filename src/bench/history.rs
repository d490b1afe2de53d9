//! A long history, made of one real run: all its rows again and again, under ids and instants of the last ninety days.

use anyhow::Result;
use sqlx::{AssertSqlSafe, PgConnection};

use super::Ground;

/// Days over which it is spread.
pub const DAYS: usize = 90;

/// Tables that hold what a run leaves behind, and how they name it.
const TABLES: [(&str, &str); 6] = [
    ("run", "id"),
    ("task_run", "run"),
    ("task_output", "run"),
    ("metric", "run"),
    ("artifact", "run"),
    ("event", "run"),
];

/// Ids as the engine makes them: the instant in milliseconds, then chance.
const FRESH: &str = "create temp table fresh as
     select encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
              placing substring(int8send((extract(epoch from at) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1), 'hex')::uuid as id,
       (at at time zone 'utc')::date as day, at - r.created_at as shift, at
     from run r cross join lateral (
       select date_trunc('day', now()) - make_interval(days => $2) + random() * interval '1 day' as at
       from generate_series(1, $3)) made
     where r.id = $1";

/// Rows that say the same about other runs; `log` has no counterpart in a run of no-op tasks.
const LINES: &str = "insert into log (day, run, idx, epoch, seq, at, level, text)
     select f.day, f.id, t.idx, t.epoch, line, f.at, 'info', 'epoch ' || line || ': loss ' || random()
     from fresh f join task_run t on t.run = f.id cross join generate_series(0, $1 - 1) as line";

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub struct Length {
    /// Runs.
    pub runs: usize,
    /// Log lines of each task run.
    pub lines: usize,
}

/// Writes it beside what is there, then cleans up as the server would over time.
pub async fn write(ground: &Ground, flow: &str, length: Length) -> Result<()> {
    let mut conn = ground.connect().await?;
    let template: uuid::Uuid = sqlx::query_scalar(
        "select id from run where flow = $1 and finished_at is not null order by id desc limit 1",
    )
    .bind(flow)
    .fetch_one(&mut conn)
    .await?;
    sqlx::query("select ensure_partitions((now() at time zone 'utc')::date - $1, $1)")
        .bind(DAYS as i32)
        .execute(&mut conn)
        .await?;
    let mut copies = Vec::new();
    for (table, key) in TABLES {
        copies.push(copy_of(&mut conn, table, key).await?);
    }
    for day in 0..DAYS {
        // What does not divide goes to the first days.
        let runs = length.runs / DAYS + usize::from(day < length.runs % DAYS);
        sqlx::query(FRESH)
            .bind(template)
            .bind((DAYS - day) as i32)
            .bind(runs as i32)
            .execute(&mut conn)
            .await?;
        for copy in &copies {
            let copy = sqlx::query(AssertSqlSafe(copy.as_str())).bind(template);
            copy.execute(&mut conn).await?;
        }
        sqlx::query(LINES)
            .bind(length.lines as i32)
            .execute(&mut conn)
            .await?;
        sqlx::query("drop table fresh").execute(&mut conn).await?;
    }
    // Long ago a scheduler counted it.
    sqlx::query("update counting_head set run = (select id from run order by id desc limit 1)")
        .execute(&mut conn)
        .await?;
    sqlx::query("vacuum analyze").execute(&mut conn).await?;
    sqlx::query("checkpoint").execute(&mut conn).await?;
    Ok(())
}

/// The statement that repeats a table's rows of the run `$1` for each fresh one, whatever columns there are.
async fn copy_of(conn: &mut PgConnection, table: &str, key: &str) -> Result<String> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "select column_name::text, data_type::text from information_schema.columns
         where table_schema = current_schema() and table_name = $1 order by ordinal_position",
    )
    .bind(table)
    .fetch_all(conn)
    .await?;
    let value = |(name, kind): &(String, String)| match kind.as_str() {
        _ if name == key => "f.id".to_owned(),
        _ if name == "day" => "f.day".to_owned(),
        "timestamp with time zone" => format!("t.{name} + f.shift"),
        _ => format!("t.{name}"),
    };
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let values: Vec<String> = columns.iter().map(value).collect();
    Ok(format!(
        "insert into {table} ({}) select {} from {table} t cross join fresh f where t.{key} = $1",
        names.join(", "),
        values.join(", ")
    ))
}
