//! Against a PostgreSQL of the tests.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::postgres::PgPool;
use tidegate_engine::clock;
use tidegate_engine::plugin::TaskError;
use tidegate_test_fixtures::postgres::{self, Database};

use crate::testing::Bench;

struct Site {
    database: Database,
    pool: PgPool,
}

impl Site {
    async fn new() -> Self {
        let database = postgres::database().await;
        let pool = PgPool::connect(&database.url).await.unwrap();
        let site = Self { database, pool };
        site.sql("create table item (id bigint primary key, name text, day date, price numeric, tags jsonb)")
            .await;
        site.sql(
            "insert into item values (1, 'a,\"b\"', '2026-01-02', 1.50, '[1]'), (2, null, null, null, null)",
        )
        .await;
        site
    }

    async fn sql(&self, sql: &'static str) {
        sqlx::query(sql).execute(&self.pool).await.unwrap();
    }

    async fn count(&self) -> i64 {
        sqlx::query_scalar("select count(*) from item")
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    async fn run(&self, mut with: Value) -> Result<Value, TaskError> {
        with["url"] = json!(self.database.url);
        Bench::new().run("sql", with).await
    }
}

#[tokio::test]
async fn rows_are_handed_on_by_column_with_bound_values() {
    let site = Site::new().await;
    let with = json!({"query": "select * from item where id = $1 and name <> $2 and day = $3::date;",
        "params": [1, "'; drop table item --", "2026-01-02"]});
    let done = site.run(with).await.unwrap();
    let row = json!({"id": 1, "name": "a,\"b\"", "day": "2026-01-02", "price": 1.5, "tags": [1]});
    assert_eq!(
        done,
        json!({"rows": [row], "count": 1, "affected": [], "file": null})
    );
}

#[tokio::test]
async fn it_only_reads_unless_it_is_told_to_write() {
    let site = Site::new().await;
    let delete = json!(["delete from item"]);
    for statements in [
        delete.clone(),
        json!(["set transaction read write", "delete from item"]),
    ] {
        let error = site.run(json!({"statements": statements})).await.unwrap_err();
        assert!(
            matches!(&error, TaskError::Fail { message } if message.contains("read")),
            "{error}"
        );
    }
    assert_eq!(site.count().await, 2);
    let insert = json!({"sql": "insert into item (id, name) values ($1, $2)", "params": [3, "c"]});
    let with = json!({"write": true, "statements": [insert, "delete from item where id = 1"], "query": "select count(*) n from item"});
    let done = site.run(with).await.unwrap();
    assert_eq!(
        (&done["affected"], &done["rows"]),
        (&json!([1, 1]), &json!([{"n": 2}]))
    );
}

#[tokio::test]
async fn all_of_it_is_one_transaction() {
    let site = Site::new().await;
    let with = json!({"write": true, "statements": ["delete from item", "select 1/0"]});
    let error = site.run(with).await.unwrap_err();
    assert!(
        error.to_string().contains("statement 2: division by zero"),
        "{error}"
    );
    assert_eq!(site.count().await, 2);
}

#[tokio::test]
async fn more_rows_than_the_cap_fail_the_task_and_a_file_takes_them() {
    let site = Site::new().await;
    let query = "select n, repeat('x', 10) as text from generate_series(1, 3000) n";
    let error = site.run(json!({"query": query})).await.unwrap_err();
    assert!(
        error.to_string().contains("more than 1000 rows (`max_rows`)"),
        "{error}"
    );
    let large = json!({"query": "select repeat('x', 1000) from generate_series(1, 1000)"});
    let error = site.run(large).await.unwrap_err();
    assert!(error.to_string().contains("to = \"csv\""), "{error}");
    let bench = Bench::new();
    let with = json!({"url": site.database.url, "query": "select id, name, tags from item order by id", "to": "csv"});
    let done = bench.run("sql", with).await.unwrap();
    let path = bench.ctx.folders.artifacts.join("rows.csv");
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text, "id,name,tags\r\n1,\"a,\"\"b\"\"\",[1]\r\n2,,\r\n");
    assert_eq!(
        (&done["count"], &done["file"]["size"]),
        (&json!(2), &json!(text.len()))
    );
}

#[tokio::test]
async fn what_may_help_later_is_tried_again() {
    let site = Site::new().await;
    let slow = site
        .run(json!({"query": "select pg_sleep(10)", "timeout": "100ms"}))
        .await
        .unwrap_err();
    assert!(
        matches!(&slow, TaskError::Retry { message } if message.contains("57014")),
        "{slow}"
    );
    let wrong = site.run(json!({"query": "select nothing"})).await.unwrap_err();
    assert!(
        matches!(&wrong, TaskError::Fail { message } if message.contains("\"nothing\" does not exist")),
        "{wrong}"
    );
    let with = json!({"url": "postgres://who:hush@127.0.0.1:1/x", "query": "select 1"});
    let nobody = Bench::new().run("sql", with).await.unwrap_err();
    assert!(
        matches!(&nobody, TaskError::Retry { message } if !message.contains("hush")),
        "{nobody}"
    );
}

#[tokio::test]
async fn a_cancelled_statement_ends_on_the_server_too() {
    let site = Site::new().await;
    let bench = Bench::new();
    let with = json!({"url": site.database.url, "query": "select pg_sleep(600)"});
    let running = async || -> i64 {
        let sql = "select count(*) from pg_stat_activity where datname = current_database() and query like 'select row_to_json%'
                     and state = 'active'";
        sqlx::query_scalar(sql).fetch_one(&site.pool).await.unwrap()
    };
    let cancel = async {
        while running().await == 0 {
            clock::sleep(Duration::from_millis(20)).await;
        }
        bench.cancel.cancel();
    };
    let (done, ()) = tokio::join!(bench.run("sql", with), cancel);
    assert_eq!(done, Err(TaskError::Cancelled));
    for _ in 0..100 {
        if running().await == 0 {
            return;
        }
        clock::sleep(Duration::from_millis(50)).await;
    }
    panic!("the statement still runs");
}
