//! PostgreSQL stopped and killed in the middle of a run, and behind somebody who is not it.

use std::time::Duration;

use serde_json::json;
use tidegate_engine::clock;
use tidegate_test_fixtures::postgres::Cluster;
use tidegate_test_fixtures::proxy::{Proxy, Upstream};
use tidegate_test_fixtures::wait;

use super::{assert_notes, epochs, step, wait_for_note};
use crate::house::{House, SOON, Visitor, tidegate};

/// Long enough for tasks to end and heartbeats to fail meanwhile, shorter than a lease.
const OUTAGE: Duration = Duration::from_secs(4);
/// Nobody waits longer for a word.
const ANSWERED: Duration = Duration::from_secs(15);
/// PostgreSQL back, a server is ready again.
const READY: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_run_does_not_notice_that_postgresql_was_restarted_twice() {
    let mut cluster = Cluster::start();
    let mut house = House::on(&cluster.url("postgres"), tidegate()).await;
    house.start_worker();
    let flow = step(&house, ("first", ""), "sleep 2")
        + &step(&house, ("second", "'first'"), "sleep 2")
        + &step(&house, ("third", "'second'"), "sleep 1");
    house.apply("steps", &flow);
    let run = house.start("steps", json!({})).await;

    wait_for_note(&house, "begin first");
    cluster.stop_immediately();
    clock::sleep(OUTAGE).await;
    cluster.start_again();
    wait_until_ready(&house);

    // The first ended while nobody could be told of it.
    wait_for_note(&house, "begin second");
    cluster.kill();
    clock::sleep(OUTAGE).await;
    cluster.start_again();
    wait_until_ready(&house);

    let ended = house.reaches(run, "succeeded", SOON).await;
    assert_eq!(
        epochs(&ended),
        [("first", 1), ("second", 1), ("third", 1)],
        "nothing was run again"
    );
    assert_notes(
        &house,
        &[
            ("begin first", 1),
            ("end first", 1),
            ("begin second", 1),
            ("end second", 1),
            ("begin third", 1),
            ("end third", 1),
        ],
    );
    house.audit().await;
}

/// Connections stand, and nothing comes: who asks is told so in time, and what runs goes on afterwards.
#[tokio::test]
async fn a_database_that_says_nothing_keeps_nobody_waiting() {
    let cluster = Cluster::start();
    let proxy = Proxy::start(Upstream::Socket(cluster.socket()));
    let url = format!(
        "postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable",
        proxy.port()
    );
    let mut house = House::on(&url, tidegate()).await;
    house.start_worker();
    house.apply("steps", &step(&house, ("only", ""), "sleep 2"));
    let operator = Visitor::sign_in(&house, "otto").await;
    let run = house.start("steps", json!({})).await;
    wait_for_note(&house, "begin only");

    proxy.stall();
    let began = clock::monotonic();
    let mut beside = house.tidegate.spawn(&["runs"]);
    let (status, problem) = operator.get("/api/v1/runs").await;
    assert_eq!(status, 503, "{problem}");
    assert!(
        problem["detail"].as_str().unwrap().contains("does not answer"),
        "{problem}"
    );
    let code = beside.wait(ANSWERED).code();
    assert_eq!(code, Some(5), "{}", beside.stderr());
    assert!(began.elapsed() < ANSWERED, "{:?}", began.elapsed());

    proxy.resume();
    wait_until_ready(&house);
    assert_eq!(operator.get("/api/v1/runs").await.0, 200);
    let ended = house.reaches(run, "succeeded", SOON).await;
    assert_eq!(epochs(&ended), [("only", 1)], "nothing was run again");
    house.audit().await;
}

/// Sessions are not ours there: settings, locks, `LISTEN`, prepared statements would be somebody else's a moment later.
#[test]
fn a_pooler_in_transaction_mode_is_refused_in_words() {
    let cluster = Cluster::start();
    for settings in ["", "ignore_startup_parameters = options"] {
        let (_pooler, port) = cluster.pooled(settings);
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable");
        for (verb, code) in [("server", 5), ("worker", 5), ("runs", 5), ("doctor", 1)] {
            let ended = tidegate().env("DATABASE_URL", &url).run(&[verb]);
            assert_eq!(ended.code(), code, "{verb}, {settings}: {ended:?}");
            let said = ended.stdout.clone() + &ended.stderr;
            for words in ["PgBouncer", "address of PostgreSQL itself"] {
                assert!(said.contains(words), "{verb}, {settings}: {ended:?}");
            }
        }
    }
}

fn wait_until_ready(house: &House) {
    let port = house.url.rsplit(':').next().unwrap().parse().unwrap();
    wait::until("a ready server", READY, || wait::http_ok(port, "/readyz"));
}
