//! Programs with tokens: let in by a header only, bound by the same table, and by four eyes.

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use serde_json::{Value, json};
use tidegate_engine::clock;
use tidegate_engine::command::{self, Actor, Role, TokenRequest};
use tidegate_engine::duration;
use tidegate_engine::store::freezes::NewFreeze;

use super::bench::{Bench, Reply, Who, asking};

impl Bench {
    /// A token of somebody; its id and itself.
    async fn token(&self, actor: &Actor, roles: &[Role], service: Option<&str>) -> (String, String) {
        let request = TokenRequest {
            name: "test".to_owned(),
            service: service.map(str::to_owned),
            roles: roles.to_vec(),
            expires: duration::parse("1h").unwrap(),
        };
        let made = command::create_token(&self.store, actor, request, clock::now()).await;
        let (token, secret) = made.unwrap();
        (token.id.to_string(), secret)
    }

    /// Sends JSON as a program does: a token, and nothing else.
    async fn program(&self, method: Method, path: &str, (token, body): (&str, Option<Value>)) -> Reply {
        let mut request = asking(method, path, None).header(header::AUTHORIZATION, format!("Bearer {token}"));
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_what_its_roles_open_until_it_is_revoked() {
    let bench = Bench::new().await;
    let otto = Actor::person("otto", [Role::Operator]);
    let (_, viewer) = bench.token(&otto, &[Role::Viewer], None).await;
    let (id, operator) = bench.token(&otto, &[Role::Operator], None).await;
    let runs = "/api/v1/flows/f/runs";
    let ask = async |token: &str| bench.program(Method::POST, runs, (token, Some(json!({})))).await;
    assert_eq!(ask(&viewer).await.status, StatusCode::FORBIDDEN);
    let made = ask(&operator).await;
    assert_eq!(
        made.status,
        StatusCode::CREATED,
        "no CSRF token is asked for: {}",
        made.text
    );
    assert_eq!(made.json()["requester"], "otto");
    let me = bench
        .program(Method::GET, "/api/v1/me", (&viewer, None))
        .await
        .json();
    assert_eq!((&me["name"], &me["roles"]), (&json!("otto"), &json!(["viewer"])));

    let path = format!("/api/v1/tokens/{id}/revoke");
    let revoked = bench.program(Method::POST, &path, (&operator, None)).await;
    assert_eq!(
        (revoked.status, revoked.json()["state"].as_str()),
        (StatusCode::OK, Some("revoked"))
    );
    let after = ask(&operator).await;
    assert_eq!(after.status, StatusCode::UNAUTHORIZED, "{}", after.text);
    for wrong in ["tg_", "tg_wrong", &viewer[..45], &viewer.replace("tg_", "TG_")] {
        let reply = bench.program(Method::GET, "/api/v1/me", (wrong, None)).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_counts_in_its_header_only_and_makes_no_tokens() {
    let bench = Bench::new().await;
    let ada = Actor::person("ada", [Role::Admin]);
    let (_, token) = bench.token(&ada, &[Role::Admin], None).await;
    let cookie = Who {
        token: token.clone(),
        csrf: String::new(),
    };
    let by_cookie = bench.get("/api/v1/me", Some(&cookie)).await;
    assert_eq!(by_cookie.status, StatusCode::UNAUTHORIZED);
    let in_address = bench.get(&format!("/api/v1/me?token={token}"), None).await;
    assert_eq!(in_address.status, StatusCode::BAD_REQUEST);
    assert!(!in_address.text.contains(&token));
    let wanted = json!({"name": "another", "roles": ["viewer"]});
    let another = bench
        .program(Method::POST, "/api/v1/tokens", (&token, Some(wanted.clone())))
        .await;
    assert_eq!(another.status, StatusCode::FORBIDDEN, "{}", another.text);

    let vera = bench.sign_in("vera").await;
    let made = bench.post("/api/v1/tokens", &vera, wanted).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    let me = bench
        .program(Method::GET, "/api/v1/me", (&secret, None))
        .await
        .json();
    assert_eq!(me["name"], "vera");
    let listed = bench.get("/api/v1/tokens", Some(&vera)).await;
    assert_eq!(
        listed.json()["items"].as_array().unwrap().len(),
        1,
        "only her own"
    );
    assert!(
        !listed.text.contains(&secret) && !listed.text.contains("secret"),
        "{}",
        listed.text
    );
    let more = bench
        .post(
            "/api/v1/tokens",
            &vera,
            json!({"name": "x", "roles": ["operator"]}),
        )
        .await;
    assert_eq!(more.status, StatusCode::FORBIDDEN, "{}", more.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_eyes_are_those_of_people_not_of_tokens() {
    let bench = Bench::new().await;
    let ada = Actor::person("ada", [Role::Admin]);
    let (_, asks) = bench.token(&ada, &[Role::Operator], None).await;
    let (_, decides) = bench.token(&ada, &[Role::Approver], None).await;
    let (_, service) = bench.token(&ada, &[Role::Admin], Some("ci")).await;
    let anna = Actor::person("anna", [Role::Approver]);
    let (_, annas) = bench.token(&anna, &[Role::Approver], None).await;
    for asker in [&asks, &service] {
        let made = bench
            .program(Method::POST, "/api/v1/flows/f/runs", (asker, Some(json!({}))))
            .await;
        let run = made.json()["id"].as_str().unwrap().parse().unwrap();
        let approval = bench.asks(run).await;
        let path = format!("/api/v1/approvals/{}/decision", approval.id);
        let yes = json!({"decision": "approve", "evidence": approval.digest});
        let decide = async |token: &str| {
            bench
                .program(Method::POST, &path, (token, Some(yes.clone())))
                .await
        };
        let own = decide(&decides).await;
        assert_eq!(own.status, StatusCode::FORBIDDEN, "{}", own.text);
        assert!(own.text.contains("ada asked for this run"), "{}", own.text);
        let nobody = decide(&service).await;
        assert_eq!(nobody.status, StatusCode::FORBIDDEN, "{}", nobody.text);
        assert!(nobody.text.contains("only people decide"), "{}", nobody.text);
        let other = decide(&annas).await;
        assert_eq!(other.status, StatusCode::OK, "{}", other.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_sees_people_limits_and_names_of_secrets_and_ends_a_freeze() {
    let bench = Bench::new().await;
    let ada = Actor::person("ada", [Role::Admin]);
    let now = clock::now();
    command::set_pool(&bench.store, &ada, ("training", 2), now)
        .await
        .unwrap();
    let window = NewFreeze {
        flow: None,
        from: now,
        until: now.checked_add(duration::parse("1h").unwrap()).unwrap(),
        reason: "<b>audit</b>".to_owned(),
    };
    let window = command::add_freeze(&bench.store, &ada, window, now)
        .await
        .unwrap();
    let who = bench.sign_in("ada").await;
    let page = bench.get("/admin", Some(&who)).await.text;
    for seen in [
        "otto",
        "operator",
        "training",
        "0 of 2",
        "audit",
        "href=\"/admin\" aria-current",
    ] {
        assert!(page.contains(seen), "{seen}: {page}");
    }
    assert!(!page.contains("<b>audit") && !page.contains("argon2"), "{page}");
    let otto = bench.sign_in("otto").await;
    assert!(!bench.get("/", Some(&otto)).await.text.contains("/admin"));
    let path = format!("/admin/freezes/{}/end", window.id);
    assert_eq!(bench.form(&path, &otto, &[]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(bench.form(&path, &who, &[]).await.status, StatusCode::SEE_OTHER);
    assert!(
        bench
            .get("/admin", Some(&who))
            .await
            .text
            .contains("Nothing is frozen")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_makes_a_token_on_a_page_sees_it_once_and_ends_it() {
    let bench = Bench::new().await;
    let otto = bench.sign_in("otto").await;
    let wrong = bench
        .form("/tokens", &otto, &[("name", "ci & co"), ("expires", "1h")])
        .await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        wrong.text.contains("a token needs a role") && !wrong.text.contains("ci & co"),
        "{}",
        wrong.text
    );
    let form = [
        ("name", "ci"),
        ("role", "viewer"),
        ("role", "operator"),
        ("expires", "1h"),
    ];
    let made = bench.form("/tokens", &otto, &form).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text);
    let at = made.text.find("tg_").expect("it is shown");
    let token = made.text[at..at + 46].to_owned();
    let me = bench
        .program(Method::GET, "/api/v1/me", (&token, None))
        .await
        .json();
    assert_eq!(
        (&me["name"], &me["roles"]),
        (&json!("otto"), &json!(["viewer", "operator"]))
    );
    let page = bench.get("/tokens", Some(&otto)).await.text;
    assert!(!page.contains("tg_") && page.contains("/revoke"), "{page}");
    let place = page
        .split("action=\"")
        .find(|part| part.contains("/revoke\""))
        .unwrap();
    let place = place.split('"').next().unwrap().to_owned();
    let vera = bench.sign_in("vera").await;
    assert_eq!(bench.form(&place, &vera, &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(bench.form(&place, &otto, &[]).await.status, StatusCode::SEE_OTHER);
    let after = bench.program(Method::GET, "/api/v1/me", (&token, None)).await;
    assert_eq!(after.status, StatusCode::UNAUTHORIZED);
}
