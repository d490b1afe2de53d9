//! Prints what each model reaches on a CSV of interactions: `user,item,value,seconds`, with a header line.
//!
//! `cargo run -p tidegate-learn --example baselines -- events.csv`
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program to look at, timed by the clock"
)]

use std::time::Instant;

use tidegate_learn::evaluate::Options;
use tidegate_learn::interval::Bootstrap;
use tidegate_learn::item_knn::{self, ItemKnn};
use tidegate_learn::popularity::{self, Popularity};
use tidegate_learn::{
    Evaluation, Event, Holdout, Interactions, Metric, Recommender, Silent, Split, evaluate,
};
use tidegate_learn::{ease, ranker, two_tower};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let path = std::env::args().nth(1).ok_or("which CSV?")?;
    let text = std::fs::read_to_string(path)?;
    let events = text
        .lines()
        .skip(1)
        .map(event)
        .collect::<Result<Vec<Event>, Failure>>()?;
    let data = Interactions::from_events(&events);
    let temporal = Holdout::Temporal { fraction: 0.1 };
    let last = Holdout::UserLast { fraction: 0.2 };
    protocol("T10", &data, temporal, temporal)?;
    protocol("U20", &data, last, last)?;
    let random = |seed| Holdout::RandomUser { fraction: 0.2, seed };
    protocol("R20", &data, random(1), random(2))
}

fn event(line: &str) -> Result<Event, Failure> {
    let mut parts = line.split(',');
    let mut next = || parts.next().ok_or("a line is too short");
    let (user, item) = (next()?.parse()?, next()?.parse()?);
    Ok(Event {
        user,
        item,
        value: next()?.parse()?,
        ts: next()?.parse()?,
    })
}

fn protocol(name: &str, data: &Interactions, holdout: Holdout, validation: Holdout) -> Result<(), Failure> {
    let split = Split::new(data, holdout);
    let train = &split.train;
    println!(
        "{name}: {} to learn from, {} held out",
        train.len(),
        split.test.len()
    );
    let popular = timed(&split, None, || {
        Ok(Popularity::fit(train, popularity::Params::default()))
    })?;
    timed(&split, Some(&popular), || {
        Ok(ItemKnn::fit(train, item_knn::Params::default()))
    })?;
    let retrieval = two_tower::Params {
        validation,
        ..Default::default()
    };
    let ranking = ranker::Params {
        retrieval,
        ..Default::default()
    };
    timed(&split, Some(&popular), || {
        Ok(ease::Ease::fit(train, ease::Params::default(), &mut Silent)?)
    })?;
    timed(&split, Some(&popular), || {
        Ok(two_tower::TwoTower::fit(train, &retrieval, None, &mut Silent)?)
    })?;
    timed(&split, Some(&popular), || {
        Ok(ranker::Ranker::fit(train, &ranking, None, &mut Silent)?)
    })?;
    Ok(())
}

fn timed<M: Recommender>(
    split: &Split,
    popular: Option<&Evaluation>,
    fit: impl FnOnce() -> Result<M, Failure>,
) -> Result<Evaluation, Failure> {
    let start = Instant::now();
    let model = fit()?;
    let seconds = start.elapsed().as_secs_f64();
    let judged = evaluate(&model, split, &Options::default())?;
    let points =
        [Metric::Ndcg, Metric::Recall, Metric::Precision].map(|metric| judged.point(metric).unwrap_or(0.0));
    print!(
        "  {:<10} {:.4} / {:.4} / {:.4}",
        model.kind(),
        points[0],
        points[1],
        points[2]
    );
    print!("  n {}  {seconds:.2} s", judged.users.len());
    if let Some(popular) = popular {
        let lift = judged.change(popular, Metric::Ndcg, &Bootstrap::default())??;
        print!(
            "  over popularity {:+.3} [{:+.3}, {:+.3}]",
            lift.value, lift.low, lift.high
        );
    }
    println!();
    Ok(judged)
}
