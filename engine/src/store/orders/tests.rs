//! Orders on a real PostgreSQL: keys, lost answers, retries.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tidegate_test_fixtures::postgres::Cluster;
use tidegate_test_fixtures::proxy::{Fault, Proxy, Upstream};

use super::*;
use crate::clock;
use crate::graph::{Flow, ParamKind, ParamSpec, Task};
use crate::id::VersionHash;
use crate::plan::Outcome;
use crate::state::Reason;
use crate::state::run::RunState;
use crate::store::flows::NewVersion;
use crate::store::tests::{Bench, flow, task};

fn order(key: Option<(&str, Value)>, what: What) -> Order {
    Order {
        id: clock::new_run_id(),
        actor: "anna".to_owned(),
        key: key.map(|(key, request)| Key::new("test", "anna", (key, &request))),
        what,
    }
}

fn of_flow(name: &str) -> What {
    What::Flow {
        name: name.to_owned(),
        params: Map::new(),
        trigger: "manual",
        no_cache: false,
        emergency: None,
    }
}

async fn runs(bench: &Bench) -> i64 {
    sqlx::query_scalar("select count(*) from run")
        .fetch_one(bench.store.pool())
        .await
        .unwrap()
}

fn made(placed: Placed) -> RunId {
    match placed {
        Placed::Run { id, created: true } => id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_key_makes_one_run_however_often_it_is_used() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let ask = |request: Value| order(Some(("k", request)), of_flow("f"));
    let place = |order: Order| bench.store.place(order, bench.now);
    let all = futures::future::join_all((0..5).map(|_| place(ask(json!({"x": 1, "y": [1.0]}))))).await;
    let all: Vec<Placed> = all.into_iter().map(Result::unwrap).collect();
    let created = all
        .iter()
        .filter(|p| matches!(p, Placed::Run { created: true, .. }))
        .count();
    assert_eq!((created, runs(&bench).await), (1, 1), "{all:?}");
    let Placed::Run {
        id: first,
        created: false,
    } = place(ask(json!({"y": [1], "x": 1}))).await.unwrap()
    else {
        panic!("the same request, written in another way, is a repeat");
    };
    assert!(
        all.iter()
            .all(|p| matches!(p, Placed::Run { id, .. } if *id == first))
    );
    assert_eq!(place(ask(json!({"x": 2}))).await.unwrap(), Placed::KeyReused);
    let mut other = ask(json!({"x": 2}));
    other.key = Some(Key::new("test", "ben", ("k", &json!({"x": 2}))));
    assert_ne!(
        made(place(other).await.unwrap()),
        first,
        "people's keys never meet"
    );
    bench.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_orders_at_once_each_gets_its_own_answer() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let wrong = What::Flow {
        name: "f".to_owned(),
        params: Map::from_iter([("dayz".to_owned(), json!(1))]),
        trigger: "api",
        no_cache: false,
        emergency: None,
    };
    let orders = (0..60).map(|nth| match nth % 6 {
        0 => order(None, of_flow("g")),
        1 => order(None, wrong.clone()),
        2 => order(Some(("once", json!({}))), of_flow("f")),
        3 if nth > 9 => order(Some(("once", json!({"other": nth}))), of_flow("f")),
        _ => order(None, of_flow("f")),
    });
    let placing = orders.map(|order| async {
        let id = order.id;
        (id, bench.store.place(order, bench.now).await.unwrap())
    });
    let placed = futures::future::join_all(placing).await;
    let mut once = Vec::new();
    for (nth, (id, placed)) in placed.into_iter().enumerate() {
        match (nth % 6, placed) {
            (0, Placed::NoFlow) | (1, Placed::Params(_)) => {}
            (2, Placed::Run { id: of, created }) => once.push((of, created, of == id)),
            (3, Placed::KeyReused) if nth > 9 => {}
            (
                _,
                Placed::Run {
                    id: made,
                    created: true,
                },
            ) if made == id => {}
            (_, other) => panic!("order {nth}: {other:?}"),
        }
    }
    assert!(once.iter().all(|(run, ..)| *run == once[0].0), "{once:?}");
    assert_eq!(
        once.iter().filter(|(_, created, own)| *created && *own).count(),
        1
    );
    // `max_active` is 1, however many come together.
    let states: Vec<(String, i64)> =
        sqlx::query_as("select state::text, count(*) from run group by state order by state")
            .fetch_all(bench.store.pool())
            .await
            .unwrap();
    assert_eq!(states, [("queued".to_owned(), 22), ("running".to_owned(), 1)]);
    bench.audit().await;
}

#[tokio::test]
async fn what_was_refused_leaves_its_key_free() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let place = |name: &str| {
        bench
            .store
            .place(order(Some(("k", json!(name))), of_flow(name)), bench.now)
    };
    assert_eq!(place("g").await.unwrap(), Placed::NoFlow);
    made(place("f").await.unwrap());
    let mut wrong = order(None, of_flow("f"));
    wrong.what = What::Flow {
        name: "f".to_owned(),
        params: Map::from_iter([("dayz".to_owned(), json!(1))]),
        trigger: "api",
        no_cache: false,
        emergency: None,
    };
    let Placed::Params(problems) = bench.store.place(wrong, bench.now).await.unwrap() else {
        panic!("no such param");
    };
    assert_eq!(problems[0].param, "dayz");
    assert_eq!(runs(&bench).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_makes_one_run() {
    let cluster = Cluster::start();
    let proxy = Proxy::start(Upstream::Socket(cluster.socket()));
    let url = format!(
        "postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable",
        proxy.port()
    );
    let bench = Bench::at(&url, vec![task("a", &[], 1)]).await;
    for (nth, key) in [Some(("k", json!({}))), None].into_iter().enumerate() {
        proxy.when("COMMIT", 0, Fault::LoseReply { after: 0 });
        let order = order(key, of_flow("f"));
        let id = order.id;
        assert_eq!(made(bench.store.place(order, bench.now).await.unwrap()), id);
        assert_eq!((proxy.struck(), runs(&bench).await), (nth + 1, nth as i64 + 1));
    }
    bench.audit().await;
}

/// A run whose `a` and `d` succeeded in their second attempts, with an artifact each, and whose `b` failed.
async fn failed_run(bench: &Bench) -> RunId {
    let run = bench.run().await;
    assert_eq!(bench.claim(9).await.len(), 2);
    bench.expire_leases().await;
    bench.store.reap(bench.now).await.unwrap();
    for claim in bench.claim(9).await {
        let sql = "insert into artifact values ($1, $2, $3, 'file', 's3://x/y', 1, repeat('0', 64), now())";
        let made = sqlx::query(sql)
            .bind(claim.run.0)
            .bind(claim.idx as i32)
            .bind(claim.epoch);
        made.execute(bench.store.pool()).await.unwrap();
        assert!(bench.report(&claim, Outcome::Succeeded).await);
    }
    let failing = bench.claim(1).await.remove(0);
    let fails = Outcome::Failed {
        reason: Reason::Error,
        again: false,
    };
    assert!(bench.report(&failing, fails).await);
    assert_eq!(bench.state(run).await, RunState::Failed);
    run
}

fn plainly(run: RunId) -> Again {
    Again {
        run,
        from: None,
        params: Map::new(),
    }
}

#[tokio::test]
async fn a_retry_keeps_what_had_succeeded_and_runs_the_rest() {
    let tasks = vec![
        task("a", &[], 1),
        Task {
            with: json!({ "by": "{{ tasks.a.by }}" }),
            ..task("b", &[0], 1)
        },
        task("c", &[1], 1),
        task("d", &[], 1),
    ];
    let mut bench = Bench::with(tasks).await;
    let first = failed_run(&bench).await;
    let begun = bench.now;
    bench.now += std::time::Duration::from_secs(3_600);
    let again = order(Some(("again", json!(first))), What::Retry(plainly(first)));
    let second = made(bench.store.place(again, bench.now).await.unwrap());
    let expected = ["succeeded carried", "ready", "blocked", "succeeded carried"];
    assert_eq!(bench.task_states(second).await, expected);
    let claim = bench.claim(9).await.remove(0);
    let around = bench.store.surroundings(&claim).await.unwrap();
    assert_eq!(
        around.outputs.get("a"),
        Some(&json!({ "by": 0 })),
        "what it needs is there"
    );
    assert_eq!(
        around.facts.created_at, begun,
        "its `run.time` is that of the first try"
    );
    assert_eq!(
        (around.facts.trigger.as_str(), around.facts.requester.as_str()),
        ("retry", "anna")
    );
    let artifacts: Vec<i32> = sqlx::query_scalar(
        "select a.idx from artifact a join task_run t using (run, idx, epoch) where run = $1 order by 1",
    )
    .bind(second.0)
    .fetch_all(bench.store.pool())
    .await
    .unwrap();
    assert_eq!(artifacts, [0, 3], "artifacts belong to the carried epochs");
    assert!(bench.report(&claim, Outcome::Succeeded).await);
    let last = bench.claim(1).await.remove(0);
    assert!(bench.report(&last, Outcome::Succeeded).await);
    assert_eq!(bench.state(second).await, RunState::Succeeded);
    bench.audit().await;
}

#[tokio::test]
async fn only_what_ended_without_success_is_retried() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let run = bench.run().await;
    let retry = |run| {
        bench
            .store
            .place(order(None, What::Retry(plainly(run))), bench.now)
    };
    let state = "running".to_owned();
    assert_eq!(retry(run).await.unwrap(), Placed::NotRetried { state });
    let claim = bench.claim(1).await.remove(0);
    assert!(bench.report(&claim, Outcome::Succeeded).await);
    let state = "succeeded".to_owned();
    assert_eq!(retry(run).await.unwrap(), Placed::NotRetried { state });
    assert_eq!(retry(clock::new_run_id()).await.unwrap(), Placed::NoRun);
}

#[tokio::test]
async fn a_retry_of_a_tick_keeps_its_time_and_not_its_place() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let at: Timestamp = "2026-06-01T02:00:00Z".parse().unwrap();
    let mut new = bench.new_run();
    new.tick = Some(("nightly".to_owned(), at));
    let first = new.id;
    bench.store.create_run(new, bench.now).await.unwrap();
    bench
        .store
        .cancel_run(first, Reason::Requested, bench.now)
        .await
        .unwrap();
    let retry = order(None, What::Retry(plainly(first)));
    made(bench.store.place(retry, bench.now).await.unwrap());
    let claim = bench.claim(1).await.remove(0);
    let around = bench.store.surroundings(&claim).await.unwrap();
    assert_eq!(around.facts.scheduled_for, Some(at));
    bench.audit().await;
}

/// `a` ← `b`, `c` by itself, with a param `days` of 1; a run in which all succeeded.
async fn succeeded_run() -> (Bench, RunId) {
    let bench = Bench::with(vec![task("a", &[], 1), task("b", &[0], 1), task("c", &[], 1)]).await;
    let days = ParamSpec {
        kind: ParamKind::Integer {
            min: Some(1),
            max: None,
        },
        default: Some(json!(1)),
        description: None,
    };
    let flow = Flow {
        params: indexmap::IndexMap::from([("days".to_owned(), days)]),
        ..flow(vec![task("a", &[], 1), task("b", &[0], 1), task("c", &[], 1)])
    };
    let version = NewVersion {
        flow,
        hash: VersionHash("d".repeat(64)),
        path: "f.toml".to_owned(),
        source: String::new(),
        actor: "test".to_owned(),
    };
    bench.store.apply_version(version, bench.now).await.unwrap();
    let mut new = bench.new_run();
    new.params.insert("days".to_owned(), json!(1));
    let id = new.id;
    bench.store.create_run(new, bench.now).await.unwrap();
    loop {
        let claims = bench.claim(9).await;
        if claims.is_empty() {
            break;
        }
        for claim in claims {
            assert!(bench.report(&claim, Outcome::Succeeded).await);
        }
    }
    assert_eq!(bench.state(id).await, RunState::Succeeded);
    (bench, id)
}

#[tokio::test]
async fn a_retry_from_a_task_runs_it_and_what_rests_on_it_and_nothing_else() {
    let (bench, first) = succeeded_run().await;
    let from = |name: &str| {
        let from = Some(name.to_owned());
        let again = Again {
            from,
            ..plainly(first)
        };
        bench.store.place(order(None, What::Retry(again)), bench.now)
    };
    let second = made(from("b").await.unwrap());
    let expected = ["succeeded carried", "ready", "succeeded carried"];
    assert_eq!(bench.task_states(second).await, expected);
    let third = made(from("a").await.unwrap());
    assert_eq!(bench.task_states(third).await[2], "succeeded carried");
    let known = ["a", "b", "c"].map(str::to_owned).to_vec();
    let name = "d".to_owned();
    assert_eq!(from("d").await.unwrap(), Placed::NoTask { name, known });
    bench.audit().await;
}

#[tokio::test]
async fn other_params_carry_nothing_unless_a_task_is_named() {
    let (bench, first) = succeeded_run().await;
    let with = |days: Value, from: Option<&str>| {
        let again = Again {
            from: from.map(str::to_owned),
            params: Map::from_iter([("days".to_owned(), days)]),
            ..plainly(first)
        };
        bench.store.place(order(None, What::Retry(again)), bench.now)
    };
    let second = made(with(json!(2), None).await.unwrap());
    assert_eq!(bench.task_states(second).await, ["ready", "blocked", "ready"]);
    let run = bench.store.run(second, bench.now).await.unwrap().unwrap();
    assert_eq!(
        (run.params["days"].clone(), run.summary.requester),
        (json!(2), "anna".to_owned())
    );
    let third = made(with(json!(3), Some("b")).await.unwrap());
    assert_eq!(bench.task_states(third).await[0], "succeeded carried");
    assert!(matches!(with(json!(0), None).await.unwrap(), Placed::Params(_)));
    assert!(matches!(with(json!("x"), None).await.unwrap(), Placed::Params(_)));
    bench.audit().await;
}
