#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use serde_json::{Value, json};
use tidegate_engine::plugin::{HostError, TaskError};
use tidegate_learn::popularity::{self, Popularity};
use tidegate_learn::{Event, Interactions, Model};

use crate::feature_build::testing::{Row, features, training, world};
use crate::model::{CARD, WEIGHTS, folder};
use crate::testing::Bench;

/// A built table, and what was trained on it; the benches keep the files.
struct Chain {
    _benches: [Bench; 2],
    features: Value,
    trained: Value,
}

async fn chain(rows: &[Row], with: impl Fn(&Value) -> Value) -> Chain {
    let (built, features) = features(rows, 20).await;
    let bench = Bench::new();
    let trained = bench.run("train", with(&features)).await.unwrap();
    Chain {
        _benches: [built, bench],
        features,
        trained,
    }
}

impl Chain {
    fn with(&self) -> Value {
        let baseline = "ranking_model@production";
        json!({"model": self.trained["model"], "holdout": self.features["holdout"], "baseline": baseline})
    }

    fn source(&self) -> &str {
        self.trained["model"]["uri"].as_str().unwrap()
    }
}

fn quick(features: &Value) -> Value {
    training(features, 1)
}

/// A bench whose registry has something in production.
fn with_production(source: &str) -> Bench {
    let bench = Bench::new();
    let version = bench.host.add_version("ranking_model", source, json!({}));
    bench
        .host
        .set_alias("ranking_model", "production", version.version);
    bench
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[tokio::test]
async fn the_first_ever_run_has_metrics_a_lift_and_no_change() {
    let chain = chain(&world(1), quick).await;
    let output = Bench::new().run("evaluate", chain.with()).await.unwrap();
    let headline = &output["metrics"]["precision_at_10"];
    assert_eq!(
        *headline,
        output["metrics"]["random_user_20_full"]["precision_at_10"]
    );
    assert!(
        number(&headline["low"]) < number(&headline["value"])
            && number(&headline["value"]) < number(&headline["high"])
    );
    for protocol in ["temporal_full", "random_user_20_full"] {
        let lift = &output["lift"][protocol]["ndcg_at_10"];
        assert!(number(&lift["low"]) > 0.2, "{protocol}: {lift}");
        let facts = &output["protocol"][protocol];
        assert!(
            number(&facts["n_users"]) > 90.0 && number(&facts["precision_ceiling"]) <= 1.0,
            "{facts}"
        );
    }
    assert_eq!(output["change"]["ndcg_at_10"], json!({"absent": "no_baseline"}));
    assert_eq!(output["baseline"], Value::Null);
    assert!(number(&output["ease"]["temporal_full"]["ndcg_at_10"]) > 0.0);
    assert!(number(&output["guardrails"]["coverage_at_10"]) > 0.1);
}

#[tokio::test]
async fn the_headline_chooses_what_the_plain_names_mean() {
    let chain = chain(&world(1), quick).await;
    let mut with = chain.with();
    with["headline"] = json!("temporal_full");
    let output = Bench::new().run("evaluate", with).await.unwrap();
    assert_eq!(
        output["metrics"]["ndcg_at_10"],
        output["metrics"]["temporal_full"]["ndcg_at_10"]
    );
}

#[tokio::test]
async fn production_is_scored_on_the_same_users() {
    let chain = chain(&world(1), quick).await;
    let twin = with_production(chain.source());
    let output = twin.run("evaluate", chain.with()).await.unwrap();
    assert_eq!(
        output["change"]["ndcg_at_10"],
        json!({"value": 0.0, "low": 0.0, "high": 0.0})
    );
    assert_eq!(output["baseline"]["version"], json!(1));
    assert_eq!(output["baseline"]["saw_holdout"], json!(false));
    assert_eq!(
        output["baseline"]["metrics"]["ndcg_at_10"],
        output["metrics"]["temporal_full"]["ndcg_at_10"]
    );

    let weak = self::chain(&world(1), |features| {
        let mut with = training(features, 1);
        with["retrieval"]["epochs"] = json!(1);
        with["retrieval"]["popularity"] = json!(5.0);
        with
    })
    .await;
    let output = with_production(weak.source())
        .run("evaluate", chain.with())
        .await
        .unwrap();
    let change = &output["change"]["ndcg_at_10"];
    assert!(
        number(&change["low"]) > 0.0 && number(&change["low"]) < number(&change["value"]),
        "{change}"
    );
}

#[tokio::test]
async fn a_production_model_that_cannot_be_judged_is_an_error_never_an_absence() {
    let chain = chain(&world(1), quick).await;
    let gone = with_production("file:///nowhere/at/all")
        .run("evaluate", chain.with())
        .await
        .unwrap_err();
    assert!(
        gone.to_string()
            .contains("ranking_model@production (v1) exists but can't be read"),
        "{gone}"
    );
    let remote = with_production("s3://models/1")
        .run("evaluate", chain.with())
        .await
        .unwrap_err();
    assert!(remote.to_string().contains("s3://models/1"), "{remote}");
    let elsewhere: Vec<Row> = world(1)
        .into_iter()
        .map(|row| Row {
            user: row.user + 5000,
            item: row.item + 7000,
            ..row
        })
        .collect();
    let stranger = self::chain(&elsewhere, quick).await;
    let error = with_production(stranger.source())
        .run("evaluate", chain.with())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("knows none of these"), "{error}");
}

#[tokio::test]
async fn a_registry_that_does_not_answer_is_passing_trouble() {
    let chain = chain(&world(1), quick).await;
    let bench = Bench::new();
    bench.host.seen().failures.push(HostError::Unavailable {
        message: "no connection".to_owned(),
    });
    let error = bench.run("evaluate", chain.with()).await.unwrap_err();
    assert_eq!(
        error,
        TaskError::Retry {
            message: "no connection".to_owned()
        }
    );
}

#[tokio::test]
async fn a_holdout_of_other_folds_is_refused() {
    let chain = chain(&world(1), quick).await;
    let (_bench, other) = features(&world(1), 21).await;
    let with = json!({"model": chain.trained["model"], "holdout": other["holdout"]});
    let error = Bench::new().run("evaluate", with).await.unwrap_err();
    assert!(
        error.to_string().contains("was trained on other folds"),
        "{error}"
    );
}

#[tokio::test]
async fn weights_that_changed_since_are_refused() {
    let chain = chain(&world(1), quick).await;
    let weights = folder(chain.source()).unwrap().join(WEIGHTS);
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let error = Bench::new().run("evaluate", chain.with()).await.unwrap_err();
    assert!(error.to_string().contains("has SHA-256"), "{error}");
}

#[tokio::test]
async fn a_model_that_scores_everything_alike_is_refused() {
    let chain = chain(&world(1), quick).await;
    let path = folder(chain.source()).unwrap();
    let once = |item| Event {
        user: item,
        item,
        value: 1.0,
        ts: 0,
    };
    let all_alike: Vec<Event> = (0..100).map(once).collect();
    let flat = Popularity::fit(
        &Interactions::from_events(&all_alike),
        popularity::Params { half_life: None },
    );
    std::fs::write(path.join(WEIGHTS), Model::Popularity(flat).to_bytes()).unwrap();
    let (_, sha256) = tidegate_engine::plugin::digest_file(path.join(WEIGHTS))
        .await
        .unwrap();
    let card = std::fs::read_to_string(path.join(CARD)).unwrap();
    let old = chain.trained["model"]["sha256"].as_str().unwrap();
    std::fs::write(path.join(CARD), card.replace(old, &sha256)).unwrap();
    let mut with = chain.with();
    with["model"]["sha256"] = json!(sha256);
    let error = Bench::new().run("evaluate", with).await.unwrap_err();
    assert!(error.to_string().contains("tied at their end"), "{error}");
}

#[tokio::test]
async fn small_cohorts_are_merged_and_not_judged() {
    let chain = chain(&world(1), quick).await;
    let mut with = chain.with();
    with["min_support"] = json!(10_000);
    let output = Bench::new().run("evaluate", with).await.unwrap();
    let slices = output["slices"].as_array().unwrap();
    assert_eq!(slices.len(), 2);
    assert!(
        slices
            .iter()
            .all(|slice| slice["cohort"] == json!("other") && slice["judged"] == json!(false))
    );
    let output = Bench::new().run("evaluate", chain.with()).await.unwrap();
    let active = output["slices"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["cohort"] == json!("10 to 49 events"));
    assert_eq!(active.unwrap()["judged"], json!(true));
}

#[test]
fn the_schema_knows_each_metric_and_no_other() {
    let registry = crate::registry();
    let schema = &registry.get("evaluate").unwrap().descriptor().output;
    let at = |path: &str| schema.pointer(path).is_some();
    assert!(at("/properties/metrics/properties/precision_at_10"));
    assert!(at(
        "/properties/metrics/properties/temporal_full/properties/ndcg_at_10"
    ));
    assert!(at("/properties/change/properties/precision_at_10"));
    assert!(at(
        "/properties/lift/properties/temporal_full/properties/ndcg_at_10"
    ));
    assert!(!at("/properties/metrics/properties/precison_at_10"));
    assert!(!at("/properties/metrics/additionalProperties"));
}
