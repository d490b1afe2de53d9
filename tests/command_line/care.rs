//! Looking after an installation, trying another rule on what was measured, making up for what was not run.

use tidegate_test_fixtures::postgres::{Cluster, Durability};
use tidegate_test_fixtures::wait;

use super::{SOON, alone, flow, json, refused, serve, served, shell, table};

#[tokio::test]
async fn a_doctor_finds_what_is_wrong_and_says_what_to_do() {
    let cluster = Cluster::start_with(Durability::Synced);
    let tidegate = serve(alone().env("DATABASE_URL", cluster.url("postgres")));
    let well = tidegate.run(&["doctor", "--audit"]);
    assert_eq!(well.code(), 0, "{well:?}");
    for words in [
        "configuration",
        "clock",
        "1 alive",
        "everything that must hold holds",
    ] {
        assert!(well.stdout.contains(words), "{words}: {well:?}");
    }
    let heavy = "[tasks.heavy]\nuses = \"command\"\nqueue = \"gpu\"\nwith = { argv = [\"true\"] }\n";
    let id = tidegate.start(&[&flow(&tidegate, "heavy", heavy)]);
    let ill = tidegate.run(&["doctor"]);
    assert_eq!(ill.code(), 1, "{ill:?}");
    assert!(
        ill.stdout.contains("queue gpu") && ill.stdout.contains("tidegate worker --queue gpu"),
        "{ill:?}"
    );
    let checks = json_of(&tidegate.run(&["doctor", "-o", "json"]).stdout);
    let bad = checks["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["state"] == "bad");
    assert_eq!(bad.count(), 1);
    tidegate.run(&["cancel", &id]);
    let alone = alone().run(&["doctor"]);
    assert_eq!(alone.code(), 1, "{alone:?}");
    assert!(alone.stdout.contains("there is no database"), "{alone:?}");
}

fn json_of(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn the_database_tells_its_size_and_is_migrated_by_hand() {
    let database = tidegate_test_fixtures::postgres::database().await;
    let tidegate = alone().env("DATABASE_URL", &database.url);
    refused(
        &tidegate.run(&["db", "status"]),
        5,
        &["not set up", "tidegate db migrate"],
    );
    let ran = tidegate.run(&["db", "migrate"]);
    assert!(ran.code() == 0 && ran.stdout.contains("ran"), "{ran:?}");
    assert_eq!(
        tidegate.run(&["db", "migrate"]).stdout,
        "the schema is up to date\n"
    );
    table(
        &tidegate.run(&["db", "status"]),
        &["TABLE", "event", "migrations ran"],
    );
    let pruned = tidegate.run(&["db", "prune", "--keep", "1d"]);
    assert!(pruned.stdout.contains("0 partitions dropped"), "{pruned:?}");
    let kept: serde_json::Value = json_of(&tidegate.run(&["ledger", "export"]).stdout);
    assert_eq!(kept["kind"], "db_pruned");
    assert_eq!(kept["body"], serde_json::json!({ "keep": "1d", "dropped": 0 }));
    assert!(kept["actor"].as_str().unwrap().starts_with("os:"), "{kept}");
    refused(&tidegate.run(&["db", "prune", "--keep", "soon"]), 2, &["soon"]);
}

#[tokio::test]
async fn a_gate_is_tried_with_another_rule_on_what_past_runs_measured() {
    let tidegate = served().await;
    let measure = "[tasks.measure]\nuses = \"command\"\nwith = { shell = \"echo '{\\\"v\\\": 1, \\\"outputs\\\": {\\\"q\\\": 0.35}}' > \\\"$TIDEGATE_OUTPUT\\\"\", outputs = { q = \"number\" } }\n\n";
    let tasks = format!(
        "{measure}{}[[tasks.release.gate.rule]]\nmetric = \"{{{{ tasks.measure.q }}}}\"\nabove = 0.3\n",
        shell("release", "true")
    );
    let file = flow(&tidegate, "gated", &tasks);
    let mut run = tidegate.spawn(&["run", &file, "--watch"]);
    assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.output());
    let stricter = json(&tidegate.run(&[
        "gate",
        "test",
        "gated/release",
        "--set",
        "above=0.36",
        "-o",
        "json",
    ]));
    let trial = &stricter["items"][0];
    assert_eq!(
        (trial["was"].as_str(), trial["would"].as_str()),
        (Some("opens"), Some("rejected"))
    );
    table(
        &tidegate.run(&["gate", "test", "gated/release", "--set", "borderline=0.1"]),
        &["opens", "asks", "1 would have come to something else"],
    );
    refused(
        &tidegate.run(&["gate", "test", "gated/relaese", "--set", "above=1"]),
        6,
        &["did you mean `release`?"],
    );
    refused(
        &tidegate.run(&["gate", "test", "gated/release", "--set", "abov=1"]),
        2,
        &["above=0.36"],
    );
}

#[tokio::test]
async fn ticks_to_come_are_left_to_their_schedule() {
    let tidegate = served().await;
    let tasks = format!("[[schedule]]\ncron = \"0 2 * * *\"\n\n{}", shell("t", "true"));
    let file = flow(&tidegate, "nightly", &tasks);
    assert_eq!(tidegate.run(&["apply", &file]).code(), 0);
    let far = [
        "backfill",
        "nightly",
        "--from",
        "2100-01-01",
        "--to",
        "2100-02-01",
    ];
    refused(&tidegate.run(&far), 2, &["yet to come"]);
}

#[tokio::test]
async fn past_ticks_are_made_up_for_once() {
    let tidegate = served().await;
    let tasks = format!("[[schedule]]\ncron = \"0 2 * * *\"\n\n{}", shell("t", "true"));
    let file = flow(&tidegate, "nightly", &tasks);
    assert_eq!(tidegate.run(&["apply", &file]).code(), 0);
    let words = [
        "backfill",
        "nightly",
        "--from",
        "2026-01-01",
        "--to",
        "2026-01-03",
    ];
    let dry = tidegate.run(&[&words[..], &["--dry-run"]].concat());
    table(
        &dry,
        &[
            "2026-01-01T02:00:00Z",
            "2026-01-03T02:00:00Z",
            "3 runs would be made",
        ],
    );
    for _ in 0..2 {
        let made = json(&tidegate.run(&[&words[..], &["--max-active", "2", "-o", "json"]].concat()));
        assert_eq!(made["items"].as_array().unwrap().len(), 3);
        assert!(
            made["items"]
                .as_array()
                .unwrap()
                .iter()
                .all(|tick| tick["made_by"] == "backfill")
        );
    }
    let runs = json(&tidegate.run(&["runs", "--flow", "nightly", "-o", "json"]));
    assert_eq!(runs["items"].as_array().unwrap().len(), 3);
    refused(
        &tidegate.run(&[
            "backfill",
            "nihgtly",
            "--from",
            "2026-01-01",
            "--to",
            "2026-01-02",
        ]),
        6,
        &["did you mean `nightly`?"],
    );
    refused(
        &tidegate.run(&["backfill", "nightly", "--from", "soon", "--to", "2026-01-02"]),
        2,
        &["soon", "2026-11-24"],
    );
    refused(
        &tidegate.run(&[
            "backfill",
            "nightly",
            "--from",
            "2026-01-03",
            "--to",
            "2026-01-02",
        ]),
        2,
        &["--from"],
    );
}

#[tokio::test]
async fn a_flow_follows_another() {
    let tidegate = served().await;
    tidegate.apply("after-hello");
    let lonely = tidegate.run(&["doctor"]);
    assert!(
        lonely.stdout.contains("it follows `hello`, which is no flow"),
        "{lonely:?}"
    );
    tidegate.apply("hello");
    let mut run = tidegate.spawn(&["run", "hello", "--watch"]);
    assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.output());
    let followed = wait::until("the run that follows", SOON, || {
        let runs = json(&tidegate.run(&["runs", "--flow", "after-hello", "-o", "json"]));
        runs["items"].as_array().unwrap().first().cloned()
    });
    assert_eq!(followed["trigger"], "flow");
}

#[tokio::test]
async fn a_freeze_is_made_listed_and_ended_and_an_emergency_needs_a_second_person() {
    let tidegate = served().await;
    tidegate.apply("hello");
    let add = [
        "freeze",
        "add",
        "--until",
        "3d",
        "--flow",
        "hello",
        "--reason",
        "month end",
    ];
    let made = tidegate.run(&add);
    assert!(made.code() == 0 && made.stdout.contains("month end"), "{made:?}");
    refused(&tidegate.run(&["run", "hello"]), 6, &["month end", "--emergency"]);
    table(&tidegate.run(&["freeze", "list"]), &["hello", "month end"]);
    let id = json(&tidegate.run(&[
        "run",
        "hello",
        "--emergency",
        "--reason",
        "wrong prices",
        "-o",
        "json",
    ]));
    let id = id["id"].as_str().unwrap().to_owned();
    let why = tidegate.run(&["why", &id]);
    assert!(why.stdout.contains("waits for a second person"), "{why:?}");
    refused(&tidegate.run(&["approve", &id]), 6, &["no person"]);
    assert_eq!(tidegate.run(&["reject", &id]).code(), 0);
    let freezes = json(&tidegate.run(&["freeze", "list", "-o", "json"]));
    let freeze = freezes["items"][0]["id"].as_str().unwrap();
    assert_eq!(tidegate.run(&["freeze", "end", freeze]).code(), 0);
    assert_eq!(tidegate.run(&["freeze", "list"]).stdout, "nothing is frozen\n");
    let ledger = tidegate.run(&["ledger", "export"]).stdout;
    for kind in ["freeze_added", "freeze_ended", "emergency_declared"] {
        assert!(ledger.contains(kind), "{kind}: {ledger}");
    }
    refused(
        &tidegate.run(&["freeze", "add", "--until", "soon", "--reason", "x"]),
        2,
        &["soon"],
    );
    refused(&tidegate.run(&["run", "hello", "--emergency"]), 2, &["--reason"]);
}

#[tokio::test]
async fn what_postgresql_says_is_told_once_and_without_its_own_lines() {
    let database = tidegate_test_fixtures::postgres::database().await;
    let (_, place) = database.url.split_once("://").unwrap();
    let place = place.split_once('@').map_or(place, |(_, place)| place);
    let tidegate = alone().env("DATABASE_URL", format!("postgres://nobody@{place}"));
    let refusal = tidegate.run(&["runs"]);
    assert_eq!(refusal.code(), 5, "{refusal:?}");
    assert_eq!(refusal.stderr.matches("nobody").count(), 1, "{refusal:?}");
    assert!(!refusal.stderr.contains("at line"), "{refusal:?}");
}
