#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking, and show their numbers"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_engine::plugin::Artifact;

use super::write_lake;
use crate::feature_build::testing::SQL;
use crate::testing::{Bench, TestHost};

/// Noon: the last day is half over.
const NOW: &str = "2026-11-24T12:00:00Z";
/// When the model that is in production by now was trained.
const BEFORE: &str = "2026-11-14T02:00:00Z";

/// The tasks of the playbook's ranking flow up to its gate, on a lake; the benches keep the files.
struct Retrain {
    _benches: Vec<Bench>,
    pulled: Value,
    trained: Value,
    evaluated: Value,
}

#[expect(clippy::disallowed_methods, reason = "shows how long each task takes")]
async fn retrain(root: &str, until: &str, host: &Arc<TestHost>) -> Retrain {
    let mut benches = Vec::new();
    let mut run = async |plugin: &str, with: Value| {
        let bench = Bench::with_host(host.clone());
        let started = std::time::Instant::now();
        let output = bench.run(plugin, with).await.unwrap();
        println!("{plugin:<14} {:.1} s", started.elapsed().as_secs_f64());
        benches.push(bench);
        output
    };
    let list = format!("{root}/gdpr/deleted_users.txt");
    let pulled = run(
        "data_pull",
        json!({"source": root, "days": 30, "until": until, "deletion_list": list}),
    )
    .await;
    let features = run(
        "feature_build",
        json!({"events": pulled["events"], "sql": SQL, "params": {"complete_weight": 3.0}}),
    )
    .await;
    let trained = run(
        "train",
        json!({"kind": "ranking", "features": features["table"], "seed": 1}),
    )
    .await;
    let judge = json!({"model": trained["model"], "holdout": features["holdout"], "baseline": "ranking_model@production"});
    let evaluated = run("evaluate", judge).await;
    Retrain {
        _benches: benches,
        pulled,
        trained,
        evaluated,
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Whether the rules of the staging gate hold with their whole interval.
fn clears_staging(evaluated: &Value) {
    let precision = &evaluated["metrics"]["precision_at_10"];
    assert!(number(&precision["low"]) > 0.25 + 0.01, "{precision}");
    let lift = &evaluated["lift"]["temporal_full"]["ndcg_at_10"];
    assert!(number(&lift["low"]) > 0.2, "{lift}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nightly_retrain_of_the_demo_clears_staging_with_its_whole_interval() {
    let folder = tempfile::tempdir().unwrap();
    let root = format!("file://{}/lake", folder.path().display());
    let written = write_lake(&root, NOW.parse().unwrap(), &BTreeMap::new())
        .await
        .unwrap();
    assert!(written.rows >= 200_000 && written.partitions == 60, "{written:?}");
    let host: Arc<TestHost> = Arc::default();

    let first = retrain(&root, BEFORE, &host).await;
    clears_staging(&first.evaluated);
    assert_eq!(
        first.evaluated["change"]["precision_at_10"],
        json!({"absent": "no_baseline"})
    );
    let source = first.trained["model"]["uri"].as_str().unwrap();
    let version = host.add_version("ranking_model", source, json!({}));
    host.set_alias("ranking_model", "production", version.version);

    let second = retrain(&root, NOW, &host).await;
    println!("{:#}", second.evaluated["metrics"]);
    clears_staging(&second.evaluated);
    let change = &second.evaluated["change"]["precision_at_10"];
    assert!(number(&change["low"]) >= -0.1, "{change}");
    for name in ["duplicates", "late", "erased"] {
        assert!(number(&second.pulled[name]) > 0.0, "{name}: {}", second.pulled);
    }
    let recorded: Vec<Artifact> = host.seen().artifacts.clone();
    assert!(
        recorded
            .iter()
            .any(|artifact| artifact.name == "model/weights.bin")
    );
}
