//! The floor: the four statements that any durable engine makes of a task, by a program that does nothing else.

use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use serde::Serialize;
use sqlx::{Connection, PgConnection};
use tidegate_engine::clock;
use uuid::Uuid;

use super::{Ground, Options};

/// Rows of a batch.
const BATCH: usize = 50;

/// The best that this server did.
#[derive(Debug, Serialize)]
pub struct Floor {
    /// One commit inserts a row, another claims and finishes it.
    pub two_commits: Best,
    /// All in one commit.
    pub one_commit: Best,
    /// Fifty rows a commit.
    pub batched: Best,
}

/// The best of 1, 2 and 4 clients.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Best {
    /// Rows through all four statements, a second.
    pub rows_per_second: f64,
    /// With how many clients.
    pub clients: usize,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Two,
    One,
    Batched,
}

const INSERT: &str =
    "insert into floor_task (run, idx, state) select $1, idx, 'ready' from unnest($2::int[]) as u(idx)";
const CLAIM: &str = "with picked as materialized (
     select run, idx from floor_task where run = $1 and idx = any($2) order by idx for update skip locked)
   update floor_task t set state = 'running', epoch = epoch + 1, worker = $3 from picked p
   where t.run = p.run and t.idx = p.idx";
const FINISH: &str = "update floor_task set state = 'succeeded', finished_at = clock_timestamp()
   where run = $1 and idx = any($2) and epoch = 1";
const EVENT: &str = "insert into floor_event (run, seq, kind, at)
   select $1, idx, 'succeeded', clock_timestamp() from unnest($2::int[]) as u(idx)";

/// Measures it.
pub async fn measure(ground: &Ground, options: &Options) -> Result<Floor> {
    let time = Duration::from_millis(if options.quick { 100 } else { 2000 });
    sqlx::raw_sql(
        "create table floor_task (run uuid, idx int, state text not null, epoch bigint not null default 0, worker uuid,
           finished_at timestamptz, primary key (run, idx)) with (fillfactor = 70);
         create table floor_event (run uuid, seq bigint, kind text not null, at timestamptz not null, primary key (run, seq))",
    )
    .execute(ground.pool())
    .await?;
    let floor = Floor {
        two_commits: best(ground, How::Two, time).await?,
        one_commit: best(ground, How::One, time).await?,
        batched: best(ground, How::Batched, time).await?,
    };
    sqlx::raw_sql("drop table floor_task, floor_event")
        .execute(ground.pool())
        .await?;
    Ok(floor)
}

async fn best(ground: &Ground, how: How, time: Duration) -> Result<Best> {
    let mut best = Best::default();
    for clients in [1, 2, 4] {
        let counts = try_join_all((0..clients).map(|_| client(ground, how, time))).await?;
        let rows_per_second = counts.iter().sum::<usize>() as f64 / time.as_secs_f64();
        if rows_per_second > best.rows_per_second {
            best = Best {
                rows_per_second,
                clients,
            };
        }
    }
    Ok(best)
}

/// One client, for a while; answers how many rows it brought through.
async fn client(ground: &Ground, how: How, time: Duration) -> Result<usize> {
    let mut conn = ground.connect().await?;
    let task = tokio::spawn(async move {
        let (run, begun) = (clock::new_id(), clock::monotonic());
        let size = if matches!(how, How::Batched) { BATCH } else { 1 };
        let mut rows = 0;
        while begun.elapsed() < time {
            let some: Vec<i32> = (rows..rows + size).map(|idx| idx as i32).collect();
            bring_through(&mut conn, how, (run, &some)).await?;
            rows += size;
        }
        Ok::<usize, sqlx::Error>(rows)
    });
    Ok(task.await??)
}

async fn bring_through(conn: &mut PgConnection, how: How, (run, rows): (Uuid, &[i32])) -> sqlx::Result<()> {
    let mut tx = conn.begin().await?;
    sqlx::query(INSERT).bind(run).bind(rows).execute(&mut *tx).await?;
    if matches!(how, How::Two) {
        tx.commit().await?;
        tx = conn.begin().await?;
    }
    sqlx::query(CLAIM)
        .bind(run)
        .bind(rows)
        .bind(run)
        .execute(&mut *tx)
        .await?;
    sqlx::query(FINISH).bind(run).bind(rows).execute(&mut *tx).await?;
    sqlx::query(EVENT).bind(run).bind(rows).execute(&mut *tx).await?;
    tx.commit().await
}
