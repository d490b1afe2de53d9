//! Deciding over HTTP: every status of the contract, in JSON and on the page.

use axum::http::StatusCode;
use serde_json::{Value, json};
use tidegate_engine::store::runs::state_of;

use super::bench::Bench;

fn yes(digest: &str) -> Value {
    json!({"decision": "approve", "comment": "looks right", "evidence": digest})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_is_made_once_and_a_repeat_gets_the_same_answer() {
    let bench = Bench::new().await;
    let run = bench.start("system").await;
    let approval = bench.asks(run).await;
    let (anna, ada) = (bench.sign_in("anna").await, bench.sign_in("ada").await);
    let path = format!("/api/v1/approvals/{}/decision", approval.id);
    let changed = bench.post(&path, &anna, yes(&"0".repeat(64))).await;
    assert_eq!(changed.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(changed.json()["evidence"], json!(approval.digest));
    let first = bench.post(&path, &anna, yes(&approval.digest)).await;
    assert_eq!(
        (first.status, first.json()["state"].as_str()),
        (StatusCode::OK, Some("approved"))
    );
    let again = bench.post(&path, &anna, yes(&approval.digest)).await;
    assert_eq!((again.status, again.json()), (StatusCode::OK, first.json()));
    let late = bench
        .post(
            &path,
            &ada,
            json!({"decision": "reject", "evidence": approval.digest}),
        )
        .await;
    assert_eq!(
        (late.status, late.header("content-type")),
        (StatusCode::CONFLICT, "application/problem+json")
    );
    let standing = &late.json()["approval"];
    assert_eq!(
        (standing["state"].as_str(), standing["votes"][0]["actor"].as_str()),
        (Some("approved"), Some("anna"))
    );
    for _ in 0..200 {
        if state_of(&bench.store, run).await.unwrap().is_terminal() {
            return;
        }
        tidegate_engine::clock::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the run did not go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_decide_is_told_why() {
    let bench = Bench::new().await;
    let (anna, otto) = (bench.sign_in("anna").await, bench.sign_in("otto").await);
    let own = bench.asks(bench.start("anna").await).await;
    let path = format!("/api/v1/approvals/{}/decision", own.id);
    assert_eq!(
        bench.post(&path, &anna, yes(&own.digest)).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        bench.post(&path, &otto, yes(&own.digest)).await.status,
        StatusCode::FORBIDDEN
    );
    let page = bench.get(&format!("/approvals/{}", own.id), Some(&anna)).await;
    assert!(
        page.text.contains("you triggered the run") && !page.text.contains("value=\"approve\""),
        "{}",
        page.text
    );
    let refused = bench
        .form(
            &format!("/approvals/{}/decision", own.id),
            &anna,
            &[("decision", "approve"), ("evidence", &own.digest)],
        )
        .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text.contains("role=\"alert\""), "{}", refused.text);
    bench.let_expire(&own).await;
    let ada = bench.sign_in("ada").await;
    assert_eq!(
        bench.post(&path, &ada, yes(&own.digest)).await.status,
        StatusCode::GONE
    );
    let nowhere = "/api/v1/approvals/01997a10-0000-7000-8000-000000000000/decision";
    assert_eq!(
        bench.post(nowhere, &ada, yes(&own.digest)).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        bench
            .post("/api/v1/approvals/x/decision", &ada, yes(&own.digest))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        bench
            .post(&path, &ada, json!({"decision": "maybe", "evidence": ""}))
            .await
            .status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_click_promotes_and_a_late_one_is_shown_what_stands() {
    let bench = Bench::new().await;
    let approval = bench.asks(bench.start("system").await).await;
    let (anna, ada) = (bench.sign_in("anna").await, bench.sign_in("ada").await);
    let (page, path) = (
        format!("/approvals/{}", approval.id),
        format!("/approvals/{}/decision", approval.id),
    );
    let shown = bench.get(&page, Some(&anna)).await;
    for piece in [
        "metric 0.31 is above 0.25: passes",
        "rule-bar good",
        approval.digest.as_str(),
        "value=\"reject\"",
    ] {
        assert!(shown.text.contains(piece), "{piece} in {}", shown.text);
    }
    let stale = bench
        .form(
            &path,
            &anna,
            &[
                ("decision", "approve"),
                ("evidence", "0"),
                ("comment", "my long comment"),
            ],
        )
        .await;
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED);
    assert!(
        stale.text.contains("my long comment"),
        "what was typed is not lost"
    );
    let click = [
        ("decision", "reject"),
        ("evidence", approval.digest.as_str()),
        ("comment", "too early"),
    ];
    let clicked = bench.form(&path, &anna, &click).await;
    assert_eq!(
        (clicked.status, clicked.header("location")),
        (StatusCode::SEE_OTHER, page.as_str())
    );
    let late = bench
        .form(
            &path,
            &ada,
            &[("decision", "approve"), ("evidence", &approval.digest)],
        )
        .await;
    assert_eq!(late.status, StatusCode::CONFLICT);
    assert!(
        late.text.contains("too early") && late.text.contains("<strong>anna</strong>"),
        "{}",
        late.text
    );
}
