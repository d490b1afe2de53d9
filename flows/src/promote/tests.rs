#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_engine::command::ROLL_BACK;
use tidegate_engine::plugin::{HostError, NewVersion, Registry, TaskError};
use tidegate_engine::spec::{self, SourceFile};
use tidegate_test_fixtures::mlflow::shared;
use tidegate_test_fixtures::proxy::{Fault, Proxy, Upstream};
use tidegate_test_fixtures::python;

use super::Promote;
use crate::testing::{Bench, TestHost};

/// Registers three versions of each model in MLflow.
const VERSIONS: &str = "
import sys, mlflow
client = mlflow.MlflowClient()
for name in sys.argv[1:]:
    client.create_registered_model(name)
    for _ in range(3): client.create_model_version(name, 's3://bucket/model')";

const ALIAS: &str = "
import sys, mlflow
mlflow.MlflowClient().set_registered_model_alias(*sys.argv[1:4])";

/// Aliases, and each version's stage and validation tag, of each model as the Python client sees them.
const READ: &str = "
import json, sys, warnings
warnings.simplefilter('ignore')
import mlflow
client = mlflow.MlflowClient()
def all_of(name):
    versions = client.search_model_versions(f\"name='{name}'\")
    return {'aliases': {k: int(v) for k, v in client.get_registered_model(name).aliases.items()},
        'stages': {v.version: v.current_stage for v in versions},
        'passed': sorted(int(v.version) for v in versions if v.tags.get('validation_status') == 'passed')}
print(json.dumps([all_of(name) for name in sys.argv[1:]]))";

struct World {
    name: String,
    uri: String,
    host: Arc<TestHost>,
}

impl World {
    /// A model with three versions, in MLflow and in our registry.
    fn new(name: &str) -> Self {
        let world = Self {
            name: name.to_owned(),
            uri: shared(),
            host: Arc::default(),
        };
        world.python(VERSIONS, &[name]);
        world.register();
        world
    }

    fn register(&self) {
        for _ in 0..3 {
            self.host.add_version(&self.name, "s3://bucket/model", json!({}));
        }
    }

    fn python(&self, script: &str, args: &[&str]) -> String {
        python::run(script, args, &[("MLFLOW_TRACKING_URI", self.uri.clone())])
    }

    fn bench(&self) -> Bench {
        let mut bench = Bench::with_host(self.host.clone());
        bench.env().insert("MLFLOW_TRACKING_URI".into(), self.uri.clone());
        bench
    }

    /// Another task run's attempt.
    fn other_bench(&self) -> Bench {
        let mut bench = self.bench();
        bench.ctx.attempt.run = "01931d2c-0000-7000-8000-000000000002".parse().unwrap();
        bench
    }

    async fn promote(&self, version: i64, alias: &str) -> Result<Value, TaskError> {
        promote(
            &self.bench(),
            json!({"model": self.name, "version": version, "alias": alias}),
        )
        .await
    }

    fn seen(&self) -> Value {
        let all: Value = serde_json::from_str(self.python(READ, &[&self.name]).trim()).unwrap();
        all[0].clone()
    }

    fn ours(&self, alias: &str) -> Option<i64> {
        self.host
            .seen()
            .aliases
            .get(&(self.name.clone(), alias.to_owned()))
            .copied()
    }

    fn nothing_is_held(&self) -> bool {
        self.host.seen().locked.is_empty()
    }
}

async fn promote(bench: &Bench, with: Value) -> Result<Value, TaskError> {
    bench
        .run_from(&Registry::default().with(Promote), "promote", with)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn alias_stages_and_tags_move_together_and_the_python_client_sees_it() {
    let world = World::new("moved_model");
    world.promote(1, "staging").await.unwrap();
    let first = world.promote(1, "production").await.unwrap();
    assert_eq!(
        (&first["from"], &first["to"], &first["registry"]),
        (&Value::Null, &json!(1), &json!("mlflow"))
    );
    world.promote(2, "staging").await.unwrap();
    let second = world.promote(2, "production").await.unwrap();
    assert_eq!((&second["from"], &second["to"]), (&json!(1), &json!(2)));
    let expected = json!({
        "aliases": {"staging": 2, "production": 2, "previous": 1},
        "stages": {"1": "Archived", "2": "Production", "3": "None"},
        "passed": [1, 2],
    });
    assert_eq!(world.seen(), expected);
    assert_eq!(
        (world.ours("production"), world.ours("previous")),
        (Some(2), Some(1))
    );
    assert!(world.nothing_is_held());
    assert_eq!(world.host.seen().ledger.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_leaves_a_production_version_in_production() {
    let world = World::new("both_model");
    world.promote(1, "production").await.unwrap();
    world.promote(1, "staging").await.unwrap();
    assert_eq!(world.seen()["stages"]["1"], "Production");
    let never = json!({"model": "both_model", "version": 3, "alias": "production", "stages": "never"});
    promote(&world.bench(), never).await.unwrap();
    assert_eq!(
        world.seen()["stages"],
        json!({"1": "Production", "2": "None", "3": "None"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_there_already_stays_and_nothing_is_recorded() {
    let world = World::new("same_model");
    world.promote(2, "production").await.unwrap();
    world.host.seen().moves.clear();
    let bench = world.other_bench();
    let output = promote(
        &bench,
        json!({"model": "same_model", "version": 2, "alias": "production"}),
    )
    .await
    .unwrap();
    assert_eq!((&output["from"], &output["to"]), (&json!(2), &json!(2)));
    assert!(
        bench
            .host
            .lines()
            .contains("same_model@production points to v2 already"),
        "{}",
        bench.host.lines()
    );
    assert!(world.nothing_is_held() && world.host.seen().moves.is_empty());
    assert_eq!(world.ours("previous"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_moved_outside_stops_the_move_and_names_both() {
    let world = World::new("drifted_model");
    world.promote(1, "production").await.unwrap();
    world.python(ALIAS, &["drifted_model", "production", "3"]);
    let refused = world.promote(2, "production").await;
    let Err(TaskError::WorldMoved { message }) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        message.contains("points to v3 in MLflow, but to v1 here"),
        "{message}"
    );
    assert!(message.contains("back to v1, or to v2 itself"), "{message}");
    assert_eq!(
        (world.ours("production"), world.nothing_is_held()),
        (Some(1), true)
    );
    assert_eq!(world.seen()["aliases"], json!({"production": 3}));
    let bench = world.bench();
    let preview = Registry::default().with(Promote);
    let with = json!({"model": "drifted_model", "version": 2, "alias": "production"});
    let sentence = preview
        .get("promote")
        .unwrap()
        .preview(&bench.ctx, with)
        .await
        .unwrap()
        .sentence
        .unwrap();
    assert!(
        sentence.ends_with("will be refused as long as MLflow's alias points to v3"),
        "{sentence}"
    );
    // The way out that the message names.
    world.python(ALIAS, &["drifted_model", "production", "2"]);
    assert_eq!(world.promote(2, "production").await.unwrap()["from"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_promotions_at_once_one_wins() {
    let world = World::new("raced_model");
    world.promote(1, "production").await.unwrap();
    let (one, two) = (world.bench(), world.other_bench());
    let with = |version: i64| json!({"model": "raced_model", "version": version, "alias": "production"});
    let (a, b) = tokio::join!(promote(&one, with(2)), promote(&two, with(3)));
    let (won, lost) = if a.is_ok() { (a, b) } else { (b, a) };
    let won = won.unwrap();
    assert_eq!(won["from"], 1);
    let busy = matches!(&lost, Err(TaskError::Retry { message }) if message.contains("being moved"));
    assert!(
        busy || matches!(lost, Err(TaskError::WorldMoved { .. })),
        "{lost:?}"
    );
    assert_eq!(world.ours("production"), won["to"].as_i64());
    assert_eq!(world.seen()["aliases"]["production"], won["to"]);
}

/// For every request number k, request or reply k of a promotion is lost: the repeat ends as if nothing had happened.
async fn survives_loss_at_every_request(name: &str, fault: impl Fn() -> Fault) {
    let names: Vec<_> = (0..12).map(|k| format!("{name}_{k}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let uri = shared();
    let env = [("MLFLOW_TRACKING_URI", uri.clone())];
    let port = uri.rsplit(':').next().unwrap().parse().unwrap();
    python::run(VERSIONS, &names, &env);
    let mut lost = Vec::new();
    for (k, name) in names.iter().enumerate() {
        let world = World {
            name: (*name).to_owned(),
            uri: uri.clone(),
            host: Arc::default(),
        };
        world.register();
        world.promote(1, "production").await.unwrap();
        world.host.seen().moves.clear();
        let proxy = Proxy::start(Upstream::Port(port));
        let mut bench = world.bench();
        bench.env().insert(
            "MLFLOW_TRACKING_URI".into(),
            format!("http://127.0.0.1:{}", proxy.port()),
        );
        proxy.when(" HTTP/1.1\r\n", k, fault());
        let with = json!({"model": name, "version": 2, "alias": "production"});
        let first = promote(&bench, with.clone()).await;
        if proxy.struck() == 0 {
            assert!(first.is_ok(), "{first:?}");
            break;
        }
        let at = format!("request {k}, {}", proxy.requests()[k]);
        assert!(matches!(first, Err(TaskError::Retry { .. })), "{at}: {first:?}");
        // The lock of a dead attempt ends with its lease.
        world.host.seen().locked.clear();
        let second = promote(&bench, with)
            .await
            .unwrap_or_else(|e| panic!("{at}: {e}"));
        assert_eq!((&second["from"], &second["to"]), (&json!(1), &json!(2)), "{at}");
        assert_eq!(world.host.seen().moves.len(), 1, "{at}");
        lost.push(at);
    }
    assert!((7..12).contains(&lost.len()), "{lost:?} were lost");
    let seen: Vec<Value> = serde_json::from_str(python::run(READ, &names, &env).trim()).unwrap();
    for (seen, at) in seen.iter().zip(&lost) {
        assert_eq!(seen["aliases"], json!({"production": 2, "previous": 1}), "{at}");
        assert_eq!(
            seen["stages"],
            json!({"1": "Archived", "2": "Production", "3": "None"}),
            "{at}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_request_at_any_point_is_made_good_by_the_repeat() {
    survives_loss_at_every_request("lost_request_model", || Fault::LoseRequest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_at_any_point_is_made_good_by_the_repeat() {
    survives_loss_at_every_request("lost_reply_model", || Fault::LoseReply { after: 0 }).await;
}

#[tokio::test]
async fn without_mlflow_our_registry_moves_alone() {
    let world = World {
        name: "ours".into(),
        uri: String::new(),
        host: Arc::default(),
    };
    world.register();
    let output = world.promote(3, "production").await.unwrap();
    assert_eq!(
        (&output["from"], &output["registry"]),
        (&Value::Null, &json!("builtin"))
    );
    assert_eq!(world.promote(1, "production").await.unwrap()["from"], 3);
    assert_eq!(
        (world.ours("production"), world.ours("previous")),
        (Some(1), Some(3))
    );
}

#[tokio::test]
async fn the_preview_says_what_a_click_does_and_what_it_rests_on() {
    let world = World {
        name: "ours".into(),
        uri: String::new(),
        host: Arc::default(),
    };
    world.register();
    let preview = async |version: i64| {
        let with = json!({"model": "ours", "version": version, "alias": "production"});
        let registry = Registry::default().with(Promote);
        registry
            .get("promote")
            .unwrap()
            .preview(&world.bench().ctx, with)
            .await
            .unwrap()
    };
    assert_eq!(
        preview(1).await.sentence.unwrap(),
        "sets ours@production, which is new, to v1"
    );
    world.host.set_alias("ours", "production", 2);
    let moved = preview(3).await;
    assert_eq!(moved.sentence.unwrap(), "moves ours@production from v2 to v3");
    assert_eq!(moved.world, json!({"alias": "ours@production", "version": 2}));
    assert_eq!(
        preview(2).await.sentence.unwrap(),
        "leaves ours@production at v2, where it points already"
    );
}

#[tokio::test]
async fn what_cannot_be_promoted_is_refused_in_words() {
    let world = World {
        name: "ours".into(),
        uri: String::new(),
        host: Arc::default(),
    };
    world.register();
    let fails = async |version: i64, alias: &str, words: &str| {
        let refused = world.promote(version, alias).await;
        assert!(
            matches!(&refused, Err(TaskError::Fail { message }) if message.contains(words)),
            "{refused:?}"
        );
    };
    fails(9, "production", "ours has no version 9").await;
    for alias in ["latest", "v7", "previous", "Latest"] {
        fails(1, alias, "has a meaning of its own").await;
    }
    fails(1, "to prod", "is no alias").await;
    world.host.seen().failures.push(HostError::Stale);
    assert_eq!(world.promote(1, "production").await, Err(TaskError::Cancelled));
    assert!(world.nothing_is_held() && world.ours("production").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_mlflow_does_not_have_moves_nothing() {
    let world = World::new("short_model");
    let new = NewVersion {
        model: "short_model".into(),
        version: Some(8),
        source: "s3://x".into(),
        sha256: None,
        external_run: None,
        facts: json!({}),
    };
    world.bench().ctx.register_model(new).await.unwrap();
    let refused = world.promote(8, "production").await;
    assert!(
        matches!(&refused, Err(TaskError::Fail { message }) if message.contains("version=8")),
        "{refused:?}"
    );
    assert_eq!(
        (world.ours("production"), &world.seen()["aliases"]),
        (None, &json!({}))
    );
}

#[tokio::test]
async fn what_must_point_somewhere_is_moved_from_there_only() {
    let world = World {
        name: "ours".into(),
        uri: String::new(),
        host: Arc::default(),
    };
    world.register();
    world.host.set_alias("ours", "production", 3);
    let back = |from: i64| json!({"model": "ours", "version": 2, "alias": "production", "from": from});
    let refused = promote(&world.bench(), back(1)).await;
    assert!(
        matches!(&refused, Err(TaskError::Fail { message })
            if message == "ours@production points to v3 by now, not to v1 as it must: nothing was moved"),
        "{refused:?}"
    );
    assert_eq!(world.ours("production"), Some(3));
    let registry = Registry::default().with(Promote);
    let bench = world.bench();
    let preview = registry.get("promote").unwrap().preview(&bench.ctx, back(1));
    assert_eq!(
        preview.await.unwrap().sentence.unwrap(),
        "moves ours@production from v1 to v2; will be refused as long as the alias points to v3"
    );
    let moved = promote(&world.bench(), back(3)).await.unwrap();
    assert_eq!((&moved["from"], &moved["to"]), (&json!(3), &json!(2)));
    let again = promote(&world.bench(), back(3)).await.unwrap();
    assert_eq!(again, moved, "a repeat of the same task run finds it done");
}

#[test]
fn the_flow_that_rolls_back_checks_as_the_program_carries_it() {
    let source = SourceFile {
        built_in: true,
        ..SourceFile::new("built-in/roll-back.toml", ROLL_BACK)
    };
    let checked = spec::check(&source, &crate::registry(), &|_| None).unwrap();
    assert_eq!(checked.flow.name.as_str(), tidegate_engine::rollback::FLOW);
    let theirs = spec::check(
        &SourceFile {
            built_in: false,
            ..source
        },
        &crate::registry(),
        &|_| None,
    );
    assert_eq!(theirs.unwrap_err()[0].code, "reserved-name");
}
