//! What people are answered when they trigger, cancel, retry and pause.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use super::super::pause_schedule;
use super::*;
use crate::plan::Outcome;
use crate::store::tests::{Bench, task};

fn anna() -> Actor {
    Actor::person("anna", [Role::Operator])
}

async fn ask(bench: &Bench, actor: &Actor, key: Option<&str>) -> Result<Triggered, CommandError> {
    trigger(
        &bench.store,
        actor,
        ("f", Request::default(), "api", key),
        bench.now,
    )
    .await
}

#[tokio::test]
async fn who_only_reads_or_decides_starts_and_stops_nothing() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let (store, now) = (&bench.store, bench.now);
    let run = bench.run().await;
    for role in [Role::Viewer, Role::Approver] {
        let actor = Actor::person("vera", [role]);
        let refused = [
            ask(&bench, &actor, None).await.map(drop),
            cancel(store, &actor, run, now).await.map(drop),
            retry(store, &actor, (run, RetryRequest::default(), None), now)
                .await
                .map(drop),
            pause_schedule(store, &actor, (("f", "s"), true), now).await,
        ];
        for answer in refused {
            assert!(
                matches!(answer, Err(CommandError::Forbidden { .. })),
                "{answer:?}"
            );
        }
    }
    assert_eq!(bench.task_states(run).await, ["ready"]);
}

#[tokio::test]
async fn a_repeat_under_its_key_gets_the_run_of_the_first_time() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let first = ask(&bench, &anna(), Some("k")).await.unwrap();
    assert!(first.created);
    assert_eq!(
        (
            first.run.summary.state.as_str(),
            first.run.summary.requester.as_str()
        ),
        ("running", "anna")
    );
    let again = ask(&bench, &anna(), Some("k")).await.unwrap();
    assert!(!again.created);
    assert_eq!(again.run, first.run);
    let other = Request {
        params: Map::from_iter([("x".to_owned(), json!(1))]),
        ..Request::default()
    };
    let other = trigger(&bench.store, &anna(), ("f", other, "api", Some("k")), bench.now).await;
    assert!(matches!(other, Err(CommandError::KeyReused { key }) if key == "k"));
    for bad in ["", "a\nb", &"x".repeat(256)] {
        let answer = ask(&bench, &anna(), Some(bad)).await;
        assert!(matches!(answer, Err(CommandError::Invalid { .. })), "{bad:?}");
    }
}

#[tokio::test]
async fn an_unknown_flow_is_answered_with_the_nearest_one() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let answer = trigger(
        &bench.store,
        &anna(),
        ("F", Request::default(), "api", None),
        bench.now,
    )
    .await;
    assert_eq!(answer.unwrap_err().to_string(), "no flow `F`; did you mean `f`?");
    let answer = pause_schedule(&bench.store, &anna(), (("f", "nightly"), true), bench.now).await;
    assert_eq!(answer.unwrap_err().to_string(), "no schedule `f/nightly`");
}

#[tokio::test]
async fn a_run_is_stopped_once_and_then_retried() {
    let bench = Bench::with(vec![task("a", &[], 1), task("b", &[0], 1)]).await;
    let run = bench.run().await;
    let claim = bench.claim(1).await.remove(0);
    assert!(bench.report(&claim, Outcome::Succeeded).await);
    let stopped = cancel(&bench.store, &anna(), run, bench.now).await.unwrap();
    assert_eq!(stopped.summary.state, "cancelled");
    let again = cancel(&bench.store, &anna(), run, bench.now).await.unwrap_err();
    assert_eq!(again.to_string(), format!("run {run} is cancelled already"));
    let retried = retry(
        &bench.store,
        &anna(),
        (run, RetryRequest::default(), Some("r")),
        bench.now,
    )
    .await
    .unwrap();
    assert_eq!(
        (retried.run.summary.retry_of, retried.created),
        (Some(run.0), true)
    );
    assert_eq!(retried.run.summary.trigger, "retry");
    let states: Vec<&str> = retried.run.tasks.iter().map(|task| task.state.as_str()).collect();
    assert_eq!(states, ["succeeded", "ready"]);
    assert_eq!(retried.run.tasks[0].outputs, Some(json!({ "by": 0 })));
    let twice = retry(
        &bench.store,
        &anna(),
        (run, RetryRequest::default(), Some("r")),
        bench.now,
    )
    .await
    .unwrap();
    assert_eq!(
        (twice.run.summary.id, twice.created),
        (retried.run.summary.id, false)
    );
    let early = retry(
        &bench.store,
        &anna(),
        (RunId(twice.run.summary.id), RetryRequest::default(), None),
        bench.now,
    )
    .await;
    assert_eq!(
        early.unwrap_err().to_string(),
        "the run is running: only one that is over can be retried"
    );
    let none = cancel(&bench.store, &anna(), clock::new_run_id(), bench.now).await;
    assert!(matches!(none, Err(CommandError::NotFound { what: "run", .. })));
    bench.audit().await;
}
