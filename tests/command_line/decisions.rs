//! Gates, people, the ledger.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use tidegate_test_fixtures::wait;

use super::{Finished, SOON, Served, example, json, refused, served, table};

/// The account that the tests run under.
pub(super) fn account() -> String {
    let told = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

/// A run that waits at its gate; its id.
fn waiting(tidegate: &Served) -> String {
    let id = tidegate.start(&["ask-a-person"]);
    wait::until("the run's question", SOON, || {
        let run = json(&tidegate.run(&["show", &id, "-o", "json"]));
        (run["state"] == "waiting").then_some(())
    });
    id
}

/// As if a schedule had asked for all runs: an account that stands for a person acts, and asked, as that person.
async fn asked_by_system(tidegate: &Served) {
    let pool = sqlx::PgPool::connect(tidegate.url()).await.unwrap();
    for statement in [
        "update run set requester = 'system'",
        "update approval set requester = 'system'",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    pool.close().await;
}

#[tokio::test]
async fn a_gate_is_opened_by_a_person_who_is_asked_and_by_nobody_else() {
    let tidegate = served().await;
    tidegate.apply("ask-a-person");
    let id = waiting(&tidegate);
    let gate = format!("{}/release", &id[28..]);
    table(&tidegate.run(&["approvals"]), &[&gate, "ask-a-person", "open"]);
    let me = account();
    // Followed to the letter, the hint takes nothing away from the account.
    refused(
        &tidegate.run(&["approve", &gate]),
        6,
        &["--role admin --os-user", &me],
    );
    let add = [
        "user",
        "add",
        "anna",
        "--role",
        "approver,operator",
        "--os-user",
        &me,
    ];
    assert_eq!(tidegate.run(&add).code(), 0);
    refused(
        &tidegate.run(&["approve", &gate]),
        6,
        &["anna asked for this run"],
    );
    asked_by_system(&tidegate).await;
    refused(
        &tidegate.run(&["approve", &gate, "--evidence", &"0".repeat(64)]),
        6,
        &["evidence"],
    );
    refused(
        &tidegate.run(&["approve", &format!("{id}/releese")]),
        6,
        &["did you mean `release`?"],
    );
    let done = tidegate.run(&["approve", &id, "--comment", "good enough"]);
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(
        done.stdout.contains("0.9") && done.stdout.contains("approved"),
        "the evidence: {done:?}"
    );
    assert_eq!(tidegate.run(&["show", &id, "--watch"]).code(), 0);
    refused(&tidegate.run(&["reject", &gate]), 6, &["approved"]);
    assert_eq!(
        tidegate.run(&["approvals"]).stdout,
        "nothing waits for a decision\n"
    );
    let exported = tidegate.run(&["ledger", "export"]).stdout;
    assert!(
        exported.contains("good enough") && exported.contains("anna"),
        "{exported}"
    );
    let report = json(&tidegate.run(&["ledger", "verify", "-o", "json"]));
    assert_eq!(report["entries"], exported.lines().count());
}

#[tokio::test]
async fn a_no_ends_the_run_with_3() {
    let tidegate = served().await;
    tidegate.apply("ask-a-person");
    let id = waiting(&tidegate);
    let add = [
        "user",
        "add",
        "anna",
        "--role",
        "approver",
        "--os-user",
        &account(),
    ];
    assert_eq!(tidegate.run(&add).code(), 0);
    asked_by_system(&tidegate).await;
    let reject = tidegate.run(&["reject", &id, "--comment", "not today", "-o", "json"]);
    assert_eq!(json(&reject)["state"], "rejected");
    assert_eq!(tidegate.run(&["show", &id, "--watch"]).code(), 3);
    let said = "declined by anna: not today";
    let shown = tidegate.run(&["show", &id]);
    assert!(shown.stdout.contains(said), "{shown:?}");
    let why = tidegate.run(&["why", &id]);
    assert!(why.stdout.contains(said), "{why:?}");
    let why = tidegate.run(&["why", &id, "release"]);
    assert!(why.stdout.contains(said), "{why:?}");
}

#[tokio::test]
async fn a_rule_stands_once_in_a_tree_and_a_reason_beside_it() {
    let tidegate = served().await;
    let text = std::fs::read_to_string(example("ask-a-person")).unwrap();
    let file = tidegate.home().join("ask-a-person.toml");
    std::fs::write(
        &file,
        text.replace("above = 0.5", "above = 0.5\nborderline = 0.4"),
    )
    .unwrap();
    assert_eq!(tidegate.run(&["apply", file.to_str().unwrap()]).code(), 0);
    let id = waiting(&tidegate);
    let told = |shown: &Finished| shown.stdout.matches("a person decides").count();
    let shown = tidegate.run(&["show", &id]);
    assert_eq!(told(&shown), 1, "{shown:?}");
    let done = tidegate.run(&["run", "ask-a-person", "-p", "quality=0.05", "-w", "-o", "json"]);
    assert_eq!(done.code(), 3, "{done:?}");
    let shown = tidegate.run(&["show", "last"]);
    assert_eq!(
        shown.stdout.matches("0.05 is not above 0.5").count(),
        1,
        "{shown:?}"
    );
    let why = tidegate.run(&["why", "last"]);
    assert!(
        why.stdout.contains("release: quality 0.05 is not above 0.5"),
        "{why:?}"
    );
}

#[tokio::test]
async fn an_account_is_told_what_it_gives_away() {
    let tidegate = served().await;
    let me = account();
    let add = |name: &str, role: &str, account: &str| {
        tidegate.run(&["user", "add", name, "--role", role, "--os-user", account])
    };
    let other = add("otto", "operator", "somebody-else");
    assert!(other.code() == 0 && other.stderr.is_empty(), "{other:?}");
    let mine = add("anna", "admin,approver", &me);
    assert!(mine.code() == 0 && mine.stderr.is_empty(), "{mine:?}");
    let lost = tidegate.run(&["user", "role", "anna", "approver"]);
    assert_eq!(lost.code(), 0, "{lost:?}");
    for word in [
        me.as_str(),
        "no more than: approver",
        "tidegate user role anna admin",
    ] {
        assert!(lost.stderr.contains(word), "{word}: {lost:?}");
    }
    // What the warning says of the account is so.
    refused(
        &tidegate.run(&["apply", example("hello").to_str().unwrap()]),
        6,
        &["anna is not granted the role admin"],
    );
    refused(
        &tidegate.run(&["db", "prune"]),
        6,
        &["anna is not granted the role admin"],
    );
    refused(
        &tidegate.run(&["db", "migrate"]),
        6,
        &["anna is not granted the role admin"],
    );
}

#[tokio::test]
async fn an_account_that_becomes_a_mere_approver_is_warned() {
    let tidegate = served().await;
    let me = account();
    let made = tidegate.run(&["user", "add", "anna", "--role", "approver", "--os-user", &me]);
    assert_eq!(made.code(), 0, "{made:?}");
    for word in ["warning:", "no more than: approver", "set os_user = null"] {
        assert!(made.stderr.contains(word), "{word}: {made:?}");
    }
}

#[tokio::test]
async fn a_rule_that_fails_ends_the_run_with_3_and_says_why() {
    let tidegate = served().await;
    tidegate.apply("ask-a-person");
    let done = tidegate.run(&["run", "ask-a-person", "-p", "quality=0.2", "--watch"]);
    assert_eq!(done.code(), 3, "{done:?}");
    assert!(
        done.stdout.contains("quality 0.2 is not above 0.5: fails"),
        "{done:?}"
    );
}

#[tokio::test]
async fn people_are_made_listed_and_changed() {
    let tidegate = served().await;
    refused(
        &tidegate.run(&["user", "add", "bob", "--role", "viewer"]),
        2,
        &["--password-stdin"],
    );
    refused(
        &tidegate.run(&["user", "add", "bob", "--role", "king"]),
        2,
        &["viewer, operator, approver or admin"],
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["user", "add", "bob", "--role", "viewer", "--password-stdin"])
        .env("DATABASE_URL", tidegate.url())
        .current_dir(tidegate.home())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"correct horse battery\n")
        .unwrap();
    assert!(child.wait().unwrap().success());
    table(&tidegate.run(&["user", "list"]), &["bob", "viewer"]);
    assert_eq!(
        tidegate
            .run(&["user", "role", "bob", "operator", "approver"])
            .code(),
        0
    );
    let people = json(&tidegate.run(&["user", "list", "-o", "json"]));
    assert_eq!(
        people["items"][0]["roles"],
        serde_json::json!(["operator", "approver"])
    );
    assert!(people["items"][0].get("password_hash").is_none());
    refused(&tidegate.run(&["user", "role", "rob", "viewer"]), 6, &["rob"]);
}

#[tokio::test]
async fn schedules_pause_and_resume() {
    let tidegate = served().await;
    tidegate.apply("ask-a-person");
    table(
        &tidegate.run(&["schedule", "list"]),
        &["ask-a-person", "workdays", "T"],
    );
    let paused = tidegate.run(&["schedule", "pause", "ask-a-person"]);
    assert_eq!(paused.code(), 0, "{paused:?}");
    table(&tidegate.run(&["schedule", "list"]), &["paused"]);
    let one = json(&tidegate.run(&["schedule", "pause", "ask-a-person", "workdays", "-o", "json"]));
    assert!(one["name"] == "workdays" && one["paused_at"].is_string(), "{one}");
    let all = json(&tidegate.run(&["schedule", "resume", "ask-a-person", "-o", "json"]));
    assert!(all["items"][0]["paused_at"].is_null(), "{all}");
    assert_eq!(
        tidegate
            .run(&["schedule", "resume", "ask-a-person", "workdays"])
            .code(),
        0
    );
    let listed = json(&tidegate.run(&["schedule", "list", "-o", "json"]));
    assert!(listed["items"][0]["paused_at"].is_null(), "{listed}");
    refused(
        &tidegate.run(&["schedule", "pause", "ask-a-person", "workday"]),
        6,
        &["workdays"],
    );
    refused(
        &tidegate.run(&["schedule", "pause", "ask"]),
        6,
        &["no flow `ask`"],
    );
}

#[tokio::test]
async fn an_empty_registry_says_so() {
    let tidegate = served().await;
    assert_eq!(tidegate.run(&["models"]).stdout, "no models are registered\n");
    refused(
        &tidegate.run(&["models", "history", "ranking_model"]),
        6,
        &["ranking_model"],
    );
    let verified = tidegate.run_within(Duration::from_secs(10), &["ledger", "verify"]);
    assert!(verified.stdout.contains("the chain holds"), "{verified:?}");
}
