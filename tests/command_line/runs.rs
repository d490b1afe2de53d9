//! Applying, running, looking, stopping.

use std::time::Duration;

use rustix::process::Signal;
use tidegate_test_fixtures::postgres::database;
use tidegate_test_fixtures::wait;

use super::{SOON, alone, example, flow, json, refused, served, shell, table};

#[tokio::test]
async fn applying_says_what_changed_and_unchanged_files_change_nothing() {
    let tidegate = served().await;
    let a = flow(&tidegate, "a", &shell("t", "true"));
    let b = flow(&tidegate, "b", &shell("t", "true"));
    let changes = |words: &[&str]| {
        let applied = json(&tidegate.run(&[&["apply", "-o", "json"], words].concat()));
        let items = applied["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|item| format!("{} {}", item["flow"], item["change"]))
            .collect::<Vec<_>>()
    };
    assert_eq!(changes(&[&a, &b]), [r#""a" "created""#, r#""b" "created""#]);
    flow(&tidegate, "b", &shell("t", "false"));
    assert_eq!(changes(&[&a, &b]), [r#""a" "unchanged""#, r#""b" "changed""#]);
    assert_eq!(
        changes(&["--prune", &a]),
        [r#""a" "unchanged""#, r#""b" "removed""#]
    );
    let exported = tidegate.run(&["ledger", "export"]).stdout;
    let kept = exported.lines().map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(entry["actor"].as_str().unwrap().starts_with("os:"), "{entry}");
        let body = &entry["body"];
        format!("{} {} {}", entry["kind"], body["flow"], body["number"])
    });
    assert_eq!(
        kept.collect::<Vec<_>>(),
        [
            r#""flow_applied" "a" 1"#,
            r#""flow_applied" "b" 1"#,
            r#""flow_applied" "b" 2"#,
            r#""flow_removed" "b" null"#
        ]
    );
    refused(&tidegate.run(&["run", "b"]), 6, &["no flow `b`"]);
    std::fs::write(tidegate.home().join("c.toml"), "[flow]\nname = \"c\"\nx = 1\n").unwrap();
    let wrong = tidegate.run(&["apply", tidegate.home().join("c.toml").to_str().unwrap()]);
    refused(&wrong, 2, &["c.toml:3:1", "nothing was done"]);
}

#[tokio::test]
async fn a_run_is_watched_to_its_end_and_its_code_is_the_verbs() {
    let tidegate = served().await;
    tidegate.apply("hello");
    let done = tidegate.run(&["run", "hello", "-p", "who=tide", "--watch"]);
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(
        done.stdout.contains("✓ greet") && done.stderr.is_empty(),
        "{done:?}"
    );
    let logs = tidegate.run(&["logs", "last", "greet"]);
    assert!(logs.stdout.contains("hello tide, you have 5 letters"), "{logs:?}");
    let broken = flow(&tidegate, "broken", &shell("t", "echo no >&2; exit 3"));
    let failed = tidegate.run(&["run", &broken, "-w"]);
    assert_eq!(failed.code(), 1, "{failed:?}");
    assert!(
        failed.stdout.contains("✗ t") && failed.stdout.contains('3'),
        "why it failed: {failed:?}"
    );
}

#[tokio::test]
async fn rules_and_schedules_do_what_their_examples_say() {
    let tidegate = served().await;
    tidegate.apply("nightly");
    let counted = tidegate.run(&["run", "nightly", "-p", "days=3", "--watch"]);
    assert_eq!(counted.code(), 0, "{counted:?}");
    let said = tidegate.run(&["logs", "last", "say"]);
    assert!(said.stdout.contains("3000 rows (quick)"), "{said:?}");
    let due = tidegate.run(&["schedule", "list"]);
    table(&due, &["nightly", "first-monday"]);

    tidegate.apply("by-the-rules");
    let run = |quality: &str| tidegate.run(&["run", "by-the-rules", "-w", "-p", quality]);
    assert_eq!(run("quality=0.9").code(), 0);
    let rejected = run("quality=0.4");
    assert_eq!(rejected.code(), 3, "{rejected:?}");
    assert!(rejected.stdout.contains("0.4"), "by which rule: {rejected:?}");
    let waiting = tidegate.start(&["by-the-rules", "-p", "quality=0.505"]);
    wait::until("an approval", SOON, || {
        let asked = tidegate.run(&["approvals"]);
        asked.stdout.contains("by-the-rules").then_some(())
    });
    let another = tidegate.run(&["gate", "test", "by-the-rules/release", "--set", "above=0.3"]);
    assert_eq!(another.code(), 0, "{another:?}");
    assert_eq!(tidegate.run(&["cancel", &waiting]).code(), 0);
}

#[tokio::test]
async fn conditions_and_maps_do_what_their_examples_say() {
    let tidegate = served().await;
    tidegate.apply("conditions");
    let done = tidegate.run(&["run", "conditions", "--watch"]);
    assert_eq!(done.code(), 0, "{done:?}");
    for line in ["✓ quick", "– thorough", "✓ join", "✗ extra", "✓ tidy", "– alarm"] {
        assert!(done.stdout.contains(line), "{line}: {done:?}");
    }
    tidegate.apply("for-each");
    let done = tidegate.run(&["run", "for-each", "--watch"]);
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(done.stdout.contains("3 of 3 items ended"), "{done:?}");
    for (item, said) in [
        ("count[33]", "count[0] to count[2]"),
        ("sum[0]", "no items"),
        ("count[x]", "count[0]"),
    ] {
        refused(
            &tidegate.run(&["logs", "last", item]),
            6,
            &["there is no item", said],
        );
    }
    assert_eq!(tidegate.run(&["logs", "last", "count[2]"]).code(), 0);
    let logs = tidegate.run(&["logs", "last", "sum"]);
    assert!(logs.stdout.contains("12 letters in 3 words"), "{logs:?}");
    let again = tidegate.run(&[
        "retry",
        "last",
        "--from",
        "sum",
        "-p",
        "words=none of this",
        "--watch",
    ]);
    assert_eq!(again.code(), 0, "{again:?}");
    assert!(
        again.stdout.contains("count[2]") && again.stdout.contains("(carried)"),
        "{again:?}"
    );
    let again = tidegate.run(&["retry", "last", "-p", "words=a b", "--watch"]);
    assert_eq!(again.code(), 0, "{again:?}");
    assert!(again.stdout.contains("2 of 2 items ended"), "{again:?}");
    refused(&tidegate.run(&["retry", "last"]), 2, &["succeeded"]);
    refused(
        &tidegate.run(&["retry", "last", "--from", "cuont"]),
        6,
        &["did you mean `count`?"],
    );
}

#[tokio::test]
async fn the_end_of_one_item_leaves_the_programs_of_the_others_alone() {
    let tidegate = served().await;
    let task =
        "[tasks.t]\nuses = \"command\"\nfor_each = [\"0.1\", \"2\"]\nenv = { PAUSE = \"{{ item }}\" }\n";
    let each = flow(
        &tidegate,
        "each",
        &format!("{task}with = {{ shell = \"sleep $PAUSE\" }}\n"),
    );
    let done = tidegate.run(&["run", &each, "-w"]);
    assert_eq!(done.code(), 0, "{done:?}");
}

#[tokio::test]
async fn params_are_typed_and_what_does_not_fit_is_named() {
    let tidegate = served().await;
    tidegate.apply("ask-a-person");
    refused(
        &tidegate.run(&["run", "ask-a-person", "-p", "quality=much"]),
        2,
        &["quality", "a number"],
    );
    refused(
        &tidegate.run(&["run", "ask-a-person", "-p", "quality=7"]),
        2,
        &["quality"],
    );
    refused(
        &tidegate.run(&["run", "ask-a-person", "-p", "qualty=0.7"]),
        2,
        &["qualty", "quality"],
    );
    refused(
        &tidegate.run(&["run", "ask-a-preson"]),
        6,
        &["did you mean `ask-a-person`?"],
    );
}

#[tokio::test]
async fn a_key_makes_one_run_of_many_requests() {
    let tidegate = served().await;
    tidegate.apply("hello");
    let first = tidegate.start(&["hello", "--idempotency-key", "k1"]);
    assert_eq!(tidegate.start(&["hello", "--idempotency-key", "k1"]), first);
    assert_ne!(tidegate.start(&["hello", "--idempotency-key", "k2"]), first);
    let other = tidegate.run(&["run", "hello", "-p", "who=else", "--idempotency-key", "k1"]);
    refused(&other, 6, &["k1"]);
}

#[tokio::test]
async fn runs_are_listed_and_found_by_the_beginning_of_their_id() {
    let tidegate = served().await;
    tidegate.apply("hello");
    assert_eq!(tidegate.run(&["runs"]).stdout, "no runs\n");
    let id = json(&tidegate.run(&["run", "hello", "-w", "-o", "json"]))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    table(
        &tidegate.run(&["runs"]),
        &[&id[28..], "hello", "succeeded", "2/2"],
    );
    for name in [&id, &id[..13], &id[28..], "last"] {
        assert_eq!(
            json(&tidegate.run(&["show", name, "-o", "json"]))["id"],
            id.as_str()
        );
    }
    table(&tidegate.run(&["show", &id]), &["├─ ✓ find", "└─ ✓ greet"]);
    let list = json(&tidegate.run(&[
        "runs",
        "--flow",
        "hello",
        "--state",
        "succeeded,failed",
        "--since",
        "1h",
        "-o",
        "json",
    ]));
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert!(list.get("next").is_some());
    assert_eq!(
        json(&tidegate.run(&["runs", "--state", "failed", "-o", "json"]))["items"],
        serde_json::json!([])
    );
    refused(
        &tidegate.run(&["runs", "--flow", "helo"]),
        6,
        &["did you mean `hello`?"],
    );
    refused(&tidegate.run(&["show", "ffffffff"]), 6, &["ffffffff"]);
    refused(
        &tidegate.run(&["runs", "--since", "yesterday"]),
        2,
        &["yesterday"],
    );
}

#[tokio::test]
async fn logs_are_shown_by_task_followed_and_kept_harmless() {
    let tidegate = served().await;
    let script = r"printf 'one\\033[31m\\n'; sleep 1; echo two";
    let file = flow(&tidegate, "talk", &shell("speak", script));
    let id = tidegate.start(&[&file]);
    let followed = tidegate.run(&["logs", &id, "-f"]);
    assert_eq!(followed.code(), 0, "{followed:?}");
    assert!(
        followed.stdout.contains("speak one") && followed.stdout.contains("two"),
        "{followed:?}"
    );
    assert!(!followed.stdout.contains('\x1b'), "{followed:?}");
    let lines = json(&tidegate.run(&["logs", &id, "-o", "json"]));
    assert_eq!(lines["items"][1]["text"], "two");
    refused(
        &tidegate.run(&["logs", &id, "speek"]),
        6,
        &["did you mean `speak`?"],
    );
}

#[tokio::test]
async fn a_run_is_cancelled_once_and_retried_as_another() {
    let tidegate = served().await;
    let file = flow(&tidegate, "long", &shell("wait", "sleep 60"));
    let id = tidegate.start(&[&file]);
    let mut watching = tidegate.spawn(&["show", &id, "--watch"]);
    watching.wait_for_line("wait  running", SOON);
    let cancelled = tidegate.run(&["cancel", &id]);
    assert_eq!(cancelled.code(), 0, "{cancelled:?}");
    assert_eq!(watching.wait(SOON).code(), Some(4), "{}", watching.output());
    refused(&tidegate.run(&["cancel", &id]), 6, &["cancelled"]);
    let again = json(&tidegate.run(&["retry", &id, "-o", "json"]));
    assert_eq!(
        (again["retry_of"].as_str(), again["trigger"].as_str()),
        (Some(id.as_str()), Some("retry"))
    );
    tidegate.run(&["cancel", again["id"].as_str().unwrap()]);
}

#[tokio::test]
async fn leaving_a_run_leaves_it_running() {
    let tidegate = served().await;
    let file = flow(&tidegate, "steady", &shell("wait", "sleep 3"));
    let mut watching = tidegate.spawn(&["run", &file, "--watch"]);
    watching.wait_for_line("wait  running", SOON);
    watching.signal(Signal::INT);
    assert_eq!(watching.wait(SOON).code(), Some(130), "{}", watching.output());
    assert!(
        watching.stderr().contains("--watch"),
        "how to come back: {}",
        watching.output()
    );
    let late = tidegate.run(&["run", &file, "--watch", "--timeout", "1s"]);
    assert_eq!(late.code(), 124, "{late:?}");
    let back = tidegate.run(&["show", "last", "--watch"]);
    assert_eq!(back.code(), 0, "{back:?}");
}

#[tokio::test]
async fn a_task_that_fails_for_a_while_is_tried_again() {
    let tidegate = served().await;
    let done = tidegate.run_within(
        Duration::from_secs(60),
        &["run", example("flaky").to_str().unwrap(), "-w"],
    );
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(done.stdout.contains("attempt 3"), "{done:?}");
}

#[tokio::test]
async fn server_and_workers_are_processes_of_their_own_that_end_when_told() {
    let database = database().await;
    let tidegate = alone().env("DATABASE_URL", &database.url);
    // Before there is a server: it waits for the tables.
    let mut worker = tidegate.spawn(&["worker", "--slots", "2"]);
    worker.wait_for_line("waiting for a server", SOON);
    let mut first = tidegate.spawn(&["server", "--bind", "127.0.0.1:0"]);
    let mut second = tidegate.spawn(&["server", "--bind", "127.0.0.1:0"]);
    first.wait_for_line("server is up", SOON);
    second.wait_for_line("server is up", SOON);
    worker.wait_for_line("worker is up", SOON);
    let file = example("hello");
    assert_eq!(
        tidegate.run(&["run", file.to_str().unwrap(), "--watch"]).code(),
        0
    );
    for process in [&mut worker, &mut first, &mut second] {
        assert_eq!(process.terminate(SOON).code(), Some(0), "{}", process.output());
    }
}
