//! Signed messages: believed once, within five minutes, from whoever has the secret.

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use serde_json::{Value, json};
use tidegate_engine::command::{self, Actor, Role};
use tidegate_engine::{clock, signature};

use super::bench::{Bench, Reply, asking, secret_key};

const SECRET: &str = "between us two";
const PATH: &str = "/api/v1/flows/f/webhook";

impl Bench {
    async fn with_secret() -> Self {
        let bench = Self::new().await;
        let ada = Actor::person("ada", [Role::Admin]);
        let key = secret_key().load().unwrap();
        let set = command::set_secret(&bench.store, &ada, (&key, "HOOK", SECRET), clock::now()).await;
        assert!(set.unwrap());
        bench
    }

    /// Sends what another program would, `late` seconds after it was signed.
    async fn message(&self, path: &str, (body, secret, late): (&str, &str, i64)) -> Reply {
        let at = (clock::now().as_second() - late).to_string();
        let request = asking(Method::POST, path, None)
            .header(header::CONTENT_TYPE, "application/json")
            .header("tidegate-timestamp", &at)
            .header(
                "tidegate-signature",
                format!("v1={}", signature::sign(secret, &at, body)),
            );
        self.send(request.body(Body::from(body.to_owned())).unwrap())
            .await
    }

    async fn runs(&self) -> Vec<Value> {
        let vera = self.sign_in("vera").await;
        let runs = self.get("/api/v1/runs", Some(&vera)).await.json();
        runs["items"].as_array().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_message_makes_one_run_however_often_it_comes() {
    let bench = Bench::with_secret().await;
    let body = json!({"go": true, "days": 3}).to_string();
    let at = clock::now().as_second().to_string();
    let signed = format!("v1={}", signature::sign(SECRET, &at, &body));
    let mut answers = Vec::new();
    for _ in 0..3 {
        let request = asking(Method::POST, PATH, None)
            .header(header::CONTENT_TYPE, "application/json")
            .header("tidegate-timestamp", &at)
            .header("tidegate-signature", &signed);
        let answer = bench.send(request.body(Body::from(body.clone())).unwrap()).await;
        answers.push((answer.status, answer.json()));
    }
    assert_eq!(answers[0].0, StatusCode::CREATED, "{}", answers[0].1);
    assert_eq!(answers[1].0, StatusCode::OK);
    assert!(answers.iter().all(|(_, answer)| answer == &answers[0].1));
    let runs = bench.runs().await;
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0]["id"], answers[0].1["run"]);
    assert_eq!(
        (&runs[0]["trigger"], &runs[0]["requester"]),
        (&json!("webhook"), &json!("webhook:f"))
    );
    let vera = bench.sign_in("vera").await;
    let path = format!("/api/v1/runs/{}", runs[0]["id"].as_str().unwrap());
    let run = bench.get(&path, Some(&vera)).await.json();
    assert_eq!(run["params"]["days"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_signed_makes_no_run_and_is_told_nothing() {
    let bench = Bench::with_secret().await;
    let body = json!({"go": true, "days": 3}).to_string();
    let forged = bench.message(PATH, (&body, "another secret", 0)).await;
    let stale = bench.message(PATH, (&body, SECRET, 301)).await;
    let early = bench.message(PATH, (&body, SECRET, -310)).await;
    let nowhere = bench
        .message("/api/v1/flows/none/webhook", (&body, SECRET, 0))
        .await;
    let bare = asking(Method::POST, PATH, None).header(header::CONTENT_TYPE, "application/json");
    let unsigned = bench.send(bare.body(Body::from(body.clone())).unwrap()).await;
    for answer in [&forged, &stale, &early, &nowhere, &unsigned] {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.text);
        let said = answer.json();
        assert_eq!(said["detail"], forged.json()["detail"], "one answer for all");
    }
    assert!(bench.runs().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_asks_for_nothing_or_for_what_does_not_fit_makes_no_run() {
    let bench = Bench::with_secret().await;
    let send = async |body: Value| bench.message(PATH, (&body.to_string(), SECRET, 0)).await;
    let nothing = send(json!({"go": false, "days": 3})).await;
    assert_eq!(
        (nothing.status, nothing.json()),
        (StatusCode::OK, json!({"run": null}))
    );
    let many = send(json!({"go": true, "days": 31})).await;
    assert_eq!(many.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(many.text.contains("days"), "{}", many.text);
    let without = send(json!({"go": true})).await;
    assert_eq!(without.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(without.text.contains("body.days"), "{}", without.text);
    let garbled = bench.message(PATH, ("{", SECRET, 0)).await;
    assert_eq!(garbled.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(bench.runs().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_secret_a_webhook_is_not_ready_and_the_doctor_says_why() {
    let bench = Bench::new().await;
    let body = json!({"go": true, "days": 3}).to_string();
    let answer = bench.message(PATH, (&body, SECRET, 0)).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.text.contains("HOOK"), "{}", answer.text);
    let checks = bench.store.checkup().await.unwrap();
    let told = checks
        .iter()
        .find(|check| check.detail.contains("`HOOK` is not set"));
    assert!(told.is_some(), "{checks:?}");
}
