//! What an attacker would try: forged requests, scripts in texts, great bodies; and the headers that stand against it.

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use serde_json::json;

use super::bench::{Bench, NASTY, Reply, Who, asking};

/// A form with everything but what is named.
async fn forged(bench: &Bench, path: &str, (who, csrf): (&Who, &str), headers: &[(&str, &str)]) -> Reply {
    let mut request = asking(Method::POST, path, Some(who))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    bench
        .send(request.body(Body::from(format!("csrf={csrf}"))).unwrap())
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_counts_only_from_a_page_of_ours() {
    let bench = Bench::new().await;
    let run = bench.start("system").await;
    let (otto, other) = (bench.sign_in("otto").await, bench.sign_in("otto").await);
    let path = format!("/runs/{run}/cancel");
    let refused: [(&str, &[(&str, &str)]); 6] = [
        ("", &[]),
        ("wrong", &[("sec-fetch-site", "same-origin")]),
        (&other.csrf, &[]),
        (&otto.csrf, &[("sec-fetch-site", "cross-site")]),
        (&otto.csrf, &[("sec-fetch-site", "same-site")]),
        (&otto.csrf, &[("origin", "https://evil.example")]),
    ];
    for (csrf, headers) in refused {
        let reply = forged(&bench, &path, (&otto, csrf), headers).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{csrf} {headers:?}");
    }
    let right = forged(&bench, &path, (&otto, &otto.csrf), &[("origin", "null")]).await;
    assert_ne!(right.status, StatusCode::FORBIDDEN, "{}", right.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_with_a_cookie_needs_the_token_or_our_own_origin() {
    let bench = Bench::new().await;
    let otto = bench.sign_in("otto").await;
    let send = async |headers: &[(&str, &str)], body: &'static str| {
        let mut request = asking(Method::POST, "/api/v1/flows/f/runs", Some(&otto));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        bench.send(request.body(Body::from(body)).unwrap()).await.status
    };
    let json = ("content-type", "application/json");
    assert_eq!(send(&[json], "{}").await, StatusCode::FORBIDDEN);
    assert_eq!(
        send(
            &[json, ("x-csrf-token", "wrong"), ("sec-fetch-site", "same-origin")],
            "{}"
        )
        .await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        send(
            &[
                json,
                ("x-csrf-token", &otto.csrf),
                ("sec-fetch-site", "cross-site")
            ],
            "{}"
        )
        .await,
        StatusCode::FORBIDDEN
    );
    // What a form on another page could send without asking us first.
    assert_eq!(
        send(
            &[("content-type", "text/plain"), ("x-csrf-token", &otto.csrf)],
            "{}"
        )
        .await,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    let ours = [json, ("sec-fetch-site", "same-origin")];
    assert_eq!(send(&ours, "{").await, StatusCode::BAD_REQUEST);
    assert_eq!(
        send(&ours, "{\"parms\": {}}").await,
        StatusCode::UNPROCESSABLE_ENTITY
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_bounded_in_size_depth_and_coding() {
    let bench = Bench::new().await;
    let otto = bench.sign_in("otto").await;
    let send = async |(name, value): (&str, &str), body: String| {
        let request = asking(Method::POST, "/api/v1/flows/f/runs", Some(&otto))
            .header("content-type", "application/json")
            .header("x-csrf-token", &otto.csrf)
            .header(name, value);
        bench.send(request.body(Body::from(body)).unwrap()).await.status
    };
    assert_eq!(
        send(("x-a", "b"), "x".repeat(300 * 1024)).await,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(
        send(("content-length", "10000000000"), "{}".to_owned()).await,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(
        send(("content-encoding", "gzip"), "{}".to_owned()).await,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    let deep = format!(
        "{{\"params\": {{\"days\": {}{}}}}}",
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    assert_eq!(send(("x-a", "b"), deep).await, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_response_carries_the_headers_and_errors_their_shape() {
    let bench = Bench::new().await;
    let vera = bench.sign_in("vera").await;
    let replies = [
        (StatusCode::OK, bench.get("/healthz", None).await),
        (StatusCode::OK, bench.get("/assets/tidegate.css", None).await),
        (StatusCode::OK, bench.get("/sign-in", None).await),
        (StatusCode::SEE_OTHER, bench.get("/", None).await),
        (StatusCode::UNAUTHORIZED, bench.get("/api/v1/runs", None).await),
        (StatusCode::NOT_FOUND, bench.get("/nowhere", None).await),
        (StatusCode::NOT_FOUND, bench.get("/api/v1/nowhere", None).await),
        (
            StatusCode::NOT_FOUND,
            bench.get("/approvals/0199", Some(&vera)).await,
        ),
        (
            StatusCode::METHOD_NOT_ALLOWED,
            bench.post("/healthz", &vera, json!({})).await,
        ),
        (
            StatusCode::METHOD_NOT_ALLOWED,
            bench.post("/ledger", &vera, json!({})).await,
        ),
    ];
    for (status, reply) in &replies {
        assert_eq!(reply.status, *status, "{}", reply.text);
        let policy = reply.header("content-security-policy");
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("referrer-policy"), "no-referrer");
        assert!(!reply.header("cache-control").is_empty());
    }
    assert_eq!(
        replies[1].1.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    assert_eq!(replies[3].1.header("cache-control"), "no-store");
    assert!(replies[5].1.header("content-type").starts_with("text/html"));
    let problem = replies[6].1.json();
    assert_eq!(
        (problem["status"].as_u64(), problem["type"].as_str()),
        (Some(404), Some("urn:tidegate:problem:not-found"))
    );
    assert_eq!(replies[8].1.header("allow"), "GET,HEAD");
    assert!(replies[9].1.text.contains("<h1>Wrong method</h1>"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_task_says_is_shown_as_text() {
    let bench = Bench::new().await;
    let run = bench.start("system").await;
    let approval = bench.asks(run).await;
    let anna = bench.sign_in("anna").await;
    let paths = [
        "/".to_owned(),
        "/runs".to_owned(),
        format!("/runs/{run}"),
        "/approvals".to_owned(),
        format!("/approvals/{}", approval.id),
        "/flows".to_owned(),
        "/flows/f".to_owned(),
        "/workers".to_owned(),
        "/ledger".to_owned(),
        "/models".to_owned(),
        "/schedules".to_owned(),
    ];
    let mut told = 0;
    for path in paths {
        let page = bench.get(&path, Some(&anna)).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        for piece in ["<script>alert", "<img src=x", NASTY] {
            assert!(!page.text.contains(piece), "{piece} in {path}");
        }
        // Nothing inline: the policy would forbid it anyway.
        assert!(
            !page.text.contains("style=\"") && !page.text.contains("onclick"),
            "{path}"
        );
        told += page.text.matches("alert(1)").count();
    }
    assert!(told > 5, "the texts were there, as texts");
}
