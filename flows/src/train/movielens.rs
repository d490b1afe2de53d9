//! Quality on a real set, where it is at hand: `TIDEGATE_TEST_DATA` names the folder with `dev_mls/events.parquet`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking, and show their numbers"
)]

use std::path::PathBuf;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Int64Type, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tidegate_learn::ease::{self, Ease};
use tidegate_learn::evaluate::Options;
use tidegate_learn::interval::Bootstrap;
use tidegate_learn::item_knn::{self, ItemKnn};
use tidegate_learn::popularity::{self, Popularity};
use tidegate_learn::ranker::{self, Ranker};
use tidegate_learn::two_tower::{self, TwoTower};
use tidegate_learn::{
    Evaluation, Event, Holdout, Interactions, Metric, Recommender, Silent, Split, evaluate,
};

#[expect(clippy::disallowed_methods, reason = "a test may look for its data")]
fn movielens() -> Option<Interactions> {
    let folder = std::env::var_os("TIDEGATE_TEST_DATA").map(PathBuf::from)?;
    let file = std::fs::File::open(folder.join("dev_mls/events.parquet")).unwrap();
    let mut events = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(file)
        .unwrap()
        .build()
        .unwrap()
    {
        let batch = batch.unwrap();
        let long = |name: &str| cast(batch.column_by_name(name).unwrap(), &DataType::Int64).unwrap();
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let ts = cast(batch.column_by_name("ts").unwrap(), &micros).unwrap();
        let ts = cast(&ts, &DataType::Int64).unwrap();
        let (users, items) = (long("user_id"), long("item_id"));
        let values = batch
            .column_by_name("value")
            .unwrap()
            .as_primitive::<Float32Type>();
        for row in 0..batch.num_rows() {
            let long = |column: &arrow::array::ArrayRef| column.as_primitive::<Int64Type>().value(row);
            events.push(Event {
                user: long(&users),
                item: long(&items),
                value: values.value(row),
                ts: long(&ts) / 1_000_000,
            });
        }
    }
    Some(Interactions::from_events(&events))
}

fn judge(name: &str, model: &dyn Recommender, split: &Split) -> Evaluation {
    let options = Options {
        max_tie_share: 1.0,
        ..Options::default()
    };
    let judged = evaluate(model, split, &options).unwrap();
    println!("{name:<10} NDCG@10 {:.4}", judged.point(Metric::Ndcg).unwrap());
    judged
}

/// Every model is surely above popularity, the ranker not below what it ranks, the towers not far below their neighbours.
fn reaches_the_baselines(holdout: Holdout, validation: Holdout) {
    let Some(data) = movielens() else {
        println!("not run: TIDEGATE_TEST_DATA names no folder with dev_mls/events.parquet");
        return;
    };
    let split = Split::new(&data, holdout);
    let train = &split.train;
    let popular = judge(
        "popularity",
        &Popularity::fit(train, popularity::Params::default()),
        &split,
    );
    let knn = judge(
        "item-kNN",
        &ItemKnn::fit(train, item_knn::Params::default()),
        &split,
    );
    let ease = judge(
        "EASE",
        &Ease::fit(train, ease::Params::default(), &mut Silent).unwrap(),
        &split,
    );
    let params = ranker::Params {
        validation,
        ..Default::default()
    };
    let ranker = judge(
        "ranker",
        &Ranker::fit(train, &params, None, &mut Silent).unwrap(),
        &split,
    );
    // Half the length and a third of the passes of the defaults, which are measured in README.md.
    let params = two_tower::Params {
        validation,
        dim: 64,
        epochs: 8,
        validation_epochs: 4,
        ..Default::default()
    };
    let towers = judge(
        "two towers",
        &TwoTower::fit(train, &params, None, &mut Silent).unwrap(),
        &split,
    );
    for model in [&knn, &ease, &ranker, &towers] {
        let lift = model
            .change(&popular, Metric::Ndcg, &Bootstrap::default())
            .unwrap()
            .unwrap();
        assert!(lift.low > 0.0, "{lift:?}");
    }
    let ndcg = |model: &Evaluation| model.point(Metric::Ndcg).unwrap();
    assert!(ndcg(&ranker) > ndcg(&ease));
    assert!(ndcg(&towers) > 0.9 * ndcg(&knn));
}

#[test]
fn on_movielens_by_each_users_last_fifth() {
    let last = Holdout::UserLast { fraction: 0.2 };
    reaches_the_baselines(last, last);
}

#[test]
fn on_movielens_by_a_random_fifth() {
    let random = |seed| Holdout::RandomUser { fraction: 0.2, seed };
    reaches_the_baselines(random(1), random(97));
}
