//! Who may what, for every route there is.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use serde_json::json;
use tidegate_engine::command::Role;

use super::bench::{Bench, Reply, Who, asking};
use crate::route;

/// Everyone, signed in or not.
const ANYONE: &str = "nobody vera otto anna ada";
/// Who reads.
const VIEWERS: &str = "vera otto anna ada";
/// Who triggers, cancels, retries.
const OPERATORS: &str = "otto ada";
/// Who is asked by the gate.
const APPROVERS: &str = "anna ada";

/// Written by hand: a route that is not here is one whose right nobody thought about.
const MATRIX: &[(&str, &str, &str)] = &[
    ("GET", "/healthz", ANYONE),
    ("GET", "/readyz", ANYONE),
    ("GET", "/metrics", ANYONE),
    ("GET", "/assets/tidegate.css", ANYONE),
    ("GET", "/assets/live.js", ANYONE),
    ("GET", "/assets/icon.svg", ANYONE),
    ("GET", "/favicon.ico", ANYONE),
    ("GET", "/sign-in", ANYONE),
    ("POST", "/sign-in", ANYONE),
    ("GET", "/api/openapi.json", ANYONE),
    ("GET", "/api/v1/me", VIEWERS),
    ("GET", "/api/v1/flows", VIEWERS),
    ("POST", "/api/v1/flows", "ada"),
    ("GET", "/api/v1/flows/{name}", VIEWERS),
    ("POST", "/api/v1/flows/{flow}/runs", OPERATORS),
    ("POST", "/api/v1/flows/{flow}/webhook", ANYONE),
    ("POST", "/api/v1/flows/{flow}/backfill", OPERATORS),
    ("GET", "/api/v1/runs", VIEWERS),
    ("GET", "/api/v1/runs/{id}", VIEWERS),
    ("GET", "/api/v1/runs/{id}/flow", VIEWERS),
    ("GET", "/api/v1/runs/{id}/why", VIEWERS),
    ("POST", "/api/v1/runs/{id}/confirm", APPROVERS),
    ("POST", "/api/v1/runs/{id}/decline", "otto anna ada"),
    ("POST", "/api/v1/runs/{id}/cancel", OPERATORS),
    ("GET", "/api/v1/runs/{id}/tasks/{task}/items", VIEWERS),
    ("GET", "/api/v1/runs/{id}/tasks/{task}/approval", VIEWERS),
    ("POST", "/api/v1/runs/{id}/retry", OPERATORS),
    ("GET", "/api/v1/runs/{id}/events", VIEWERS),
    ("GET", "/api/v1/runs/{id}/logs", VIEWERS),
    ("GET", "/api/v1/runs/{id}/metrics", VIEWERS),
    ("GET", "/api/v1/approvals", VIEWERS),
    ("GET", "/api/v1/approvals/{id}", VIEWERS),
    ("POST", "/api/v1/approvals/{id}/decision", APPROVERS),
    ("GET", "/api/v1/schedules", VIEWERS),
    ("POST", "/api/v1/schedules/{flow}/{name}/pause", OPERATORS),
    ("POST", "/api/v1/schedules/{flow}/{name}/resume", OPERATORS),
    ("GET", "/api/v1/flows/{flow}/gates/{task}/trial", VIEWERS),
    ("GET", "/api/v1/models", VIEWERS),
    ("GET", "/api/v1/models/{name}", VIEWERS),
    (
        "POST",
        "/api/v1/models/{name}/aliases/{alias}/rollback",
        "otto anna ada",
    ),
    ("GET", "/api/v1/workers", VIEWERS),
    ("GET", "/api/v1/freezes", VIEWERS),
    ("POST", "/api/v1/freezes", OPERATORS),
    ("POST", "/api/v1/freezes/{id}/end", OPERATORS),
    ("GET", "/api/v1/pools", VIEWERS),
    ("POST", "/api/v1/pools/{name}", "ada"),
    ("POST", "/api/v1/pools/{name}/remove", "ada"),
    ("GET", "/api/v1/tokens", VIEWERS),
    ("POST", "/api/v1/tokens", VIEWERS),
    ("POST", "/api/v1/tokens/{id}/revoke", VIEWERS),
    ("GET", "/api/v1/ledger", VIEWERS),
    ("GET", "/api/v1/ledger/verify", VIEWERS),
    ("GET", "/", VIEWERS),
    ("GET", "/runs", VIEWERS),
    ("GET", "/runs/{id}", VIEWERS),
    ("POST", "/runs/{id}/cancel", OPERATORS),
    ("POST", "/runs/{id}/retry", OPERATORS),
    ("GET", "/approvals", VIEWERS),
    ("GET", "/approvals/{id}", VIEWERS),
    ("POST", "/approvals/{id}/decision", APPROVERS),
    ("GET", "/flows", VIEWERS),
    ("GET", "/flows/{name}", VIEWERS),
    ("POST", "/flows/{name}/runs", OPERATORS),
    ("GET", "/models", VIEWERS),
    ("GET", "/models/{name}", VIEWERS),
    ("GET", "/models/{name}/aliases/{alias}/rollback", VIEWERS),
    ("POST", "/models/{name}/aliases/{alias}/rollback", "otto anna ada"),
    ("GET", "/schedules", VIEWERS),
    ("POST", "/schedules/{flow}/{name}/pause", OPERATORS),
    ("POST", "/schedules/{flow}/{name}/resume", OPERATORS),
    ("GET", "/workers", VIEWERS),
    ("GET", "/ledger", VIEWERS),
    ("GET", "/admin", "ada"),
    ("POST", "/admin/freezes/{id}/end", "ada"),
    ("GET", "/tokens", VIEWERS),
    ("POST", "/tokens", VIEWERS),
    ("POST", "/tokens/{id}/revoke", VIEWERS),
    // Last: it ends the session.
    ("POST", "/sign-out", VIEWERS),
];

#[test]
fn every_route_stands_in_the_matrix() {
    let routes: BTreeSet<(String, String)> = route::all()
        .iter()
        .map(|route| (route.method.to_string(), route.path.to_owned()))
        .collect();
    let listed: BTreeSet<(String, String)> = MATRIX
        .iter()
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(routes, listed);
}

/// Asks as a browser or program of ours would, with everything right but the right.
async fn ask(bench: &Bench, (method, path): (&str, &str), who: Option<&Who>) -> Reply {
    if method == "GET" {
        return bench.get(path, who).await;
    }
    let nobody = Who::default();
    let sender = who.unwrap_or(&nobody);
    if path.starts_with("/api/") {
        let body = match path.rsplit('/').next() {
            Some("decision") => json!({"decision": "approve", "evidence": "0".repeat(64)}),
            Some("rollback") => json!({"from": 2, "reason": "it is slow"}),
            _ => json!({}),
        };
        return bench.post(path, sender, body).await;
    }
    let fields = [
        ("decision", "approve"),
        ("evidence", "0"),
        ("from", "2"),
        ("to", "1"),
        ("reason", "it is slow"),
    ];
    bench.form(path, sender, &fields).await
}

fn is_let_in(reply: &Reply) -> bool {
    let to_the_door = reply.header("location").starts_with("/sign-in");
    !matches!(reply.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) && !to_the_door
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_may_what_the_matrix_says_and_nothing_else() {
    let bench = Bench::new().await;
    let run = bench.start("system").await;
    let approval = bench.asks(run).await;
    let mut wrong = Vec::new();
    for name in ["nobody", "vera", "otto", "anna", "ada"] {
        let who = if name == "nobody" {
            None
        } else {
            Some(bench.sign_in(name).await)
        };
        for (method, path, allowed) in MATRIX {
            let id = if path.contains("approvals") {
                approval.id
            } else {
                run.0
            };
            let place = path
                .replace("{id}", &id.to_string())
                .replace("{flow}", "f")
                .replace("{name}", "f");
            let reply = ask(&bench, (method, &place), who.as_ref()).await;
            // The form to sign in is refused for its password and a message for its signature, not for want of a right; signing out leads to
            // the door.
            let expected = allowed.split(' ').any(|allowed| allowed == name);
            let by_itself = path.starts_with("/sign-") || path.ends_with("/webhook");
            let let_in = is_let_in(&reply) || (expected && by_itself);
            if let_in != expected || reply.status == StatusCode::INTERNAL_SERVER_ERROR {
                wrong.push(format!(
                    "{name} {method} {path}: {} {}",
                    reply.status,
                    reply.header("location")
                ));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_led_to_the_door_and_back() {
    let bench = Bench::new().await;
    let api = bench.get("/api/v1/runs", None).await;
    assert_eq!(
        (api.status, api.header("content-type")),
        (StatusCode::UNAUTHORIZED, "application/problem+json")
    );
    assert_eq!(api.header("www-authenticate"), "Bearer");
    let page = bench.get("/runs?state=failed", None).await;
    assert_eq!(
        (page.status, page.header("location")),
        (StatusCode::SEE_OTHER, "/sign-in?next=%2Fruns%3Fstate%3Dfailed")
    );
    let door = bench.get(page.header("location"), None).await;
    assert!(
        door.text.contains("name=\"next\" value=\"/runs?state=failed\""),
        "{}",
        door.text
    );
    let nobody = Who::default();
    let entered = bench
        .form(
            "/sign-in",
            &nobody,
            &[
                ("name", "vera"),
                ("password", Bench::password()),
                ("next", "/runs?state=failed"),
            ],
        )
        .await;
    assert_eq!(
        (entered.status, entered.header("location")),
        (StatusCode::SEE_OTHER, "/runs?state=failed")
    );
    let cookie = entered.header("set-cookie");
    for part in ["tidegate=", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let strange = bench
        .form(
            "/sign-in",
            &nobody,
            &[
                ("name", "vera"),
                ("password", Bench::password()),
                ("next", "//evil.example"),
            ],
        )
        .await;
    assert_eq!(strange.header("location"), "/");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_and_an_unknown_name_get_the_same_answer() {
    let bench = Bench::new().await;
    let nobody = Who::default();
    let wrong = bench
        .form("/sign-in", &nobody, &[("name", "vera"), ("password", "guess")])
        .await;
    let unknown = bench
        .form("/sign-in", &nobody, &[("name", "xavi"), ("password", "guess")])
        .await;
    assert_eq!(
        (wrong.status, unknown.status),
        (StatusCode::FORBIDDEN, StatusCode::FORBIDDEN)
    );
    assert_eq!(wrong.text.replace("vera", ""), unknown.text.replace("xavi", ""));
    assert!(wrong.header("set-cookie").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_with_signing_out_and_with_signing_in_anew() {
    let bench = Bench::new().await;
    let vera = bench.sign_in("vera").await;
    let cookie = format!("tidegate={}", vera.token);
    let body = format!("name=vera&password={}", Bench::password().replace(' ', "+"));
    let request = asking(Method::POST, "/sign-in", None)
        .header(header::COOKIE, cookie)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let again = bench.send(request.body(Body::from(body)).unwrap()).await;
    assert_eq!(again.status, StatusCode::SEE_OTHER);
    let fresh = again
        .header("set-cookie")
        .split([';', '='])
        .nth(1)
        .unwrap()
        .to_owned();
    assert_ne!(fresh, vera.token, "a planted session is not taken over");
    assert_eq!(
        bench.get("/api/v1/me", Some(&vera)).await.status,
        StatusCode::UNAUTHORIZED
    );
    let fresh = Who {
        token: fresh,
        csrf: String::new(),
    };
    let me = bench.get("/api/v1/me", Some(&fresh)).await.json();
    assert_eq!(
        (me["name"].as_str(), me["roles"][0].as_str()),
        (Some("vera"), Some(Role::Viewer.as_str()))
    );
    let fresh = Who {
        csrf: me["csrf"].as_str().unwrap().to_owned(),
        ..fresh
    };
    let left = bench.form("/sign-out", &fresh, &[]).await;
    assert_eq!(
        (left.status, left.header("location")),
        (StatusCode::SEE_OTHER, "/sign-in")
    );
    assert_eq!(
        bench.get("/api/v1/me", Some(&fresh)).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_the_cookie_is_bound_to_the_host() {
    let bench = Bench::with(crate::Config {
        https: true,
        ..crate::Config::default()
    })
    .await;
    let nobody = Who::default();
    let entered = bench
        .form(
            "/sign-in",
            &nobody,
            &[("name", "vera"), ("password", Bench::password())],
        )
        .await;
    let cookie = entered.header("set-cookie");
    assert!(
        cookie.starts_with("__Host-tidegate=") && cookie.contains("; Secure"),
        "{cookie}"
    );
    assert!(!entered.header("strict-transport-security").is_empty());
    // A cookie that any neighbour under the domain could have planted does not count.
    let vera = bench.sign_in("vera").await;
    assert_eq!(
        bench.get("/api/v1/me", Some(&vera)).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_goes_into_a_header_and_never_into_an_address() {
    let bench = Bench::new().await;
    let vera = bench.sign_in("vera").await;
    let bearer = |token: &str| {
        asking(Method::GET, "/api/v1/me", None)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap()
    };
    assert_eq!(bench.send(bearer(&vera.token)).await.status, StatusCode::OK);
    assert_eq!(bench.send(bearer("wrong")).await.status, StatusCode::UNAUTHORIZED);
    for path in [
        "/api/v1/me?token=",
        "/api/v1/me?access_token=",
        "/runs?session=",
        "/?x=1&Token=",
    ] {
        let reply = bench.get(&format!("{path}{}", vera.token), Some(&vera)).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(!reply.text.contains(&vera.token));
    }
}
