//! Gates, as people and programs meet them from outside: who may open one, once, on what they saw, and never on a number that is none.

use futures::future::join;
use serde_json::{Value, json};
use tidegate_engine::command::Role;
use tidegate_engine::id::RunId;
use tidegate_test_fixtures::postgres::{Database, database};

use crate::house::{House, SOON, Visitor, task, tidegate};

const ASK: &str = r#"
[params.found]
type = "string"
default = '{"quality": 0.9}'

[tasks.measure]
uses = "command"
env = { FOUND = "{{ params.found }}" }
with = { shell = '''printf '{"v":1,"outputs":{"found":%s}}' "$FOUND" > "$TIDEGATE_OUTPUT"''', outputs = { found = "object" } }

[tasks.release]
uses = "command"
with = { argv = ["echo", "released"] }

[[tasks.release.gate.rule]]
metric = "{{ tasks.measure.found.quality }}"
above = 0.5

[tasks.release.gate.approval]
when = "always"
by = ["role:approver"]
"#;

/// Anna triggers and approves, Bob and Cleo approve, Vera looks on.
async fn house() -> (House, Database) {
    let database = database().await;
    let mut house = House::on(&database.url, tidegate()).await;
    house.start_worker();
    house.apply("ask", ASK);
    house
        .people(&[
            ("anna", &[Role::Operator, Role::Approver]),
            ("bob", &[Role::Approver]),
            ("cleo", &[Role::Approver]),
            ("vera", &[Role::Viewer]),
        ])
        .await;
    (house, database)
}

/// A run that somebody triggered by HTTP, and the decision that it asks for.
async fn waiting(house: &House, by: &Visitor) -> (RunId, Value) {
    let (status, run) = by.post("/api/v1/flows/ask/runs", &json!({"params": {}})).await;
    assert_eq!(status, 201, "{run}");
    let id: RunId = run["id"].as_str().unwrap().parse().unwrap();
    house.reaches(id, "waiting", SOON).await;
    let (status, inbox) = by.get("/api/v1/approvals").await;
    assert_eq!(status, 200, "{inbox}");
    let asked = inbox["items"].as_array().unwrap().iter();
    let ours = asked
        .filter(|approval| approval["run"] == run["id"])
        .collect::<Vec<_>>();
    assert_eq!(ours.len(), 1, "{inbox}");
    (id, ours[0].clone())
}

fn place(approval: &Value) -> String {
    format!("/api/v1/approvals/{}/decision", approval["id"].as_str().unwrap())
}

fn decision(word: &str, approval: &Value) -> Value {
    json!({"decision": word, "comment": "seen", "evidence": approval["digest"]})
}

#[tokio::test]
async fn whoever_asked_for_a_run_and_whoever_only_looks_on_get_403_and_it_waits_on() {
    let (house, _database) = house().await;
    let anna = Visitor::sign_in(&house, "anna").await;
    let (run, approval) = waiting(&house, &anna).await;
    assert_eq!(approval["requester"], "anna");
    for name in ["anna", "vera"] {
        let visitor = Visitor::sign_in(&house, name).await;
        let (status, problem) = visitor
            .post(&place(&approval), &decision("approve", &approval))
            .await;
        assert_eq!(status, 403, "{name}: {problem}");
        assert_eq!(problem["status"], 403, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(name), "{problem}");
    }
    house.reaches(run, "waiting", SOON).await;
    let bob = Visitor::sign_in(&house, "bob").await;
    let (status, decided) = bob.post(&place(&approval), &decision("approve", &approval)).await;
    assert_eq!(
        (status, &decided["state"]),
        (200, &json!("approved")),
        "{decided}"
    );
    house.reaches(run, "succeeded", SOON).await;
    house.audit().await;
}

#[tokio::test]
async fn two_approvers_at_once_make_one_decision_and_the_other_is_told_which() {
    let (house, _database) = house().await;
    let anna = Visitor::sign_in(&house, "anna").await;
    let bob = Visitor::sign_in(&house, "bob").await;
    let cleo = Visitor::sign_in(&house, "cleo").await;
    for second in ["approve", "reject", "reject", "approve"] {
        let (run, approval) = waiting(&house, &anna).await;
        let (place, first, second) = (
            place(&approval),
            decision("approve", &approval),
            decision(second, &approval),
        );
        let (by_bob, by_cleo) = join(bob.post(&place, &first), cleo.post(&place, &second)).await;
        let (won, lost) = match by_bob.0 {
            200 => (by_bob, by_cleo),
            _ => (by_cleo, by_bob),
        };
        assert_eq!((won.0, lost.0), (200, 409), "{won:?} {lost:?}");
        let (_, standing) = bob.get(place.trim_end_matches("/decision")).await;
        assert_eq!(standing["votes"].as_array().unwrap().len(), 1, "{standing}");
        assert_eq!(won.1, standing, "the answer is what stands");
        let told = lost.1.to_string();
        assert!(
            told.contains(standing["state"].as_str().unwrap())
                && told.contains(standing["votes"][0]["actor"].as_str().unwrap()),
            "the standing decision in {told}"
        );
        let state = match standing["state"].as_str().unwrap() {
            "approved" => "succeeded",
            other => other,
        };
        house.reaches(run, state, SOON).await;
    }
    house.audit().await;
}

#[tokio::test]
async fn a_decision_on_other_evidence_gets_412_and_a_repeat_the_same_answer() {
    let (house, _database) = house().await;
    let anna = Visitor::sign_in(&house, "anna").await;
    let bob = Visitor::sign_in(&house, "bob").await;
    let (run, approval) = waiting(&house, &anna).await;
    let mut stale = decision("approve", &approval);
    stale["evidence"] = json!("0".repeat(64));
    let (status, problem) = bob.post(&place(&approval), &stale).await;
    assert_eq!(status, 412, "{problem}");
    house.reaches(run, "waiting", SOON).await;
    let fresh = decision("approve", &approval);
    let first = bob.post(&place(&approval), &fresh).await;
    assert_eq!(first.0, 200, "{first:?}");
    house.reaches(run, "succeeded", SOON).await;
    assert_eq!(bob.post(&place(&approval), &fresh).await, first);
    let (status, _) = bob.post(&place(&approval), &decision("reject", &approval)).await;
    assert_eq!(status, 409, "nobody changes their mind afterwards");
    house.audit().await;
}

#[tokio::test]
async fn a_number_that_is_none_closes_the_gate_and_show_says_why() {
    let (house, _database) = house().await;
    let cases = [
        (r#"{"quality": null}"#, "NaN and infinite numbers arrive as null"),
        (r"{}", "is missing"),
        (r#"{"quality": "NaN"}"#, r#"is the text "NaN", not a number"#),
        (r#"{"quality": "0.9"}"#, r#"is the text "0.9", not a number"#),
        (r#"{"quality": "inf"}"#, r#"is the text "inf", not a number"#),
        (r#"{"quality": true}"#, "is true, not a number"),
        (
            r#"{"quality": {"value": 0.9, "low": null, "high": 1}}"#,
            "has a `low` that is null",
        ),
    ];
    for (found, words) in cases {
        let run = house.start("ask", json!({ "found": found })).await;
        let ended = house.reaches(run, "rejected", SOON).await;
        assert_eq!(task(&ended, "release").state, "rejected", "{found}");
        let shown = house.show(run).stdout;
        assert!(
            shown.contains(&format!("quality {words}")) || shown.contains(words),
            "{found}: {shown}"
        );
        assert!(shown.contains("fails"), "{found}: {shown}");
    }
    // What is no JSON at all never gets as far as the gate.
    for found in [r#"{"quality": NaN}"#, r#"{"quality": 1e999}"#] {
        let run = house.start("ask", json!({ "found": found })).await;
        let ended = house.reaches(run, "failed", SOON).await;
        assert_eq!(task(&ended, "release").state, "skipped", "{found}");
    }
    house.audit().await;
}
