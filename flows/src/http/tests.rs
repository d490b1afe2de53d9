//! Against a server of the test's own.

use serde_json::{Value, json};
use tidegate_engine::plugin::TaskError;
use tidegate_test_fixtures::server::Server;

use crate::testing::Bench;

async fn ask(with: Value) -> Result<Value, TaskError> {
    ask_allowing(&["127.0.0.1"], with).await
}

async fn ask_allowing(allow: &[&str], with: Value) -> Result<Value, TaskError> {
    let mut bench = Bench::new();
    bench.ctx.deployment.http_allow = allow.iter().map(|&place| place.to_owned()).collect();
    bench.run("http", with).await
}

fn message(done: Result<Value, TaskError>) -> String {
    done.unwrap_err().to_string()
}

#[tokio::test]
async fn a_json_answer_is_handed_on_with_status_and_headers() {
    let server =
        Server::answering(&["200 OK\ncontent-type: application/problem+json\netag: \"v1\"\n\n{\"n\": 3}"])
            .await;
    let with = json!({"url": server.url("/a"), "query": {"q": "a&b c", "n": 2}, "headers": {"X-Key": "k"}});
    let done = ask(with).await.unwrap();
    assert_eq!(done["status"], 200);
    assert_eq!(done["json"], json!({"n": 3}));
    assert_eq!(done["headers"]["etag"], "\"v1\"");
    assert_eq!(done["text"], Value::Null);
    let asked = server.asked().remove(0);
    assert_eq!(asked.line, "GET /a?n=2&q=a%26b+c HTTP/1.1");
    assert_eq!(asked.header("x-key"), Some("k"));
}

#[tokio::test]
async fn a_post_carries_its_body_and_the_key_of_the_task_run() {
    let server = Server::answering(&["201 Created\n\nmade"]).await;
    let done = ask(json!({"method": "POST", "url": server.url("/"), "json": {"a": 1}}))
        .await
        .unwrap();
    assert_eq!((&done["status"], &done["text"]), (&json!(201), &json!("made")));
    let asked = server.asked().remove(0);
    assert_eq!(
        (asked.body.as_str(), asked.header("content-type")),
        ("{\"a\":1}", Some("application/json"))
    );
    assert!(asked.header("idempotency-key").unwrap().ends_with("/under_test"));
}

#[tokio::test]
async fn what_may_help_later_is_tried_again_and_what_cannot_is_not() {
    for (answer, again) in [
        ("500 Oops\n\n", true),
        ("502 Bad Gateway\n\n", true),
        ("408 Slow\n\n", true),
        ("", true),
        ("404 Not Found\n\nno such thing", false),
        ("422 No\n\n", false),
        ("200 OK\ncontent-type: application/json\n\nnot json", false),
    ] {
        let server = Server::answering(&[answer]).await;
        let error = ask(json!({"url": server.url("/x?token=hush")}))
            .await
            .unwrap_err();
        assert_eq!(
            matches!(error, TaskError::Retry { .. }),
            again,
            "{answer}: {error}"
        );
        assert!(!error.to_string().contains("hush"), "{error}");
    }
    let server = Server::answering(&["429 Slow Down\nretry-after: 7\n\n"]).await;
    let error = ask(json!({"url": server.url("/")})).await.unwrap_err();
    assert!(
        matches!(error, TaskError::Later { after, .. } if after.as_secs() == 7),
        "{error}"
    );
    let server = Server::answering(&["404 Not Found\n\n"]).await;
    assert!(
        ask(json!({"url": server.url("/"), "expected": [404]}))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn addresses_that_are_not_public_are_denied_however_they_are_written() {
    let port = Server::answering(&["200 OK\n\nsecret"]).await.addr.port();
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "169.254.169.254",
    ] {
        let url = format!("http://{host}:{port}/");
        let told = message(ask_allowing(&[], json!({"url": url})).await);
        assert!(
            told.contains("is not public") && told.contains("http.allow"),
            "{host}: {told}"
        );
    }
    for url in [
        "file:///etc/passwd",
        "gopher://x/",
        "ftp://x/",
        "http://user:pw@example.com/",
    ] {
        let error = ask_allowing(&[], json!({"url": url})).await.unwrap_err();
        assert!(matches!(&error, TaskError::Fail { .. }), "{url}: {error}");
        assert!(!error.to_string().contains("pw"), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_judged_like_the_first_address() {
    let inner = Server::answering(&["200 OK\n\nsecret"]).await;
    let to_inner = format!("302 Found\nlocation: http://localhost:{}/\n\n", inner.addr.port());
    let outer = Server::answering(&[&to_inner]).await;
    let allowed = format!("127.0.0.1:{}", outer.addr.port());
    let told = message(ask_allowing(&[&allowed], json!({"url": outer.url("/")})).await);
    assert!(told.contains("localhost (127.0.0.1) is not public"), "{told}");
    let outer = Server::answering(&["302 Found\nlocation: file:///etc/passwd\n\n"]).await;
    let told = message(ask(json!({"url": outer.url("/")})).await);
    assert!(told.contains("only http and https"), "{told}");
    assert!(inner.asked().is_empty());
}

#[tokio::test]
async fn redirects_keep_within_bounds_and_hand_headers_to_no_other_server() {
    let last = Server::answering(&["200 OK\n\nhere"]).await;
    let redirect = format!("302 Found\nlocation: {}\n\n", last.url("/b"));
    let first = Server::answering(&[&redirect]).await;
    let with = json!({"method": "POST", "url": first.url("/a"), "headers": {"authorization": "Bearer x"}, "text": "body"});
    assert_eq!(ask(with).await.unwrap()["text"], "here");
    let asked = last.asked().remove(0);
    assert_eq!(
        (
            asked.line.as_str(),
            asked.header("authorization"),
            asked.body.as_str()
        ),
        ("GET /b HTTP/1.1", None, "")
    );
    let round = Server::answering(&["302 Found\nlocation: /again\n\n"]).await;
    let told = message(ask(json!({"url": round.url("/"), "redirects": 3})).await);
    assert!(told.contains("302 Found"), "{told}");
    assert_eq!(round.asked().len(), 4);
}

#[tokio::test]
async fn an_answer_that_is_too_long_or_too_slow_fails_the_task() {
    let server = Server::answering(&["200 OK\n\n0123456789"]).await;
    let told = message(ask(json!({"url": server.url("/"), "max_bytes": 9})).await);
    assert!(told.contains("more than 9 bytes"), "{told}");
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", deaf.local_addr().unwrap());
    let told = message(ask(json!({"url": url, "timeout": "200ms"})).await);
    assert!(told.contains("no answer within 200ms"), "{told}");
}

#[tokio::test]
async fn a_cancelled_attempt_asks_no_longer() {
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut bench = Bench::new();
    bench.ctx.deployment.http_allow = vec!["127.0.0.1".to_owned()];
    let cancel = bench.cancel.clone();
    tokio::spawn(async move { cancel.cancel() });
    let with = json!({"url": format!("http://{}/", deaf.local_addr().unwrap())});
    assert_eq!(bench.run("http", with).await, Err(TaskError::Cancelled));
}
