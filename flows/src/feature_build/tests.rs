#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_engine::plugin::TaskError;

use super::folds::{Folds, Named};
use super::testing::{SQL, events, features, world};
use super::{report, summarise};
use crate::dataset::Dataset;
use crate::testing::Bench;

fn dataset(value: &Value) -> Dataset {
    serde_json::from_value(value.clone()).unwrap()
}

/// The message with which a statement over the world's events fails.
async fn refusal(sql: &str, params: Value) -> String {
    let bench = Bench::new();
    let events = events(bench.root.path(), &world(1)[..200]);
    let with = json!({"events": events, "sql": sql, "params": params});
    match bench.run("feature_build", with).await {
        Err(TaskError::Fail { message }) => message,
        other => panic!("{sql}: {other:?}"),
    }
}

#[tokio::test]
async fn the_folds_are_what_the_protocols_say() {
    let rows = world(1);
    let (bench, output) = features(&rows, 20).await;
    assert_eq!(output["rows"], json!(rows.len()));
    assert_eq!(output["users"], json!(150));
    assert_eq!(output["leakage"], json!({"overlap": 0, "features_after": 0}));
    assert_eq!(output["null_rates"]["value"], json!(0.0));
    let folds = Folds::read(&dataset(&output["holdout"])).unwrap();
    let temporal = folds.split(Named::TemporalFull);
    let newest = temporal.train.last_ts().unwrap();
    assert!(newest < temporal.cut.unwrap() && temporal.test.rows().iter().all(|row| row.ts > newest));
    assert!((temporal.test.len() as f64 / rows.len() as f64 - 0.1).abs() < 0.005);
    let random = folds.split(Named::RandomUser20Full);
    let pair = |row: &tidegate_learn::data::Row| (row.user, row.item);
    let learnt: HashSet<_> = random.train.rows().iter().map(pair).collect();
    let held: HashSet<_> = random.test.rows().iter().map(pair).collect();
    assert!(learnt.is_disjoint(&held));
    let share = held.len() as f64 / (held.len() + learnt.len()) as f64;
    assert!((share - 0.2).abs() < 0.02, "{share}");
    assert_eq!(output["splits"]["random_user_20_full"]["n_users"], json!(150));
    let recorded: Vec<String> = bench
        .host
        .seen()
        .artifacts
        .iter()
        .map(|a| a.name.clone())
        .collect();
    assert_eq!(recorded, ["features", "holdout"]);
}

#[tokio::test]
async fn equal_events_in_another_order_give_an_equal_digest() {
    let mut rows = world(1);
    let (_first, one) = features(&rows, 20).await;
    rows.reverse();
    let (_second, two) = features(&rows, 20).await;
    assert_eq!(one["table"]["digest"], two["table"]["digest"]);
    assert_eq!(one["holdout"]["digest"], two["holdout"]["digest"]);
    let (_third, other) = features(&rows, 21).await;
    assert_ne!(one["table"]["digest"], other["table"]["digest"]);
}

#[tokio::test]
async fn a_mistake_in_the_sql_is_shown_at_its_place() {
    let message = refusal("SELECT user_id,\n       usr_id\nFROM events", json!({})).await;
    assert!(message.contains("line 2, column 8 of the SQL"), "{message}");
    assert!(
        message.contains("usr_id") && message.ends_with("       ^"),
        "{message}"
    );
    let message = refusal("SELECT user_id\nFORM events e x", json!({})).await;
    assert!(message.contains("line 2, column"), "{message}");
}

#[tokio::test]
async fn what_the_sql_must_not_do_or_lack_is_said() {
    let only_reads = refusal("CREATE TABLE x AS SELECT 1", json!({})).await;
    assert!(only_reads.contains("DDL not supported"), "{only_reads}");
    let no_ts = refusal("SELECT user_id, item_id, value FROM events", json!({})).await;
    assert!(no_ts.contains("no column `ts`"), "{no_ts}");
    let text = refusal(
        "SELECT event_type AS user_id, item_id, ts, value FROM events",
        json!({}),
    )
    .await;
    assert!(
        text.contains("`user_id` of the SQL's result is Utf8, not an integer"),
        "{text}"
    );
    let nulls = refusal("SELECT user_id, item_id, ts, value FROM events", json!({})).await;
    assert!(
        nulls.contains("`value` of the SQL's result holds nulls"),
        "{nulls}"
    );
    let unused = refusal(
        "SELECT user_id, item_id, ts, 1 AS value FROM events",
        json!({"days": 3}),
    )
    .await;
    assert!(unused.contains("does not use the parameter `$days`"), "{unused}");
    let unbound = refusal("SELECT user_id, item_id, ts, $w AS value FROM events", json!({})).await;
    assert!(unbound.contains("$w"), "{unbound}");
}

#[tokio::test]
async fn a_parameter_is_a_value_whatever_it_looks_like() {
    let sql = "SELECT user_id, item_id, ts, 1 AS value FROM events WHERE event_type = $kind";
    let message = refusal(sql, json!({"kind": "view' OR '1'='1"})).await;
    assert_eq!(message, "the SQL yields no row");
}

#[tokio::test]
async fn features_from_the_future_fail_the_task() {
    let sql = "SELECT user_id, item_id, ts, 1 AS value, max(ts) OVER (PARTITION BY user_id) AS features_as_of FROM events";
    let message = refusal(sql, json!({})).await;
    assert!(message.contains("know the future"), "{message}");
}

#[tokio::test]
async fn a_training_row_that_tells_of_a_held_out_one_is_counted() {
    let (_bench, output) = features(&world(1), 20).await;
    let holdout = dataset(&output["holdout"]);
    assert!(report(&holdout).await.is_ok());
    let mut folds = Folds::read(&holdout).unwrap();
    let late = folds.held[0].iter().position(|held| *held).unwrap();
    folds.held[0][late] = false;
    assert_eq!(summarise(&folds, &holdout).leakage.overlap, 1);
}

#[tokio::test]
async fn slices_and_further_tables_come_along() {
    let bench = Bench::new();
    let events = events(bench.root.path(), &world(1));
    let sql = "SELECT e.user_id, e.item_id, e.ts, 1 AS value, \
               CASE WHEN e.user_id % 2 = 0 THEN 'even' ELSE 'odd' END AS parity, p.event_id AS other \
               FROM events e LEFT JOIN people p ON p.event_id = e.event_id AND p.event_type = 'view'";
    let with = json!({"events": events, "inputs": {"people": events.uri}, "sql": sql, "slices": ["parity"]});
    let output = bench.run("feature_build", with).await.unwrap();
    let nulls = output["null_rates"]["other"].as_f64().unwrap();
    assert!((0.6..0.73).contains(&nulls), "{nulls}");
    let folds = Folds::read(&dataset(&output["holdout"])).unwrap();
    assert_eq!(folds.cohorts["parity"][&3], "odd");
    assert!(Folds::read(&dataset(&output["table"])).is_ok());
}

#[tokio::test]
async fn the_sql_may_lie_in_a_file_of_the_flow() {
    let bench = Bench::new();
    let events = events(bench.root.path(), &world(1));
    let with = json!({"events": events, "sql_file": "sql/f.sql", "params": {"complete_weight": 3}});
    let missing = bench
        .run("feature_build", with.clone())
        .await
        .unwrap_err()
        .to_string();
    assert!(missing.contains("sql/f.sql"), "{missing}");
    std::fs::create_dir(bench.ctx.folders.work.join("sql")).unwrap();
    std::fs::write(bench.ctx.folders.work.join("sql/f.sql"), SQL).unwrap();
    assert!(bench.run("feature_build", with).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_never_ends_is_cancelled() {
    let bench = Bench::new();
    let events = events(bench.root.path(), &world(1));
    let sql = "SELECT a.user_id, a.item_id, a.ts, count(*) AS value FROM events a, events b, events c GROUP BY 1, 2, 3";
    let with = json!({"events": events, "sql": sql});
    let cancel = bench.cancel.clone();
    let progressed = bench.host.clone();
    let stop = tokio::spawn(async move {
        while progressed.seen().emissions.is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    let ended = tokio::time::timeout(Duration::from_secs(5), bench.run("feature_build", with)).await;
    stop.abort();
    assert_eq!(ended.expect("ends when told"), Err(TaskError::Cancelled));
}
