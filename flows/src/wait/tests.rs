//! Looks, and what is remembered between them.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_engine::clock;
use tidegate_engine::plugin::{Parking, TaskError, WaitsFor};
use tidegate_test_fixtures::postgres;
use tidegate_test_fixtures::server::Server;

use crate::testing::Bench;

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.ctx.deployment.http_allow = vec!["127.0.0.1".to_owned()];
    bench
}

async fn parked(bench: &mut Bench, with: Value) -> Parking {
    match bench.run("wait", with).await {
        Err(TaskError::Parked(parking)) => {
            bench.ctx.attempt.memory = parking.memory.clone();
            *parking
        }
        other => panic!("{other:?}"),
    }
}

fn pause(parking: &Parking) -> f64 {
    parking.until.unwrap().duration_since(clock::now()).as_secs_f64()
}

#[tokio::test]
async fn an_instant_is_waited_for_to_the_microsecond_and_one_that_passed_is_there() {
    let mut bench = bench();
    let instant: Timestamp = "2099-01-01T00:00:00Z".parse().unwrap();
    let parking = parked(&mut bench, json!({"until": instant})).await;
    assert_eq!(
        (parking.waits_for, parking.until),
        (WaitsFor::Timer, Some(instant))
    );
    assert_eq!(parking.note, "waits until 2099-01-01T00:00:00Z");
    assert!(
        bench
            .run("wait", json!({"until": "2020-01-01T00:00:00Z"}))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_span_counts_from_the_first_look_whatever_comes_between() {
    let mut bench = bench();
    let first = parked(&mut bench, json!({"for": "1h"})).await;
    let again = parked(&mut bench, json!({"for": "1h"})).await;
    assert_eq!(first.until, again.until);
    let since = clock::now().checked_sub(Duration::from_secs(3601)).unwrap();
    bench.ctx.attempt.memory = json!({"since": since, "looks": 1});
    let done = bench.run("wait", json!({"for": "1h"})).await.unwrap();
    assert_eq!((&done["waited"], &done["looks"]), (&json!(3601), &json!(2)));
}

#[tokio::test]
async fn a_url_is_looked_at_with_growing_pauses_until_it_answers() {
    let server = Server::answering(&["503 Not Yet\n\n", "503 Not Yet\n\n", "200 OK\n\nlong enough"]).await;
    let mut bench = bench();
    let with = json!({"url": server.url("/ready?key=hush"), "every": "20s"});
    let first = parked(&mut bench, with.clone()).await;
    assert_eq!(first.waits_for, WaitsFor::Poll);
    assert!((19.0..=20.0).contains(&pause(&first)), "{}", pause(&first));
    let told = format!(
        "waits for http://{}/ready to answer; looked once: 503 Service Unavailable",
        server.addr
    );
    assert_eq!(first.note, told);
    let second = parked(&mut bench, with.clone()).await;
    assert!(
        (29.0..=30.0).contains(&pause(&second)) && second.note.contains("looked 2 times"),
        "{second:?}"
    );
    assert_eq!(bench.run("wait", with).await.unwrap()["looks"], 3);
}

#[tokio::test]
async fn what_cannot_be_reached_is_looked_for_again_and_what_is_denied_never() {
    let mut bench = bench();
    let parking = parked(&mut bench, json!({"url": "http://127.0.0.1:1/"})).await;
    assert!(parking.note.contains("did not answer"), "{}", parking.note);
    let denied = bench
        .run("wait", json!({"url": "http://169.254.169.254/"}))
        .await
        .unwrap_err();
    assert!(
        matches!(&denied, TaskError::Fail { message } if message.contains("not public")),
        "{denied}"
    );
}

#[cfg(feature = "ml")]
#[tokio::test]
async fn a_wait_in_vain_fails_with_what_the_last_look_saw() {
    let mut bench = bench();
    let since = clock::now().checked_sub(Duration::from_secs(61)).unwrap();
    bench.ctx.attempt.memory = json!({"since": since, "looks": 4});
    let with = json!({"object": "file:///nowhere/at/all", "timeout": "1m"});
    let failed = bench.run("wait", with).await.unwrap_err();
    let told = "waited 1m for file:///nowhere/at/all, in vain; the last of 5 looks: it is not there";
    assert_eq!(failed, TaskError::fail(told));
}

#[cfg(feature = "ml")]
#[tokio::test]
async fn an_object_is_there_once_its_file_is() {
    let mut bench = bench();
    let path = bench.root.path().join("done");
    let with = json!({"object": format!("file://{}", path.display())});
    parked(&mut bench, with.clone()).await;
    std::fs::write(&path, "").unwrap();
    assert_eq!(bench.run("wait", with).await.unwrap()["looks"], 2);
}

#[tokio::test]
async fn a_query_is_asked_until_it_says_true() {
    let database = postgres::database().await;
    let mut bench = bench();
    let with = |query: &str| json!({"query": query, "database": database.url});
    for no in ["select false", "select null::boolean", "select true where false"] {
        let parking = parked(&mut bench, with(no)).await;
        assert!(parking.note.ends_with("it says no"), "{no}: {}", parking.note);
    }
    assert!(
        bench
            .run(
                "wait",
                with("select count(*) = 0 from pg_class where relname = 'nothing'")
            )
            .await
            .is_ok()
    );
    for wrong in ["select 1", "selct", "create table t ()"] {
        let failed = bench.run("wait", with(wrong)).await.unwrap_err();
        assert!(matches!(&failed, TaskError::Fail { .. }), "{wrong}: {failed}");
    }
}

#[tokio::test]
async fn what_is_no_instant_is_named_with_the_way_out() {
    let failed = bench().run("wait", json!({"until": "tomorrow"})).await;
    let failed = failed.unwrap_err().to_string();
    assert!(
        failed.contains("\"tomorrow\" is no instant; write it like \"2026-11-29T08:00:00Z\""),
        "{failed}"
    );
}

#[tokio::test]
async fn one_thing_is_waited_for() {
    let bench = bench();
    for wrong in [
        json!({}),
        json!({"until": "2099-01-01T00:00:00Z", "for": "1h"}),
        json!({"query": "select true"}),
    ] {
        assert!(matches!(
            bench.run("wait", wrong).await,
            Err(TaskError::Fail { .. })
        ));
    }
}

#[test]
fn keys_without_effect_are_refused_before_any_run() {
    let registry = crate::registry();
    let told = |with: Value| -> Vec<String> {
        let found = registry.get("wait").unwrap().objections(&with);
        found
            .into_iter()
            .map(|o| format!("{}: {}", o.key, o.message))
            .collect()
    };
    assert_eq!(told(json!({"url": "https://x/", "expected": [404]})), [""; 0]);
    assert_eq!(
        told(json!({"until": "2099-01-01T00:00:00Z", "for": "1h"})),
        ["for: one thing is waited for"]
    );
    let idle = told(json!({"for": "1h", "headers": {}, "database": "D"}));
    assert_eq!(
        idle,
        [
            "headers: without `url` it has no effect",
            "database: without `query` it has no effect"
        ]
    );
    assert_eq!(
        told(json!({"query": "select true"})),
        ["query: it needs the key `database`"]
    );
}
