//! What machines watch: readiness, numbers, and a database that is away.

use axum::http::StatusCode;
use tidegate_engine::clock;
use tidegate_engine::plugin::Registry;
use tidegate_engine::store::Store;
use tidegate_test_fixtures::postgres::Cluster;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, Who, asking, secret_key};
use crate::{App, Config, Services, router};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_means_a_scheduler_is_alive() {
    let bench = Bench::new().await;
    let before = bench.get("/readyz", None).await;
    assert_eq!(before.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(before.json()["reasons"][0], "no scheduler was ever heard of");
    bench.store.beat(clock::new_id()).await.unwrap();
    assert_eq!(bench.get("/readyz", None).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_say_what_waits() {
    let bench = Bench::new().await;
    bench.asks(bench.start("system").await).await;
    let text = bench.get("/metrics", None).await.text;
    for line in [
        "tidegate_approvals_pending 1",
        "tidegate_runs_active 1",
        "tidegate_tasks_ready{queue=\"default\"} 0",
        "tidegate_schedule_lag_seconds{flow=\"f\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    assert!(
        text.contains("tidegate_db_table_bytes{table=\"event\"}"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_said_to_be() {
    let mut cluster = Cluster::start();
    let store = Store::connect(&cluster.url("postgres"), 2).await.unwrap();
    let app = App::new(
        Config::default(),
        Services {
            store,
            registry: Registry::default(),
            secret_key: secret_key(),
        },
        CancellationToken::new(),
    );
    let router = router(app);
    cluster.kill();
    let ask = async |path: &str| {
        let who = Who {
            token: "some".to_owned(),
            csrf: String::new(),
        };
        let request = asking(axum::http::Method::GET, path, Some(&who))
            .body(axum::body::Body::empty())
            .unwrap();
        tower::ServiceExt::oneshot(router.clone(), request).await.unwrap()
    };
    assert_eq!(ask("/healthz").await.status(), StatusCode::OK);
    let (page, api, ready) = tokio::join!(ask("/runs"), ask("/api/v1/runs"), ask("/readyz"));
    assert_eq!(
        (page.status(), api.status(), ready.status()),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::SERVICE_UNAVAILABLE
        )
    );
    assert_eq!(page.headers()["retry-after"], "5");
    assert!(
        page.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert_eq!(api.headers()["content-type"], "application/problem+json");
}
