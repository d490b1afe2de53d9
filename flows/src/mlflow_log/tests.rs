#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_engine::plugin::{HostError, Registry, TaskError};
use tidegate_test_fixtures::mlflow::{Mlflow as Server, shared};
use tidegate_test_fixtures::proxy::{Fault, Proxy, Upstream};
use tidegate_test_fixtures::python;

use super::MlflowLog;
use crate::testing::Bench;

/// `y = x + x` for two columns.
const WRITE_ONNX: &str = "
import sys
from onnx import TensorProto, helper
x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ['n', 2]) for n in 'xy')
graph = helper.make_graph([helper.make_node('Add', ['x', 'x'], ['y'])], 'g', [x], [y])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
open(sys.argv[1], 'wb').write(model.SerializeToString())";

/// What a person would look at, by the Python client: for each name, the runs of that experiment and the versions of that
/// registered model.
const READ: &str = "
import json, sys
import mlflow
client = mlflow.MlflowClient()
def run(r):
    points = {k: len(client.get_metric_history(r.info.run_id, k)) for k in r.data.metrics}
    return {'id': r.info.run_id, 'name': r.info.run_name, 'status': r.info.status, 'points': points,
            'metrics': r.data.metrics, 'params': r.data.params, 'tags': r.data.tags,
            'outputs': len(r.outputs.model_outputs),
            'inputs': [[d.dataset.name, d.dataset.digest] for d in r.inputs.dataset_inputs],
            'files': [f.path for f in client.list_artifacts(r.info.run_id)]}
def all_of(name):
    e = client.get_experiment_by_name(name)
    versions = client.search_model_versions(f\"name='{name}'\")
    models = mlflow.search_logged_models([e.experiment_id], output_format='list')
    return {'runs': [run(r) for r in client.search_runs([e.experiment_id])],
        'versions': [{'version': int(v.version), 'run_id': v.run_id, 'tags': v.tags} for v in versions],
        'models': [str(m.status) for m in models]}
print(json.dumps([all_of(name) for name in sys.argv[1:]]))";

const SCORE: &str = "
import json, sys
import mlflow, numpy as np
mlflow.MlflowClient().set_registered_model_alias(sys.argv[1], 'production', sys.argv[2])
model = mlflow.pyfunc.load_model(f'models:/{sys.argv[1]}@production')
try:
    model.predict(np.array([[1, 2, 3]], dtype=np.float32)); refused = False
except mlflow.exceptions.MlflowException: refused = True
y = model.predict(np.array([[1, 2]], dtype=np.float32))['y']
print(json.dumps({'y': y.tolist(), 'refused': refused, 'inputs': model.metadata.signature.inputs.to_dict()}))";

fn registry() -> Registry {
    Registry::default().with(MlflowLog)
}

fn bench(uri: &str) -> Bench {
    let mut bench = Bench::new();
    bench.env().insert("MLFLOW_TRACKING_URI".into(), uri.into());
    bench
}

/// A new task run: what happened to another one does not count.
fn other_run(bench: &mut Bench, number: usize) {
    bench.ctx.attempt.run = format!("01931d2c-0000-7000-8000-{number:012}").parse().unwrap();
}

fn model(folder: &Path, onnx: bool) -> Value {
    std::fs::create_dir_all(folder).unwrap();
    let mut names = vec!["weights.bin"];
    std::fs::write(folder.join("weights.bin"), vec![7; 300_000]).unwrap();
    if onnx {
        python::run(WRITE_ONNX, &[folder.join("model.onnx").to_str().unwrap()], &[]);
        names.push("model.onnx");
    }
    let uri = |name: &str| format!("file://{}", folder.join(name).display());
    let file = |name: &&str| json!({"name": name, "uri": uri(name), "size": 1, "sha256": "0".repeat(64)});
    let tensor = |name: &str| json!([{"name": name, "type": "float32", "shape": [-1, 2]}]);
    json!({
        "uri": format!("file://{}", folder.display()), "kind": "ranking", "sha256": "a".repeat(64),
        "files": names.iter().map(file).collect::<Vec<_>>(),
        "signature": {"inputs": tensor("x"), "outputs": tensor("y")},
    })
}

fn input(bench: &Bench, name: &str, onnx: bool) -> Value {
    json!({
        "model": model(&bench.ctx.folders.artifacts.join("model"), onnx),
        "metrics": {"ndcg@10": {"value": 0.25, "low": 0.2, "high": 0.3}, "random": {"recall@10": 0.5}},
        "params": {"trees": 300, "loss": "ndcg"},
        "dataset": {
            "uri": "file:///data/features", "format": "parquet", "rows": 3, "bytes": 100,
            "digest": format!("sha256:{}", "b".repeat(64)), "columns": [{"name": "user", "type": "Int64", "nullable": false}],
        },
        "register_as": name, "experiment": name, "tags": {"team": "ranking"},
    })
}

async fn log(bench: &Bench, with: &Value) -> Result<Value, TaskError> {
    bench.run_from(&registry(), "mlflow_log", with.clone()).await
}

fn read(uri: &str, name: &str) -> Value {
    read_all(uri, &[name]).remove(0)
}

fn read_all(uri: &str, names: &[&str]) -> Vec<Value> {
    let env = [("MLFLOW_TRACKING_URI", uri.to_owned())];
    serde_json::from_str(&python::run(READ, names, &env)).unwrap()
}

/// One run, one version, one ready model, nothing doubled.
fn assert_once(seen: &Value, context: &str) {
    let run = &seen["runs"][0];
    assert_eq!(seen["runs"].as_array().unwrap().len(), 1, "{context}: {seen:#}");
    assert_eq!(
        seen["versions"].as_array().unwrap().len(),
        1,
        "{context}: {seen:#}"
    );
    assert_eq!(seen["models"], json!(["READY"]), "{context}");
    assert_eq!(
        (&run["status"], &run["outputs"]),
        (&json!("FINISHED"), &json!(1)),
        "{context}"
    );
    assert_eq!(seen["versions"][0]["run_id"], run["id"], "{context}");
    let points = run["points"].as_object().unwrap();
    assert!(
        points.len() == 4 && points.values().all(|n| n == 1),
        "{context}: {points:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_reads_what_was_logged_and_scores_the_model() {
    let uri = shared();
    let bench = bench(&uri);
    let output = log(&bench, &input(&bench, "logged_model", true)).await.unwrap();
    let seen = read(&uri, "logged_model");
    assert_once(&seen, "first time");
    let run = &seen["runs"][0];
    assert_eq!(run["name"], "tested-flow 2026-11-24 02:00");
    let metrics = json!({"ndcg_at_10": 0.25, "ndcg_at_10_low": 0.2, "ndcg_at_10_high": 0.3, "random/recall_at_10": 0.5});
    assert_eq!(run["metrics"], metrics);
    assert_eq!(run["params"], json!({"trees": "300", "loss": "ndcg"}));
    assert_eq!(run["inputs"], json!([["features", "b".repeat(36)]]));
    assert_eq!(run["files"], json!(["evaluation.json"]));
    assert_eq!(
        (&run["tags"]["team"], &run["tags"]["tidegate.flow"]),
        (&json!("ranking"), &json!("tested-flow"))
    );
    let tags = &seen["versions"][0]["tags"];
    assert_eq!(
        (&tags["validation_status"], &tags["sha256"]),
        (&json!("pending"), &json!("a".repeat(64)))
    );
    assert_eq!((&output["version"], &output["run_id"]), (&json!(1), &run["id"]));
    assert_eq!(
        (&output["registry"], &output["uri"]),
        (&json!("mlflow"), &json!("models:/logged_model/1"))
    );

    let scored = python::run(SCORE, &["logged_model", "1"], &[("MLFLOW_TRACKING_URI", uri)]);
    let scored: Value = serde_json::from_str(scored.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&scored["y"], &scored["refused"]),
        (&json!([[2.0, 4.0]]), &json!(true))
    );
    assert_eq!(scored["inputs"][0]["name"], "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_registry_holds_the_number_that_mlflow_gave() {
    let uri = shared();
    let mut bench = bench(&uri);
    let with = input(&bench, "numbered_model", false);
    assert_eq!(log(&bench, &with).await.unwrap()["version"], 1);
    other_run(&mut bench, 2);
    bench.host = Default::default();
    let second = Bench {
        ctx: tidegate_ctx(&bench),
        ..bench
    };
    let output = log(&second, &with).await.unwrap();
    assert_eq!(output["version"], 2);
    let seen = second.host.seen();
    let ours = &seen.models["numbered_model"][0];
    assert_eq!(
        (ours.version, ours.external_run.as_deref()),
        (2, output["run_id"].as_str())
    );
    assert_eq!(
        (ours.source.as_str(), ours.sha256.as_deref()),
        (output["source"].as_str().unwrap(), Some(&*"a".repeat(64)))
    );
    assert_eq!(ours.facts["metrics"]["ndcg_at_10"], 0.25);
}

/// The same attempt on the bench's present host.
fn tidegate_ctx(bench: &Bench) -> tidegate_engine::plugin::Ctx {
    let Bench {
        ctx, host, cancel, ..
    } = bench;
    let mut again = tidegate_engine::plugin::Ctx::new(
        ctx.attempt.clone(),
        ctx.folders.clone(),
        cancel.clone(),
        host.clone(),
    );
    again.env.clone_from(&ctx.env);
    again
}

#[tokio::test]
async fn without_a_server_the_built_in_registry_numbers_the_versions() {
    let bench = Bench::new();
    bench.host.add_version("plain", "file:///old", json!({}));
    let output = log(&bench, &input(&bench, "plain", false)).await.unwrap();
    assert_eq!(
        (&output["version"], &output["registry"]),
        (&json!(2), &json!("builtin"))
    );
    assert_eq!(
        (&output["run_id"], &output["uri"]),
        (&Value::Null, &json!("models:/plain/2"))
    );
    assert_eq!(
        log(&bench, &input(&bench, "plain", false)).await.unwrap(),
        output,
        "a repeat gives the same version"
    );
}

#[tokio::test]
async fn what_cannot_work_is_said_at_once_and_what_may_pass_is_tried_again() {
    let bench = Bench::new();
    let refused = log(&bench, &input(&bench, "a/b", false)).await;
    assert!(
        matches!(&refused, Err(TaskError::Fail { message }) if message.contains("`a/b`")),
        "{refused:?}"
    );
    let nobody = self::bench("http://127.0.0.1:9");
    let passing = log(&nobody, &input(&nobody, "m", false)).await;
    let expected = "did not answer GET experiments/get-by-name";
    assert!(
        matches!(&passing, Err(TaskError::Retry { message }) if message.contains(expected)),
        "{passing:?}"
    );
    let wrong = self::bench("sqlite:///mlruns.db");
    let lasting = log(&wrong, &input(&wrong, "m", false)).await;
    assert!(
        matches!(&lasting, Err(TaskError::Fail { message }) if message.contains("http://")),
        "{lasting:?}"
    );
    assert!(bench.host.seen().models.is_empty() && nobody.host.seen().models.is_empty());
}

/// For every request number k, a new task run whose request or reply k is lost: the second attempt puts it right.
async fn survives_loss_at_every_request(name: &str, fault: impl Fn() -> Fault) {
    let uri = shared();
    let port = uri.rsplit(':').next().unwrap().parse().unwrap();
    let mut bench = bench("unset");
    let mut with = input(&bench, name, false);
    let mut lost = Vec::new();
    for k in 0.. {
        let proxy = Proxy::start(Upstream::Port(port));
        bench.env().insert(
            "MLFLOW_TRACKING_URI".into(),
            format!("http://127.0.0.1:{}", proxy.port()),
        );
        let name = format!("{name}_{k}");
        (with["register_as"], with["experiment"]) = (json!(name), json!(name));
        other_run(&mut bench, k);
        proxy.when(" HTTP/1.1\r\n", k, fault());
        let first = log(&bench, &with).await;
        if proxy.struck() == 0 {
            assert!(first.is_ok(), "{first:?}");
            break;
        }
        let at = format!("request {k}, {}", proxy.requests()[k]);
        // A lost answer that is looked up afterwards does no harm at all.
        assert!(
            matches!(first, Ok(_) | Err(TaskError::Retry { .. })),
            "{at}: {first:?}"
        );
        log(&bench, &with).await.unwrap_or_else(|e| panic!("{at}: {e}"));
        lost.push((name, at));
    }
    assert!(lost.len() >= 20, "{lost:?} were lost");
    let names: Vec<_> = lost.iter().map(|(name, _)| name.as_str()).collect();
    for (seen, (_, at)) in read_all(&uri, &names).iter().zip(&lost) {
        assert_once(seen, at);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_request_at_any_point_leaves_one_run_and_one_version() {
    survives_loss_at_every_request("lost_request", || Fault::LoseRequest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_at_any_point_leaves_one_run_and_one_version() {
    survives_loss_at_every_request("lost_reply", || Fault::LoseReply { after: 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_at_each_call_and_started_again_keeps_one_run_and_one_version() {
    let server = std::sync::Arc::new(std::sync::Mutex::new(Server::start()));
    let port = server.lock().unwrap().port();
    let proxy = Proxy::start(Upstream::Port(port));
    let bench = bench(&format!("http://127.0.0.1:{}", proxy.port()));
    let with = input(&bench, "killed", false);
    for (killed, mark) in MARKS.into_iter().enumerate() {
        // Each attempt gets one change further than the last before the server dies under it.
        let dying = server.clone();
        proxy.when(mark, 0, Fault::Do(Box::new(move || dying.lock().unwrap().kill())));
        let result = log(&bench, &with).await;
        assert!(
            matches!(result, Err(TaskError::Retry { .. })),
            "{mark}: {result:?}"
        );
        proxy.wait_struck(killed + 1, Duration::from_secs(5));
        server.lock().unwrap().start_again();
    }
    log(&bench, &with).await.unwrap();
    assert_once(
        &read(&format!("http://127.0.0.1:{port}"), "killed"),
        "killed at each call",
    );
}

/// The calls that change something, in their order.
const MARKS: [&str; 12] = [
    "/experiments/create",
    "/runs/create",
    "mlflow/logged-models HTTP",
    "/runs/log-batch",
    "/runs/log-inputs",
    "/evaluation.json",
    "/artifacts/weights.bin",
    "PATCH /api/2.0/mlflow/logged-models/m-",
    "/runs/outputs",
    "/registered-models/create",
    "/model-versions/create",
    "/runs/update",
];

#[tokio::test(flavor = "multi_thread")]
async fn two_attempts_at_once_end_with_one_version() {
    let uri = shared();
    let (first, second) = (bench(&uri), bench(&uri));
    let with = input(&first, "twice_at_once", false);
    let (one, two) = tokio::join!(log(&first, &with), log(&second, &with));
    assert!(one.is_ok() || two.is_ok(), "{one:?} {two:?}");
    let again = log(&first, &with).await.unwrap();
    assert_once(&read(&uri, "twice_at_once"), "two attempts");
    assert_eq!(again["run_id"], read(&uri, "twice_at_once")["runs"][0]["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_our_registry_cannot_answer_the_repeat_finds_the_version() {
    let uri = shared();
    let bench = bench(&uri);
    let with = input(&bench, "ours_away", false);
    bench.host.seen().failures.push(HostError::Unavailable {
        message: "database away".into(),
    });
    assert_eq!(log(&bench, &with).await, Err(TaskError::retry("database away")));
    assert_eq!(log(&bench, &with).await.unwrap()["version"], 1);
    assert_once(&read(&uri, "ours_away"), "second attempt");
}

#[tokio::test]
async fn the_sum_of_all_batches_arrives() {
    let uri = shared();
    let bench = bench(&uri);
    let mut with = input(&bench, "many_numbers", false);
    with["metrics"] = (0..2300)
        .map(|n| (format!("m{n:04}"), json!(n)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    with["params"] = (0..230)
        .map(|n| (format!("p{n:03}"), json!("x".repeat(7000))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    log(&bench, &with).await.unwrap();
    const COUNT: &str = "
import sys, mlflow
r = mlflow.search_runs(experiment_names=[sys.argv[1]], output_format='list')[0]
print(len(r.data.metrics), len(r.data.params), sum(r.data.metrics.values()), {len(v) for v in r.data.params.values()})";
    let counted = python::run(COUNT, &["many_numbers"], &[("MLFLOW_TRACKING_URI", uri)]);
    assert_eq!(counted.trim(), "2300 230 2643850.0 {6000}");
}
