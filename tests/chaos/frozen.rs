//! A worker that is frozen past its leases and wakes up again.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tidegate_engine::clock;
use tidegate_engine::id::RunId;
use tidegate_test_fixtures::postgres::database;
use tidegate_test_fixtures::wait;

use super::{assert_notes, epochs, hangs_once, step, wait_until_gone, wait_until_it_hangs};
use crate::house::{House, RECOVERED, SOON, alive, task, tidegate};

/// Says which attempt it was: the first takes so long that its worker is frozen before, and answers while it is.
const LATE: &str = r#"
[tasks.late]
uses = "command"
with = { shell = '''
if [ "${TIDEGATE_ATTEMPT##*:}" = 1 ]; then sleep 8; fi
printf '{"v":1,"outputs":{"epoch":%s}}' "${TIDEGATE_ATTEMPT##*:}" > "$TIDEGATE_OUTPUT"
''', outputs = { epoch = "integer" } }

"#;

#[tokio::test]
async fn what_a_frozen_worker_reports_after_its_lease_changes_nothing_and_its_children_are_dead() {
    let database = database().await;
    let mut house = House::on(&database.url, tidegate()).await;
    house.start_worker();
    let hangs = hangs_once(&house, "long");
    let flow = LATE.to_owned() + &step(&house, ("long", ""), &hangs);
    house.apply("steps", &flow);
    let run = house.start("steps", json!({})).await;
    wait_until_it_hangs(&house, "long");
    wait::until("both tasks' processes", SOON, || {
        (alive(run).len() >= 4).then_some(())
    });
    let of_the_frozen = alive(run);
    house.worker().signal(Signal::STOP);

    // Another one takes both tasks over, once their leases ended.
    house.start_worker();
    let ended = house.reaches(run, "succeeded", RECOVERED).await;
    assert_eq!(epochs(&ended), [("late", 2), ("long", 2)]);
    assert_eq!(fresh(&house, run).await, 2, "the new attempt's output");

    house.worker().signal(Signal::CONT);
    both_are_heard_of(&house).await;
    wait_until_gone(&of_the_frozen);
    assert_eq!(fresh(&house, run).await, 2, "a late report changes nothing");
    let after = house.reaches(run, "succeeded", SOON).await;
    assert_eq!(after.tasks, ended.tasks);
    assert_notes(&house, &[("begin long", 2), ("end long", 1)]);

    // Awake, it works on.
    let again = house.start("steps", json!({})).await;
    house.reaches(again, "succeeded", RECOVERED).await;
    let status = house.worker().terminate(SOON);
    assert_eq!(status.code(), Some(0), "{}", house.output());
    house.audit().await;
}

/// The one that woke up has renewed what it holds, and so knows what it holds no longer.
async fn both_are_heard_of(house: &House) {
    let began = clock::monotonic();
    let woke = clock::now();
    loop {
        let workers = house.store.workers().await.unwrap();
        if workers.len() == 2 && workers.iter().all(|worker| worker.heartbeat_at > woke) {
            return;
        }
        assert!(began.elapsed() < SOON, "{workers:#?}\n{}", house.output());
        clock::sleep(Duration::from_millis(100)).await;
    }
}

async fn fresh(house: &House, run: RunId) -> i64 {
    let run = house.reaches(run, "succeeded", SOON).await;
    let outputs = task(&run, "late").outputs.clone().unwrap();
    outputs["epoch"].as_i64().unwrap()
}
