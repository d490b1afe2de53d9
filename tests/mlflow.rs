//! The nightly retrain against a real MLflow, with its events on an S3 server: what a data scientist finds there afterwards.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_test_fixtures::postgres::database;
use tidegate_test_fixtures::s3::S3;
use tidegate_test_fixtures::{mlflow, python};

use crate::house::{House, tidegate};
use crate::lake;

/// The whole run, beside a compiler.
const RUN: Duration = Duration::from_secs(150);

/// What MLflow's own client reads of the model, and what the model in production answers for two candidates.
const READ: &str = "
import json, math, sys
import mlflow, numpy as np
client = mlflow.MlflowClient()
version = client.get_model_version_by_alias('ranking_model', 'production')
staging = client.get_model_version_by_alias('ranking_model', 'staging')
run = client.get_run(version.run_id)
experiment = client.get_experiment(run.info.experiment_id)
model = mlflow.pyfunc.load_model('models:/ranking_model@production')
specs = list(model.metadata.signature.inputs)
def ask(seed):
    made = np.random.default_rng(seed)
    def fill(spec):
        shape = [2 if size == -1 else size for size in spec.shape]
        return made.integers(0, 2, shape).astype(spec.type)
    given = {spec.name: fill(spec) for spec in specs}
    return model.predict(given if len(given) > 1 else given[specs[0].name])
answer, other = ask(1), ask(2)
name = list(answer)[0]
print(json.dumps({
    'experiment': experiment.name, 'status': run.info.status, 'metrics': run.data.metrics, 'params': run.data.params,
    'version': int(version.version), 'staging': int(staging.version),
    'aliases': sorted(client.get_registered_model('ranking_model').aliases),
    'runs': len(client.search_runs([run.info.experiment_id])),
    'versions': len(client.search_model_versions(\"name='ranking_model'\")),
    'inputs': [spec.name for spec in specs], 'outputs': list(answer),
    'finite': bool(all(np.isfinite(value).all() for value in answer.values())),
    'differ': bool((np.asarray(answer[name]) != np.asarray(other[name])).any()),
    'size': int(np.asarray(answer[name]).size),
}))";

#[tokio::test]
async fn the_retrain_of_events_on_s3_is_read_and_scored_by_the_python_client() {
    let (database, uri, s3) = (database().await, mlflow::shared(), S3::moto_shared());
    let events = format!("s3://{}/events", s3.bucket());
    lake::on_s3(&events, &s3.env()).await;
    let tidegate = tidegate()
        .envs(s3.env())
        .env("TIDEGATE_VAR_EVENTS", &events)
        .env("MLFLOW_TRACKING_URI", &uri);
    let mut house = House::on(&database.url, tidegate).await;
    house.must(&["apply", lake::PLAYBOOK]);
    house.start_worker();
    let run = house.start("train-ranking-model", json!({})).await;
    house.reaches(run, "waiting", RUN).await;
    house.become_approver("anna");
    house.must(&["approve", &run.to_string(), "--comment", "looks right"]);
    let ended = house.reaches(run, "succeeded", RUN).await;

    let printed = python::run(READ, &[], &[("MLFLOW_TRACKING_URI", uri)]);
    let seen: Value = serde_json::from_str(printed.trim().lines().last().unwrap()).unwrap();
    println!("{seen:#}");
    assert_eq!(seen["experiment"], "train-ranking-model");
    assert_eq!(seen["status"], "FINISHED");
    assert_eq!((&seen["version"], &seen["staging"]), (&json!(1), &json!(1)));
    assert_eq!((&seen["runs"], &seen["versions"]), (&json!(1), &json!(1)));
    let aliases = seen["aliases"].to_string();
    assert!(
        aliases.contains("production") && aliases.contains("staging"),
        "{aliases}"
    );
    let params = seen["params"].as_object().unwrap();
    assert!(!params.is_empty());
    // The numbers that opened the gate are the numbers that MLflow shows.
    let evaluated = crate::house::task(&ended, "evaluate").outputs.clone().unwrap();
    for metric in ["precision_at_10", "ndcg_at_10"] {
        let ours = evaluated["metrics"][metric]["value"].as_f64().unwrap();
        let theirs = seen["metrics"][metric].as_f64().unwrap();
        assert!((ours - theirs).abs() < 1e-9, "{metric}: {ours} and {theirs}");
    }
    assert_eq!(
        (&seen["finite"], &seen["differ"]),
        (&json!(true), &json!(true)),
        "scores: {seen:#}"
    );
    assert_eq!(seen["size"], 2, "a score for each of two candidates: {seen:#}");
    house.audit().await;
}
