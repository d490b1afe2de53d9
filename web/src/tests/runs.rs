//! Runs over HTTP: asking for them once, finding them, following them.

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use serde_json::{Value, json};
use uuid::Uuid;

use super::bench::{Bench, Reply, Who, asking};
use crate::route;

async fn keyed(bench: &Bench, (who, key): (&Who, &str), body: Value) -> Reply {
    let request = asking(Method::POST, "/api/v1/flows/f/runs", Some(who))
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-csrf-token", &who.csrf)
        .header("idempotency-key", key);
    bench
        .send(request.body(Body::from(body.to_string())).unwrap())
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_created_once_for_a_key() {
    let bench = Bench::new().await;
    let otto = bench.sign_in("otto").await;
    let first = keyed(&bench, (&otto, "k1"), json!({"params": {"days": 3}})).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    let run = first.json();
    assert_eq!(
        first.header("location"),
        format!("/api/v1/runs/{}", run["id"].as_str().unwrap())
    );
    assert_eq!(
        (&run["params"]["days"], &run["trigger"], &run["requester"]),
        (&json!(3), &json!("api"), &json!("otto"))
    );
    let again = keyed(&bench, (&otto, "k1"), json!({"params": {"days": 3}})).await;
    assert_eq!((again.status, &again.json()["id"]), (StatusCode::OK, &run["id"]));
    let other = keyed(&bench, (&otto, "k1"), json!({"params": {"days": 4}})).await;
    assert_eq!(other.status, StatusCode::CONFLICT);
    let wrong = keyed(&bench, (&otto, "k2"), json!({"params": {"days": 900, "dys": 1}})).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let named: Vec<Value> = wrong.json()["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["param"].clone())
        .collect();
    assert_eq!(named.len(), 2, "{named:?}");
    assert_eq!(
        bench
            .post("/api/v1/flows/nothing/runs", &otto, json!({}))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    let found = bench.get(first.header("location"), Some(&otto)).await;
    assert_eq!((found.status, &found.json()["id"]), (StatusCode::OK, &run["id"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_form_of_a_flow_says_what_does_not_fit_and_runs_what_does() {
    let bench = Bench::new().await;
    let otto = bench.sign_in("otto").await;
    let wrong = bench.form("/flows/f/runs", &otto, &[("param.days", "900")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        wrong.text.contains("must be at most 30, this is 900") && wrong.text.contains("value=\"900\""),
        "{}",
        wrong.text
    );
    let right = bench
        .form("/flows/f/runs", &otto, &[("param.days", ""), ("key", "one")])
        .await;
    assert_eq!(right.status, StatusCode::SEE_OTHER, "{}", right.text);
    let twice = bench
        .form("/flows/f/runs", &otto, &[("param.days", ""), ("key", "one")])
        .await;
    assert_eq!(
        right.header("location"),
        twice.header("location"),
        "a second click makes no second run"
    );
    let page = bench.get(right.header("location"), Some(&otto)).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("manual by otto"), "{}", page.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_and_paged() {
    let bench = Bench::new().await;
    let vera = bench.sign_in("vera").await;
    for _ in 0..3 {
        bench.start("system").await;
    }
    let first = bench.get("/api/v1/runs?limit=2&flow=f", Some(&vera)).await.json();
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let next = first["next"].as_str().unwrap();
    let second = bench
        .get(&format!("/api/v1/runs?limit=2&flow=f&cursor={next}"), Some(&vera))
        .await
        .json();
    assert_eq!(
        (second["items"].as_array().unwrap().len(), &second["next"]),
        (1, &Value::Null)
    );
    let none = bench
        .get("/api/v1/runs?state=failed,cancelled", Some(&vera))
        .await
        .json();
    assert_eq!(none["items"], json!([]));
    for wrong in [
        "state=broken",
        "limit=0",
        "limit=201",
        "limit=x",
        "sate=failed",
        "cursor=x",
        "since=yesterday",
    ] {
        let reply = bench.get(&format!("/api/v1/runs?{wrong}"), Some(&vera)).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{wrong}: {}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_twice_is_a_conflict_and_an_unknown_run_is_not_found() {
    let bench = Bench::new().await;
    let otto = bench.sign_in("otto").await;
    let run = bench.start("system").await;
    bench.asks(run).await;
    let path = format!("/api/v1/runs/{run}/cancel");
    let stopped = bench.post(&path, &otto, json!({})).await;
    assert_eq!(
        (stopped.status, stopped.json()["state"].as_str()),
        (StatusCode::OK, Some("cancelled"))
    );
    assert_eq!(
        bench.post(&path, &otto, json!({})).await.status,
        StatusCode::CONFLICT
    );
    let retried = bench
        .post(&format!("/api/v1/runs/{run}/retry"), &otto, json!({}))
        .await;
    assert_eq!(
        (retried.status, &retried.json()["retry_of"]),
        (StatusCode::CREATED, &json!(run))
    );
    let path_of_retry = format!("/api/v1/runs/{run}/retry");
    let again = |body| bench.post(&path_of_retry, &otto, body);
    let edited = again(json!({"from": "publish", "params": {"days": 3}})).await;
    assert_eq!(
        (edited.status, &edited.json()["params"]["days"]),
        (StatusCode::CREATED, &json!(3))
    );
    let astray = again(json!({"from": "mesure"})).await;
    assert_eq!(astray.status, StatusCode::NOT_FOUND);
    assert!(astray.text.contains("did you mean `measure`?"), "{}", astray.text);
    for wrong in [json!({"form": "publish"}), json!({"params": {"days": 99}})] {
        assert_eq!(again(wrong).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let items = format!("/api/v1/runs/{run}/tasks/measure/items");
    assert_eq!(
        bench.get(&items, Some(&otto)).await.status,
        StatusCode::NOT_FOUND,
        "it runs for no list"
    );
    let nowhere = Uuid::nil();
    assert_eq!(
        bench
            .get(&format!("/api/v1/runs/{nowhere}"), Some(&otto))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        bench
            .post(&format!("/api/v1/runs/{nowhere}/cancel"), &otto, json!({}))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_where_the_reader_was_and_ends_with_the_run() {
    let bench = Bench::new().await;
    let otto = bench.sign_in("otto").await;
    let run = bench.start("system").await;
    bench.asks(run).await;
    bench
        .post(&format!("/api/v1/runs/{run}/cancel"), &otto, json!({}))
        .await;
    let stream = async |what: &str, last: &str| {
        let request = asking(Method::GET, &format!("/api/v1/runs/{run}/{what}"), Some(&otto))
            .header(header::ACCEPT, "text/event-stream")
            .header("last-event-id", last);
        bench.send(request.body(Body::empty()).unwrap()).await
    };
    let whole = stream("events", "0").await;
    assert!(whole.header("content-type").starts_with("text/event-stream"));
    let ids: Vec<i64> = whole
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("id: ")?.parse().ok())
        .collect();
    assert_eq!(ids, (1..=ids.len() as i64).collect::<Vec<_>>(), "without gaps");
    assert!(
        whole.text.trim_end().ends_with("event: end\ndata: {}"),
        "{}",
        whole.text
    );
    let rest = stream("events", &(ids.len() - 1).to_string()).await;
    assert_eq!(rest.text.matches("event: event").count(), 1, "{}", rest.text);
    // 204 tells a browser not to come back.
    assert_eq!(
        stream("events", &ids.len().to_string()).await.status,
        StatusCode::NO_CONTENT
    );
    let lines = stream("logs", "").await;
    assert!(
        lines.text.contains("event: lines") && lines.text.contains("alert(1)"),
        "{}",
        lines.text
    );
    let cursor = lines
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .next_back()
        .unwrap()
        .to_owned();
    assert_eq!(stream("logs", &cursor).await.status, StatusCode::NO_CONTENT);
    let json = bench
        .get(&format!("/api/v1/runs/{run}/logs?task=measure"), Some(&otto))
        .await
        .json();
    assert_eq!(json["items"][0]["task"], json!("measure"));
    assert_eq!(
        bench
            .get(&format!("/api/v1/runs/{run}/logs?task=nothing"), Some(&otto))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        bench
            .get(&format!("/api/v1/runs/{run}/logs?cursor=x"), Some(&otto))
            .await
            .status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_describes_every_route_of_the_interface() {
    let bench = Bench::new().await;
    let document = bench.get("/api/openapi.json", None).await.json();
    let mut described = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let parts = path.matches('{').count();
            let named = operation["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|p| p["in"] == "path")
                .count();
            assert_eq!(parts, named, "{method} {path}");
            described.push(format!("{} {path}", method.to_uppercase()));
        }
    }
    let mut routes: Vec<String> = route::all()
        .iter()
        .filter(|r| r.is_api())
        .map(|r| format!("{} {}", r.method, r.path))
        .collect();
    routes.sort();
    described.sort();
    assert_eq!(described, routes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_schedule_says_since_when_and_has_no_next_fire() {
    let bench = Bench::new().await;
    let otto = bench.sign_in("otto").await;
    let paused = bench
        .post("/api/v1/schedules/f/nightly/pause", &otto, json!({}))
        .await;
    assert_eq!(
        (paused.status, &paused.json()["next"]),
        (StatusCode::OK, &json!([])),
        "{}",
        paused.text
    );
    let page = bench.get("/schedules", Some(&otto)).await.text;
    assert!(
        page.contains("/schedules/f/nightly/resume") && page.contains("paused"),
        "{page}"
    );
    let resumed = bench.form("/schedules/f/nightly/resume", &otto, &[]).await;
    assert_eq!(
        (resumed.status, resumed.header("location")),
        (StatusCode::SEE_OTHER, "/schedules")
    );
    let listed = bench.get("/api/v1/schedules", Some(&otto)).await.json();
    assert_eq!(
        (
            &listed["items"][0]["paused_at"],
            listed["items"][0]["next"].as_array().map(Vec::len)
        ),
        (&Value::Null, Some(5))
    );
    assert_eq!(
        bench
            .post("/api/v1/schedules/f/none/pause", &otto, json!({}))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
}
