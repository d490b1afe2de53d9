//! SIGKILL to the worker in each task of the nightly retrain.
//!
//! The lease of what was killed is ended by hand, as if its 30 seconds had passed: `everything` and `frozen` wait for real ones.
//! Tasks that only write into the registry are too quick to be met by chance: a lock on the table they write keeps them there.

use std::time::Duration;

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tidegate_engine::clock;
use tidegate_engine::id::RunId;
use tidegate_engine::view::Run;
use tidegate_test_fixtures::postgres::database;

use super::{epochs, wait_until_gone};
use crate::house::{House, SOON, alive, tidegate};
use crate::lake;

/// A task of the retrain, of two cores beside a compiler.
const LONG: Duration = Duration::from_secs(90);

#[tokio::test]
async fn killed_in_each_task_once_the_retrain_ends_as_if_nothing_had_happened() {
    let database = database().await;
    let tidegate = tidegate();
    let lake = lake::on_disk(tidegate.home()).await;
    let tidegate = tidegate.env("TIDEGATE_VAR_EVENTS", lake);
    let mut house = House::on(&database.url, tidegate).await;
    house.must(&["apply", lake::PLAYBOOK]);
    house.start_worker();
    let run = house.start("train-ranking-model", json!({})).await;

    for task in ["pull", "features", "train", "evaluate"] {
        at_work(&house, run, task).await;
        kill_and_start_again(&mut house, run).await;
    }
    for (task, table) in [("log", "model_version"), ("staging", "model_alias")] {
        let kept = Kept::at(&database.url, table).await;
        kept.met(&house, (run, task), table).await;
        house.kill_workers();
        kept.let_go().await;
        kill_and_start_again(&mut house, run).await;
    }
    house.reaches(run, "waiting", LONG).await;
    house.become_approver("anna");
    let kept = Kept::at(&database.url, "alias_move").await;
    house.must(&["approve", &run.to_string()]);
    kept.met(&house, (run, "production"), "alias_move").await;
    house.kill_workers();
    kept.let_go().await;
    kill_and_start_again(&mut house, run).await;

    let ended = house.reaches(run, "succeeded", LONG).await;
    let twice = ["pull", "features", "train", "evaluate", "log", "staging"];
    let epochs = epochs(&ended);
    let (last, others) = epochs.split_last().unwrap();
    assert_eq!(others, twice.map(|task| (task, 2)));
    // Once to ask, once killed, once to the end.
    assert_eq!(*last, ("production", 3));
    assert_once(&house, run).await;
    house.audit().await;
}

/// One version, and each alias moved to it once.
async fn assert_once(house: &House, run: RunId) {
    let models = house.store.models().await.unwrap();
    let counted: Vec<(&str, i64)> = models
        .iter()
        .map(|model| (model.name.as_str(), model.versions))
        .collect();
    assert_eq!(counted, [("ranking_model", 1)]);
    let mut moves = house.store.alias_moves("ranking_model").await.unwrap();
    moves.sort_by(|a, b| a.alias.cmp(&b.alias));
    let moved: Vec<_> = moves
        .iter()
        .map(|step| (step.alias.as_str(), step.before, step.version, step.run))
        .collect();
    assert_eq!(
        moved,
        [
            ("production", None, 1, Some(run.0)),
            ("staging", None, 1, Some(run.0))
        ]
    );
}

/// The task run's attempt runs, and has a process.
async fn at_work(house: &House, run: RunId, name: &str) {
    let runs = |run: &Run| run.tasks.iter().any(|t| t.name == name && t.state == "running");
    house.until(run, runs, LONG).await;
    let began = clock::monotonic();
    while alive(run).is_empty() {
        assert!(
            began.elapsed() < SOON,
            "{name} has no process\n{}",
            house.output()
        );
        clock::sleep(Duration::from_millis(10)).await;
    }
}

async fn kill_and_start_again(house: &mut House, run: RunId) {
    house.kill_workers();
    let orphans = alive(run);
    let past = "update lease set until = clock_timestamp() - interval '1 second'";
    sqlx::query(past).execute(house.store.pool()).await.unwrap();
    house.start_worker();
    wait_until_gone(&orphans);
}

/// Whoever writes into a table waits.
struct Kept(PgConnection);

impl Kept {
    async fn at(url: &str, table: &str) -> Self {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let lock = format!("begin; lock table {table} in exclusive mode");
        connection.execute(AssertSqlSafe(lock)).await.unwrap();
        Self(connection)
    }

    /// Waits until the task writes.
    async fn met(&self, house: &House, (run, name): (RunId, &str), table: &str) {
        let runs = |run: &Run| run.tasks.iter().any(|t| t.name == name && t.state == "running");
        house.until(run, runs, LONG).await;
        let began = clock::monotonic();
        let waits = "select count(*) from pg_locks where not granted and relation = $1::text::regclass";
        loop {
            let asked = sqlx::query_scalar::<_, i64>(waits).bind(table);
            if asked.fetch_one(house.store.pool()).await.unwrap() > 0 {
                return;
            }
            assert!(
                began.elapsed() < SOON,
                "{name} does not write\n{}",
                house.output()
            );
            clock::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn let_go(mut self) {
        self.0.execute("rollback").await.unwrap();
        self.0.close().await.unwrap();
    }
}
