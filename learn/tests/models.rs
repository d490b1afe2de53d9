//! What a user of the models would notice: they beat popularity, come back from their files, repeat themselves,
//! and go on where they were stopped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]
#![allow(clippy::print_stdout, reason = "the numbers are what the README shows")]

use std::ops::ControlFlow;

use tidegate_learn::evaluate::Options;
use tidegate_learn::interval::Bootstrap;
use tidegate_learn::item_knn::{self, ItemKnn};
use tidegate_learn::popularity::{self, Popularity};
use tidegate_learn::{
    Evaluation, Event, Holdout, Interactions, Metric, Model, Observer, Progress, Recommender, Silent, Split,
    TrainError, evaluate,
};
use tidegate_learn::{ease, generate, lambdamart, ranker, two_tower};

/// The last 30 days of a generated world.
fn window(params: &generate::Params) -> Interactions {
    let world = generate::world(params);
    let first = params.start + i64::from(params.days - params.days / 2) * 86_400;
    let event = |event: &generate::LearningEvent| Event {
        user: event.user_id,
        item: event.item_id,
        value: event.value.unwrap_or(0.0),
        ts: event.ts_micros / 1_000_000,
    };
    let events = world.events.iter().map(event);
    let events: Vec<Event> = events.filter(|event| event.ts >= first).collect();
    Interactions::from_events(&events)
}

fn small() -> Interactions {
    window(&generate::Params {
        users: 300,
        items: 120,
        topics: 8,
        days: 40,
        ..Default::default()
    })
}

fn judge(model: &dyn Recommender, split: &Split) -> Evaluation {
    // Popularity, the reference, has many ties by its nature.
    let options = Options {
        max_tie_share: 1.0,
        ..Options::default()
    };
    let evaluation = evaluate(model, split, &options).unwrap();
    let bootstrap = Bootstrap::default();
    let ndcg = evaluation.mean(Metric::Ndcg, &bootstrap).unwrap();
    let precision = evaluation.mean(Metric::Precision, &bootstrap).unwrap();
    println!(
        "{:<10} ndcg {:.4} [{:.4}, {:.4}]  p {:.4} [{:.4}, {:.4}]  recall {:.4}  n {}  ties {:.3}",
        model.kind(),
        ndcg.value,
        ndcg.low,
        ndcg.high,
        precision.value,
        precision.low,
        precision.high,
        evaluation.point(Metric::Recall).unwrap(),
        ndcg.n,
        evaluation.tie_share,
    );
    evaluation
}

fn holdouts() -> [(Holdout, Holdout); 2] {
    let temporal = Holdout::Temporal { fraction: 0.1 };
    [
        (temporal, temporal),
        (
            Holdout::RandomUser {
                fraction: 0.2,
                seed: 1,
            },
            Holdout::RandomUser {
                fraction: 0.2,
                seed: 97,
            },
        ),
    ]
}

#[test]
fn on_the_generated_window_the_ranker_is_above_what_it_ranks_and_clears_the_thresholds() {
    let data = window(&generate::Params::default());
    println!("{} events", data.len());
    let mut evaluations = Vec::new();
    for (holdout, validation) in holdouts() {
        let split = Split::new(&data, holdout);
        assert_eq!(split.leaks(), 0);
        println!("{holdout:?}");
        let popular = Popularity::fit(&split.train, popularity::Params::default());
        let popular = judge(&popular, &split);
        let params = ranker::Params {
            validation,
            ..Default::default()
        };
        let ranker = ranker::Ranker::fit(&split.train, &params, None, &mut Silent).unwrap();
        let retrieved = judge(ranker.retrieval(), &split);
        let ranked = judge(&ranker, &split);
        let over = |other: &Evaluation| {
            ranked
                .change(other, Metric::Ndcg, &Bootstrap::default())
                .unwrap()
                .unwrap()
        };
        assert!(over(&popular).low > 0.2, "{:?}", over(&popular));
        assert!(over(&retrieved).low > 0.0, "{:?}", over(&retrieved));
        evaluations.push(ranked);
    }
    let surely = |metric| evaluations[1].mean(metric, &Bootstrap::default()).unwrap().low;
    assert!(surely(Metric::Precision) > 0.25 && surely(Metric::Ndcg) > 0.35);
}

#[test]
fn two_towers_beat_popularity_and_come_near_their_neighbours() {
    let data = window(&generate::Params {
        users: 500,
        items: 300,
        topics: 12,
        ..Default::default()
    });
    let holdout = Holdout::RandomUser {
        fraction: 0.2,
        seed: 1,
    };
    let split = Split::new(&data, holdout);
    let popular = judge(
        &Popularity::fit(&split.train, popularity::Params::default()),
        &split,
    );
    let knn = judge(&ItemKnn::fit(&split.train, item_knn::Params::default()), &split);
    let params = two_tower::Params {
        dim: 64,
        ..Default::default()
    };
    let model = two_tower::TwoTower::fit(&split.train, &params, None, &mut Silent).unwrap();
    let towers = judge(&model, &split);
    let lift = towers
        .change(&popular, Metric::Ndcg, &Bootstrap::default())
        .unwrap()
        .unwrap();
    assert!(lift.low > 0.2, "{lift:?}");
    assert!(towers.point(Metric::Ndcg).unwrap() > 0.9 * knn.point(Metric::Ndcg).unwrap());
}

/// Stops after some rounds and keeps the last state.
struct Stopper {
    rounds: u32,
    kept: Option<Vec<u8>>,
}

impl Observer for Stopper {
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        if progress.done >= self.rounds && ["trees", "two_tower"].contains(&progress.stage) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn checkpoint(&mut self, encode: &dyn Fn() -> Vec<u8>) {
        self.kept = Some(encode());
    }
}

#[test]
fn a_stopped_training_goes_on_to_the_same_bytes_with_any_number_of_threads() {
    let data = small();
    let retrieval = two_tower::Params {
        dim: 16,
        epochs: 4,
        validation_epochs: 2,
        ..Default::default()
    };
    let forest = lambdamart::Params {
        trees: 8,
        ..Default::default()
    };
    let ranking = ranker::Params {
        forest,
        ..Default::default()
    };
    let towers = |resume: Option<&[u8]>, observer: &mut dyn Observer| {
        two_tower::TwoTower::fit(&data, &retrieval, resume, observer).map(|model| model.to_bytes())
    };
    let ranker = |resume: Option<&[u8]>, observer: &mut dyn Observer| {
        ranker::Ranker::fit(&data, &ranking, resume, observer).map(|model| model.to_bytes())
    };
    type Fit<'a> = &'a (dyn Fn(Option<&[u8]>, &mut dyn Observer) -> Result<Vec<u8>, TrainError> + Sync);
    for fit in [&towers as Fit<'_>, &ranker as Fit<'_>] {
        let whole = fit(None, &mut Silent).unwrap();
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            assert!(
                pool.install(|| fit(None, &mut Silent)).unwrap() == whole,
                "{threads} threads"
            );
        }
        let mut stopper = Stopper {
            rounds: 2,
            kept: None,
        };
        assert!(matches!(fit(None, &mut stopper), Err(TrainError::Cancelled)));
        assert!(fit(stopper.kept.as_deref(), &mut Silent).unwrap() == whole);
    }
    let mut stopper = Stopper {
        rounds: 2,
        kept: None,
    };
    towers(None, &mut stopper).unwrap_err();
    let other = two_tower::Params { seed: 1, ..retrieval };
    let refused = two_tower::TwoTower::fit(&data, &other, stopper.kept.as_deref(), &mut Silent);
    assert!(matches!(
        refused,
        Err(TrainError::CheckpointMismatch("parameters"))
    ));
}

#[test]
fn models_come_back_from_their_files_and_rank_as_before() {
    let split = Split::new(
        &small(),
        Holdout::RandomUser {
            fraction: 0.2,
            seed: 1,
        },
    );
    let retrieval = two_tower::Params {
        dim: 16,
        epochs: 2,
        validation_epochs: 1,
        ..Default::default()
    };
    let forest = lambdamart::Params {
        trees: 5,
        ..Default::default()
    };
    let ranking = ranker::Params {
        forest,
        ..Default::default()
    };
    let train = &split.train;
    let models = [
        Model::Popularity(Popularity::fit(
            train,
            popularity::Params { half_life: Some(1e6) },
        )),
        Model::Ease(ease::Ease::fit(train, ease::Params::default(), &mut Silent).unwrap()),
        Model::TwoTower(two_tower::TwoTower::fit(train, &retrieval, None, &mut Silent).unwrap()),
        Model::Ranker(Box::new(
            ranker::Ranker::fit(train, &ranking, None, &mut Silent).unwrap(),
        )),
    ];
    for model in models {
        let bytes = model.to_bytes();
        let again = Model::from_bytes(&bytes).unwrap();
        assert!(again.to_bytes() == bytes);
        assert_eq!(
            judge(model.recommender(), &split),
            judge(again.recommender(), &split)
        );
        assert!(Model::from_bytes(&bytes[..bytes.len() - 9]).is_err());
        assert_eq!(model.to_onnx().is_some(), !matches!(model, Model::Popularity(_)));
    }
}

#[test]
fn few_users_and_many_users_give_one_ease() {
    let data = small();
    let keep = data.select(|_, row| row.user < 60).compacted();
    let model = ease::Ease::fit(&keep, ease::Params { lambda: 50.0 }, &mut Silent).unwrap();
    // Doubling users and λ leaves B unchanged, and takes the other of the two ways to solve.
    let mut events = keep.events();
    let twins: Vec<Event> = events
        .iter()
        .map(|event| Event {
            user: event.user + 1_000_000,
            ..*event
        })
        .collect();
    events.extend(twins);
    let doubled = Interactions::from_events(&events);
    assert!(keep.users().len() < keep.items().len() && doubled.users().len() >= doubled.items().len());
    let other = ease::Ease::fit(&doubled, ease::Params { lambda: 100.0 }, &mut Silent).unwrap();
    for (a, b) in model.weights().iter().zip(other.weights()) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}
