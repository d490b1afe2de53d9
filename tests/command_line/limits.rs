//! Queues, priorities, pools, and being told what a run waits for.

use std::time::Duration;

use tidegate_test_fixtures::postgres::database;

use super::{SOON, alone, example, flow, json, refused, served, shell, table};

#[tokio::test]
async fn a_pool_is_made_before_a_flow_may_name_it_and_its_slots_are_taken_in_turn() {
    let tidegate = served().await;
    let file = example("take-turns");
    let file = file.to_str().unwrap();
    refused(
        &tidegate.run(&["apply", file]),
        2,
        &["pool `desk`", "tidegate pool set desk 1"],
    );
    assert!(
        tidegate
            .run(&["pool", "list"])
            .stdout
            .contains("there are no pools")
    );
    assert_eq!(
        tidegate.run(&["pool", "set", "desk", "1"]).stdout,
        "pool desk has 1 slot\n"
    );
    let set = json(&tidegate.run(&["pool", "set", "spare", "2", "-o", "json"]));
    assert_eq!(set["items"][1]["size"], 2, "{set}");
    let removed = json(&tidegate.run(&["pool", "rm", "spare", "-o", "json"]));
    assert_eq!(removed["items"].as_array().unwrap().len(), 1, "{removed}");
    let done = tidegate.run(&["run", file, "--watch"]);
    assert_eq!(done.code(), 0, "{done:?}");
    table(&tidegate.run(&["pool", "list"]), &["desk", "HELD"]);
    refused(
        &tidegate.run(&["pool", "rm", "desk"]),
        6,
        &["take-turns", "pool set desk 0"],
    );
    refused(
        &tidegate.run(&["pool", "rm", "dsek"]),
        6,
        &["did you mean `desk`?"],
    );
    refused(
        &tidegate.run(&["pool", "set", "no good", "1"]),
        2,
        &["no name of a pool"],
    );
    let entries = tidegate.run(&["ledger", "export"]);
    assert!(entries.stdout.contains("pool_set"), "{entries:?}");
}

#[tokio::test]
async fn why_says_what_each_task_waits_for() {
    let tidegate = served().await;
    let tasks = [
        &*shell("long", "sleep 60"),
        "[tasks.heavy]\nuses = \"command\"\nqueue = \"gpu\"\nwith = { argv = [\"true\"] }\n\n",
        "[tasks.last]\nuses = \"approval\"\nneeds = [\"long\", \"heavy\"]\n[tasks.last.gate.approval]\n",
    ];
    let file = flow(&tidegate, "stuck", &tasks.concat());
    let id = tidegate.start(&[&file]);
    let mut watching = tidegate.spawn(&["show", &id, "--watch"]);
    watching.wait_for_line("long  running", SOON);
    let why = tidegate.run(&["why", &id]);
    for words in [
        "it runs on",
        "no live worker serves queue `gpu`",
        "it needs long (running), heavy (ready)",
    ] {
        assert!(why.stdout.contains(words), "{words}: {why:?}");
    }
    let shown = tidegate.run(&["show", &id]);
    assert!(shown.stdout.contains("tidegate worker --queue gpu"), "{shown:?}");
    let second = tidegate.start(&[&file]);
    let why = tidegate.run(&["why", &second]);
    assert!(why.stdout.contains("max_active"), "{why:?}");
    let one = json(&tidegate.run(&["why", &id, "heavy", "-o", "json"]));
    assert_eq!(one["tasks"][0]["waits_for"], "queue");
    refused(
        &tidegate.run(&["why", &id, "hevy"]),
        6,
        &["did you mean `heavy`?"],
    );
    for run in [&id, &second] {
        tidegate.run(&["cancel", run]);
    }
}

#[tokio::test]
async fn a_worker_serves_the_queues_it_is_told() {
    let database = database().await;
    let tidegate = alone().env("DATABASE_URL", &database.url);
    let mut server = tidegate.spawn(&["server", "--bind", "127.0.0.1:0"]);
    server.wait_for_line("server is up", SOON);
    let mut worker = tidegate.spawn(&["worker", "--queue", "gpu", "--queue", "big", "--slots", "1"]);
    worker.wait_for_line("worker is up", SOON);
    let heavy = "[tasks.heavy]\nuses = \"command\"\nqueue = \"gpu\"\nwith = { argv = [\"true\"] }\n";
    let file = flow(&tidegate, "heavy", heavy);
    let done = tidegate.run_within(Duration::from_secs(30), &["run", &file, "--watch"]);
    assert_eq!(done.code(), 0, "{done:?}");
    refused(&tidegate.run(&["worker", "--queue", "a b"]), 2, &["--queue"]);
}

#[tokio::test]
async fn what_was_made_of_the_same_inputs_is_taken_and_its_run_is_named() {
    let tidegate = served().await;
    tidegate.apply("cached");
    let run = |words: &[&str]| {
        let done = tidegate.run(&[&["run", "cached", "--watch", "-o", "json"], words].concat());
        let run = json(&done);
        let make = run["tasks"][0].clone();
        (
            run["id"].clone(),
            make["reason"].clone(),
            make["cached_from"].clone(),
        )
    };
    let (first, reason, from) = run(&[]);
    assert!(reason.is_null() && from.is_null());
    let (_, reason, from) = run(&[]);
    assert_eq!((reason.as_str(), &from), (Some("cached"), &first));
    let shown = tidegate.run(&["show", "last"]);
    assert!(
        shown.stdout.contains("succeeded (cached)") && shown.stdout.contains("made by run"),
        "{shown:?}"
    );
    assert!(run(&["--no-cache"]).1.is_null());
    assert!(run(&["-p", "size=4"]).1.is_null());
    assert_eq!(run(&[]).1, "cached");
    let audited = tidegate.run(&["doctor", "--audit"]);
    assert!(
        audited.stdout.contains("everything that must hold holds"),
        "{audited:?}"
    );
}
