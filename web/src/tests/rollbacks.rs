//! Moving an alias back, by page and by interface.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use serde_json::{Value, json};
use tidegate_engine::clock;

use super::bench::{Bench, NASTY, Reply, Who, asking};

const API: &str = "/api/v1/models/m/aliases/production/rollback";
const PAGE: &str = "/models/m/aliases/production/rollback";

/// A house whose `m@production` was promoted to 1, 2 and 3.
async fn house() -> Bench {
    let bench = Bench::new().await;
    for statement in [
        "insert into model (name, created_at) values ('m', now())",
        "insert into model_version (model, version, source, facts, created_at)
         select 'm', version, 's3://bucket/model', '{}'::jsonb, now() from generate_series(1, 4) as version",
        "insert into model_alias (model, alias, version, moved_at) values ('m', 'production', 3, now()), ('m', 'staging', 4, now())",
        "insert into alias_move (model, alias, number, version, before, at, actor)
         select 'm', 'production', nth, nth, nullif(nth - 1, 0), now() - interval '1 day' + nth * interval '1 h', 'anna'
         from generate_series(1, 3) as nth",
        "insert into alias_move (model, alias, number, version, at, actor) values ('m', 'staging', 1, 4, now(), 'system')",
    ] {
        sqlx::query(statement).execute(bench.store.pool()).await.unwrap();
    }
    bench
}

impl Bench {
    async fn points_to(&self, version: i64) {
        for _ in 0..600 {
            let found = self.store.model_at("m", "production").await.unwrap();
            if found.unwrap().version == version {
                return;
            }
            clock::sleep(Duration::from_millis(50)).await;
        }
        panic!("production does not point to v{version} within 30 s");
    }
}

async fn keyed(bench: &Bench, (who, key): (&Who, &str), body: Value) -> Reply {
    let request = asking(Method::POST, API, Some(who))
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-csrf-token", &who.csrf)
        .header("idempotency-key", key);
    bench
        .send(request.body(Body::from(body.to_string())).unwrap())
        .await
}

/// The value of a hidden field.
fn hidden<'p>(page: &'p str, name: &str) -> &'p str {
    let field = format!("name=\"{name}\" value=\"");
    let (_, rest) = page
        .split_once(&field)
        .unwrap_or_else(|| panic!("no {name}: {page}"));
    rest.split('"').next().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_moves_an_alias_back_once_for_a_key() {
    let bench = house().await;
    let otto = bench.sign_in("otto").await;
    let body = json!({"from": 3, "reason": "answers are slow"});
    let made = keyed(&bench, (&otto, "k"), body.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let run = made.json();
    assert_eq!(
        made.header("location"),
        format!("/api/v1/runs/{}", run["id"].as_str().unwrap())
    );
    assert_eq!(
        (
            &run["flow"],
            &run["trigger"],
            &run["requester"],
            &run["params"]["version"]
        ),
        (&json!("roll-back"), &json!("api"), &json!("otto"), &json!(2))
    );
    bench.points_to(2).await;
    let again = keyed(&bench, (&otto, "k"), body.clone()).await;
    assert_eq!((again.status, &again.json()["id"]), (StatusCode::OK, &run["id"]));
    let stale = bench.post(API, &otto, body).await;
    assert_eq!(
        (stale.status, &stale.json()["now"]),
        (StatusCode::CONFLICT, &json!(2))
    );
    assert!(
        stale.text.contains("m@production points to v2 by now, not to v3"),
        "{}",
        stale.text
    );
    let known = bench.get("/api/v1/models/m", Some(&otto)).await.json();
    assert_eq!(known["moves"][0]["rollback"], json!("answers are slow"));
    assert_eq!(known["moves"][1]["rollback"], json!(null), "staging's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_go_back_is_a_problem_in_words() {
    let bench = house().await;
    let anna = bench.sign_in("anna").await;
    let never = bench
        .post(API, &anna, json!({"from": 3, "to": 4, "reason": "x"}))
        .await;
    assert_eq!(
        (never.status, &never.json()["possible"]),
        (StatusCode::CONFLICT, &json!([2, 1])),
        "{}",
        never.text
    );
    for wrong in [
        json!({"from": 3}),
        json!({"from": 3, "reason": "  "}),
        json!({"from": "3", "reason": "x"}),
        json!({"from": 3, "reason": "x", "too": 2}),
    ] {
        let reply = bench.post(API, &anna, wrong.clone()).await;
        assert_eq!(
            reply.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{wrong}: {}",
            reply.text
        );
    }
    for (place, words) in [
        (
            "/api/v1/models/n/aliases/production/rollback",
            "no model `n`; did you mean `m`?",
        ),
        (
            "/api/v1/models/m/aliases/productoin/rollback",
            "did you mean `production`?",
        ),
    ] {
        let reply = bench.post(place, &anna, json!({"from": 3, "reason": "x"})).await;
        assert!(
            reply.status == StatusCode::NOT_FOUND && reply.text.contains(words),
            "{}",
            reply.text
        );
    }
    let by_hand =
        json!({"params": {"model": "m", "alias": "production", "from": 3, "version": 4, "reason": "x"}});
    let otto = bench.sign_in("otto").await;
    let reply = bench.post("/api/v1/flows/roll-back/runs", &otto, by_hand).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_is_led_to_a_page_that_says_what_the_click_does() {
    let bench = house().await;
    let anna = bench.sign_in("anna").await;
    let model = bench.get("/models/m", Some(&anna)).await.text;
    assert!(
        model.contains(&format!("<a href=\"{PAGE}\">Roll back to v2…</a>")),
        "{model}"
    );
    assert!(
        !model.contains("aliases/staging/rollback"),
        "nothing was before: {model}"
    );
    let vera = bench.sign_in("vera").await;
    assert!(
        !bench
            .get("/models/m", Some(&vera))
            .await
            .text
            .contains("Roll back")
    );
    let looked = bench.get(PAGE, Some(&vera)).await;
    assert!(looked.status == StatusCode::OK && !looked.text.contains("type=\"submit\">Roll back"));

    let page = bench.get(PAGE, Some(&anna)).await.text;
    let chosen = "name=\"to\" value=\"2\" required checked";
    assert!(
        page.contains("moves <code>m@production</code> from v3 to the version that is chosen"),
        "{page}"
    );
    assert!(page.contains(chosen), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_click_does_nothing_more_and_one_that_is_late_is_told_so() {
    let bench = house().await;
    let anna = bench.sign_in("anna").await;
    let page = bench.get(PAGE, Some(&anna)).await.text;
    let fields = [
        ("from", hidden(&page, "from")),
        ("key", hidden(&page, "key")),
        ("to", "2"),
        ("reason", NASTY),
    ];
    let clicked = bench.form(PAGE, &anna, &fields).await;
    assert_eq!(clicked.status, StatusCode::SEE_OTHER, "{}", clicked.text);
    assert!(clicked.header("location").starts_with("/runs/"));
    bench.points_to(2).await;
    let twice = bench.form(PAGE, &anna, &fields).await;
    assert_eq!(twice.header("location"), clicked.header("location"));
    let run = bench.get(clicked.header("location"), Some(&anna)).await;
    assert!(
        run.status == StatusCode::OK && !run.text.contains(NASTY),
        "{}",
        run.text
    );

    let another = bench.get(PAGE, Some(&anna)).await.text;
    let late = [
        ("from", "3"),
        ("key", hidden(&another, "key")),
        ("to", "1"),
        ("reason", "why <not>"),
    ];
    let late = bench.form(PAGE, &anna, &late).await;
    assert_eq!(late.status, StatusCode::CONFLICT);
    for words in [
        "Nothing was done: m@production points to v2 by now",
        "name=\"from\" value=\"2\"",
        "name=\"to\" value=\"1\" required checked",
        "why &#60;not&#62;</textarea>",
    ] {
        assert!(late.text.contains(words), "{words}: {}", late.text);
    }
    let moves = bench.store.alias_moves("m").await.unwrap();
    assert_eq!(
        moves.iter().filter(|moved| moved.alias == "production").count(),
        4
    );
    let model = bench.get("/models/m", Some(&anna)).await.text;
    assert!(model.contains("a rollback: &#60;script&#62;"), "{model}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_that_is_not_ours_or_says_no_reason_moves_nothing() {
    let bench = house().await;
    let otto = bench.sign_in("otto").await;
    let stranger = Who {
        csrf: "another".to_owned(),
        ..otto.clone()
    };
    let fields = [("from", "3"), ("to", "2"), ("reason", "x")];
    assert_eq!(
        bench.form(PAGE, &stranger, &fields).await.status,
        StatusCode::FORBIDDEN
    );
    let silent = bench
        .form(PAGE, &otto, &[("from", "3"), ("to", "2"), ("reason", " ")])
        .await;
    assert!(
        silent.status == StatusCode::UNPROCESSABLE_ENTITY && silent.text.contains("say why"),
        "{}",
        silent.text
    );
    for path in [
        "/models/n/aliases/production/rollback",
        "/models/m/aliases/none/rollback",
    ] {
        assert_eq!(bench.get(path, Some(&otto)).await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(bench.store.flow("roll-back", clock::now()).await.unwrap(), None);
}
