//! How PostgreSQL goes about the hot statements, on tables that are full: by their keys, whatever lies beside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use sqlx::{AssertSqlSafe, Postgres};
use uuid::Uuid;

use super::locked::{LOAD_TASKS, LOCK_SLICES, write};
use super::tests::{Bench, task};
use super::{claim, pg};

/// 3,000 runs of 20 task runs; 5,000 of them may be claimed, 500 run.
const FILL: &str = "
  insert into run (id, flow, version, state, trigger, requester, params, created_at, open, active, finished_at)
    select gen_random_uuid(), flow, version, 'succeeded', trigger, requester, params, created_at, 0, 0, created_at
    from run, generate_series(1, 3000);
  insert into task_run (run, idx, state, unmet, finished_at)
    select id, idx, 'succeeded', 0, created_at from run, generate_series(1, 20) as idx;
  insert into ready (queue, rank, at, run, idx, light)
    select case when idx % 10 = 0 then 'gpu' else 'default' end, now(), now(), run, idx, idx % 2 = 0
    from task_run where idx > 0 limit 5000;
  insert into lease (run, idx, epoch, worker, until)
    select run, idx, 1, gen_random_uuid(), clock_timestamp() from task_run order by run limit 500;
  analyze;";

type Explained = QueryScalar<'static, Postgres, String, PgArguments>;

fn explain(sql: &str) -> Explained {
    sqlx::query_scalar(AssertSqlSafe(format!("explain (costs off) {sql}")))
}

async fn full() -> Bench {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    bench.run().await;
    sqlx::raw_sql(FILL).execute(bench.store.pool()).await.unwrap();
    bench
}

/// The plan, without the numbers of its parameters, which differ between versions of PostgreSQL.
async fn plan(bench: &Bench, explained: Explained) -> String {
    bare(&explained.fetch_all(bench.store.pool()).await.unwrap())
}

fn bare(lines: &[String]) -> String {
    let bare = lines.iter().map(|line| {
        let line = line.split(" (returns $").next().unwrap_or(line);
        line.split(" (ctid = ANY").next().unwrap_or(line)
    });
    bare.collect::<Vec<_>>().join("\n")
}

/// When all that is ready is due.
fn late() -> jiff_sqlx::Timestamp {
    pg("2100-01-01T00:00:00Z".parse().unwrap())
}

fn places() -> (Vec<Uuid>, Vec<i32>) {
    (vec![Uuid::nil(); 50], (0..50).collect())
}

#[tokio::test]
async fn a_claim_walks_the_index_of_each_queue_no_further_than_it_has_room() {
    let bench = full().await;
    let queues = vec!["default".to_owned()];
    let pick = explain(claim::PICK)
        .bind(queues)
        .bind(late())
        .bind(4_i64)
        .bind(512_i64)
        .bind(false);
    insta::assert_snapshot!(plan(&bench, pick).await);
}

#[tokio::test]
async fn what_moves_a_run_finds_its_rows_by_their_keys() {
    let bench = full().await;
    let (run, idx) = places();
    let by_place = |sql| explain(sql).bind(run.clone()).bind(idx.clone());
    let mut all = Vec::new();
    for sql in [LOAD_TASKS, write::DELETE_READY] {
        all.push(plan(&bench, by_place(sql)).await);
    }
    let locking = explain(LOCK_SLICES)
        .bind(vec![Uuid::nil()])
        .bind(run.clone())
        .bind(idx.clone());
    all.push(plan(&bench, locking).await);
    all.push(generic_plan(&bench, write::WRITE, 43).await);
    insta::assert_snapshot!(all.join("\n\n"));
}

#[tokio::test]
async fn the_usual_report_reads_no_table_either() {
    let bench = full().await;
    insta::assert_snapshot!(generic_plan(&bench, write::WRITE_AT_ONCE, 46).await);
}

/// As in every transaction: planned for parameters whatever they hold.
async fn generic_plan(bench: &Bench, sql: &str, parameters: usize) -> String {
    let mut conn = bench.store.pool().acquire().await.unwrap();
    sqlx::raw_sql("set plan_cache_mode = force_generic_plan")
        .execute(&mut *conn)
        .await
        .unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("prepare writing as {sql}")))
        .execute(&mut *conn)
        .await
        .unwrap();
    let nulls = vec!["null"; parameters].join(", ");
    let lines: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
        "explain (costs off) execute writing({nulls})"
    )))
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    bare(&lines)
}
