//! SIGKILL to server and worker together, in the middle of a task and while a person is waited for.

use serde_json::json;
use tidegate_test_fixtures::postgres::database;

use super::{assert_notes, epochs, hangs_once, step, wait_until_gone, wait_until_it_hangs};
use crate::house::{House, RECOVERED, SOON, alive, tidegate};

const GATE: &str = "[tasks.last.gate.approval]\nwhen = \"always\"\nby = [\"role:approver\"]\n";

#[tokio::test]
async fn killed_with_everything_a_run_goes_on_and_a_question_is_still_asked() {
    let database = database().await;
    let mut house = House::on(&database.url, tidegate()).await;
    house.start_worker();
    let hangs = hangs_once(&house, "second");
    let flow = step(&house, ("first", ""), "")
        + &step(&house, ("second", "'first'"), &hangs)
        + &step(&house, ("last", "'second'"), "")
        + GATE;
    house.apply("steps", &flow);
    let run = house.start("steps", json!({})).await;
    wait_until_it_hangs(&house, "second");

    house.kill_everything();
    let orphans = alive(run);
    house.start_server();
    house.start_worker();
    let waits = house.reaches(run, "waiting", RECOVERED).await;
    wait_until_gone(&orphans);
    assert_eq!(epochs(&waits)[..2], [("first", 1), ("second", 2)]);

    house.kill_everything();
    house.start_server();
    house.start_worker();
    house.become_approver("anna");
    house.must(&["approve", &run.to_string()]);
    house.reaches(run, "succeeded", SOON).await;
    assert_notes(
        &house,
        &[
            ("begin first", 1),
            ("end first", 1),
            ("begin second", 2),
            ("end second", 1),
            ("begin last", 1),
            ("end last", 1),
        ],
    );
    let votes = house.store.approval_of(run, "last").await.unwrap().unwrap().votes;
    assert_eq!(votes.len(), 1, "{votes:?}");
    house.audit().await;
}
