#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::path::Path;

use serde_json::{Value, json};
use tidegate_engine::plugin::TaskError;

use crate::feature_build::testing::{events, features, training, world};
use crate::model::{card, folder};
use crate::testing::Bench;

async fn trained(with: Value) -> (Bench, Value) {
    let bench = Bench::new();
    let output = bench.run("train", with).await.unwrap();
    (bench, output)
}

#[tokio::test]
async fn the_same_seed_gives_the_same_model_and_another_seed_another() {
    let (_features, table) = features(&world(1), 20).await;
    let (one, first) = trained(training(&table, 1)).await;
    let (_two, second) = trained(training(&table, 1)).await;
    let (_three, other) = trained(training(&table, 2)).await;
    assert_eq!(first["model"]["sha256"], second["model"]["sha256"]);
    assert_ne!(first["model"]["sha256"], other["model"]["sha256"]);
    let losses = one.host.metric("model.two_tower.loss");
    assert_eq!(losses.len(), 12);
    assert!(losses[11].1 < losses[0].1, "{losses:?}");
    assert!(
        first["baseline_ease"]["temporal_full"]["ndcg_at_10"]
            .as_f64()
            .unwrap()
            > 0.0
    );
}

#[tokio::test]
async fn the_folder_holds_what_its_reference_says() {
    let (_features, table) = features(&world(1), 20).await;
    let (bench, output) = trained(training(&table, 1)).await;
    let path = folder(output["model"]["uri"].as_str().unwrap()).unwrap();
    let card = card(&path).unwrap();
    assert_eq!(json!(card.sha256), output["model"]["sha256"]);
    assert_eq!(json!(card.data), table["table"]["digest"]);
    assert_eq!(card.hyperparameters["retrieval"]["dim"], json!(16));
    assert_eq!(
        card.hyperparameters["retrieval"]["temperature"]
            .as_f64()
            .map(|t| t > 0.0),
        Some(true)
    );
    let recorded = bench.host.seen().artifacts.clone();
    let names: Vec<&str> = recorded.iter().map(|artifact| artifact.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "model/weights.bin",
            "model/probe.bin",
            "model/model.onnx",
            "model/model.json"
        ]
    );
    assert_eq!(recorded[0].sha256, card.sha256);
    assert_ne!(recorded[0].sha256, recorded[1].sha256);
}

/// Runs a training until `curve` has `rounds` points, then stops it.
async fn interrupted(bench: &Bench, with: Value, curve: &str, rounds: usize) -> Result<Value, TaskError> {
    let (cancel, host, curve) = (bench.cancel.clone(), bench.host.clone(), curve.to_owned());
    let stop = tokio::spawn(async move {
        while host.metric(&curve).len() < rounds {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    let ended = bench.run("train", with).await;
    stop.abort();
    ended
}

/// A second attempt of the same task run: other folders, the same checkpoints.
fn retry(checkpoints: &Path) -> Bench {
    let mut bench = Bench::new();
    bench.ctx.folders.checkpoints = checkpoints.to_owned();
    bench.ctx.attempt.attempt = 2;
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_attempt_goes_on_where_the_first_was_stopped() {
    let (_features, table) = features(&world(1), 20).await;
    let mut with = training(&table, 1);
    with["retrieval"]["epochs"] = json!(30);
    let (_whole, uninterrupted) = trained(with.clone()).await;
    for (curve, rounds, expected) in [
        ("model.two_tower.loss", 4, "resumes the model"),
        (
            "probe.two_tower.loss",
            4,
            "takes the model that an earlier attempt finished",
        ),
    ] {
        let first = Bench::new();
        assert_eq!(
            interrupted(&first, with.clone(), curve, rounds).await,
            Err(TaskError::Cancelled)
        );
        let second = retry(&first.ctx.folders.checkpoints);
        let output = second.run("train", with.clone()).await.unwrap();
        assert!(second.host.lines().contains(expected), "{}", second.host.lines());
        assert_eq!(output["model"]["sha256"], uninterrupted["model"]["sha256"]);
        assert_eq!(
            output["model"]["files"][1]["sha256"],
            uninterrupted["model"]["files"][1]["sha256"]
        );
        assert!(second.host.metric("model.two_tower.loss").len() < 30);
    }
}

#[tokio::test]
async fn a_checkpoint_of_something_else_is_left_alone() {
    let (_features, table) = features(&world(1), 20).await;
    let bench = Bench::new();
    std::fs::write(bench.ctx.folders.checkpoints.join("model.state"), b"not a state").unwrap();
    let output = bench.run("train", training(&table, 1)).await.unwrap();
    assert!(
        bench.host.lines().contains("starts anew"),
        "{}",
        bench.host.lines()
    );
    let (_clean, clean) = trained(training(&table, 1)).await;
    assert_eq!(output["model"]["sha256"], clean["model"]["sha256"]);
}

#[tokio::test]
async fn a_table_from_elsewhere_is_refused_in_words() {
    let bench = Bench::new();
    let raw = events(bench.root.path(), &world(1));
    let message = bench
        .run("train", json!({"kind": "ease", "features": raw}))
        .await
        .unwrap_err()
        .to_string();
    assert!(message.contains("it must come from `feature_build`"), "{message}");
}

#[tokio::test]
async fn hyperparameters_that_make_no_sense_are_refused() {
    let (_features, table) = features(&world(1), 20).await;
    let typo = json!({"kind": "retrieval", "features": table["table"], "retrieval": {"epoch": 3}});
    let message = Bench::new().run("train", typo).await.unwrap_err().to_string();
    assert!(message.contains("unknown field `epoch`"), "{message}");
    let lambda = json!({"kind": "ease", "features": table["table"], "ease": {"lambda": -1.0}});
    let message = Bench::new().run("train", lambda).await.unwrap_err().to_string();
    assert!(message.contains("lambda"), "{message}");
    let stray = json!({"kind": "ranking", "features": table["table"], "retrieval": {"dim": 8}});
    let message = Bench::new().run("train", stray).await.unwrap_err().to_string();
    assert_eq!(
        message,
        "`retrieval` holds hyperparameters of another kind than `ranking`"
    );
}

#[tokio::test]
async fn a_ranking_model_beats_popularity_by_both_protocols() {
    let (_features, table) = features(&world(1), 20).await;
    let with = json!({"kind": "ranking", "features": table["table"], "seed": 1, "ease": {"lambda": 50.0}});
    let (bench, output) = trained(with).await;
    for curve in ["model.trees.loss", "probe.trees.loss"] {
        let losses = bench.host.metric(curve);
        assert!(losses.len() > 3, "{curve}: {losses:?}");
        assert!(losses[losses.len() - 1].1 < losses[0].1, "{curve}: {losses:?}");
    }
    let judged = json!({"model": output["model"], "holdout": table["holdout"]});
    let output = Bench::new().run("evaluate", judged).await.unwrap();
    for protocol in ["temporal_full", "random_user_20_full"] {
        let low = output["lift"][protocol]["ndcg_at_10"]["low"].as_f64().unwrap();
        assert!(low > 0.2, "{protocol}: {output}");
    }
}
