//! PostgreSQL stopped and killed in the middle of a run.

use std::time::Duration;

use serde_json::json;
use tidegate_engine::clock;
use tidegate_test_fixtures::postgres::Cluster;
use tidegate_test_fixtures::wait;

use super::{assert_notes, epochs, step, wait_for_note};
use crate::house::{House, SOON, tidegate};

/// Long enough for tasks to end and heartbeats to fail meanwhile, shorter than a lease.
const OUTAGE: Duration = Duration::from_secs(4);
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

fn wait_until_ready(house: &House) {
    let port = house.url.rsplit(':').next().unwrap().parse().unwrap();
    wait::until("a ready server", READY, || wait::http_ok(port, "/readyz"));
}
