//! Server and worker that do without NOTIFY.

use std::time::Duration;

use sqlx::Connection;
use tidegate_test_fixtures::postgres::database;

use crate::house::{House, SOON, tidegate};

#[tokio::test]
async fn without_notify_work_is_found_by_looking() {
    let database = database().await;
    let tidegate = tidegate().env("TIDEGATE_DATABASE__NOTIFY", "false");
    let mut house = House::on(&database.url, tidegate).await;
    house.start_worker();
    let step = "uses = \"command\"\nwith = { argv = [\"true\"] }\n";
    house.apply(
        "steps",
        &format!("[tasks.a]\n{step}[tasks.b]\nneeds = [\"a\"]\n{step}"),
    );
    for _ in 0..3 {
        let run = house.start("steps", serde_json::json!({})).await;
        let ended = house.reaches(run, "succeeded", SOON).await.summary;
        let took = ended.finished_at.unwrap().duration_since(ended.created_at);
        // A look every second, give or take, and a machine that is busy.
        assert!(took.unsigned_abs() < Duration::from_secs(5), "{took:?}");
    }
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let listening = "select count(*) from pg_stat_activity where query ilike 'listen%'
        and datname = current_database() and pid <> pg_backend_pid()";
    let listening: i64 = sqlx::query_scalar(listening)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(listening, 0);
    house.audit().await;
}
