//! Who stands before whom.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::super::super::Result;
use crate::id::{RunId, TaskIdx};
use crate::view::Run;

pub(super) async fn line_of_runs(conn: &mut PgConnection, run: &Run) -> Result<(Vec<Uuid>, i64)> {
    let moving: Vec<Uuid> = sqlx::query_scalar(
        "select r.id from active_run a join run r on r.id = a.run
         where a.flow = $1 and r.state in ('running', 'cancelling') order by r.id",
    )
    .bind(&run.summary.flow)
    .fetch_all(&mut *conn)
    .await?;
    let before: i64 = sqlx::query_scalar(
        "select count(*) from active_run a join run r on r.id = a.run
         where a.flow = $1 and r.state = 'queued' and r.id < $2",
    )
    .bind(&run.summary.flow)
    .bind(run.summary.id)
    .fetch_one(conn)
    .await?;
    Ok((moving, before))
}

pub(super) async fn places_in_line(conn: &mut PgConnection, run: RunId) -> Result<BTreeMap<TaskIdx, i64>> {
    let rows: Vec<(i32, i64)> = sqlx::query_as(
        "select idx, before from (
           select run, idx, row_number() over (partition by pool order by rank, run, idx) - 1 as before
           from ready where at <= clock_timestamp()
             and pool in (select pool from ready where run = $1 and pool is not null)) as line
         where run = $1",
    )
    .bind(run.0)
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(idx, ahead)| (idx as TaskIdx, ahead))
        .collect())
}

pub(super) async fn silences(conn: &mut PgConnection, run: RunId) -> Result<BTreeMap<TaskIdx, f64>> {
    let rows: Vec<(i32, f64)> = sqlx::query_as(
        "select l.idx, extract(epoch from clock_timestamp() - w.heartbeat_at)::float8
         from lease l join worker w on w.id = l.worker where l.run = $1",
    )
    .bind(run.0)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|(idx, age)| (idx as TaskIdx, age)).collect())
}
