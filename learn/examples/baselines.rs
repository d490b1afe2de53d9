//! Prints what each model reaches on a CSV of interactions (`user,item,value,seconds`, with a header line) or, without one,
//! on the last 30 days of the generated world.
//!
//! `cargo run -p tidegate-learn --example baselines -- [events.csv] [T10 U20 R20] [ease item_knn two_tower ranker]`; with
//! `towers_alone` it only times the two towers (see `two_tower.py`).
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program to look at, timed by the clock"
)]

use std::time::Instant;

use tidegate_learn::evaluate::Options;
use tidegate_learn::generate::{self, LearningEvent};
use tidegate_learn::interval::Bootstrap;
use tidegate_learn::item_knn::{self, ItemKnn};
use tidegate_learn::popularity::{self, Popularity};
use tidegate_learn::{
    Evaluation, Event, Holdout, Interactions, Metric, Recommender, Silent, Split, evaluate,
};
use tidegate_learn::{ease, ranker, two_tower};

type Failure = Box<dyn std::error::Error>;

const PROTOCOLS: [&str; 3] = ["T10", "U20", "R20"];

fn main() -> Result<(), Failure> {
    let (files, words): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.ends_with(".csv"));
    let data = match files.first() {
        Some(path) => read(path)?,
        None => generated(),
    };
    if words.iter().any(|word| word == "towers_alone") {
        return towers_alone(&data);
    }
    let (protocols, models): (Vec<String>, Vec<String>) = words
        .into_iter()
        .partition(|word| PROTOCOLS.contains(&word.as_str()));
    for name in PROTOCOLS {
        if protocols.is_empty() || protocols.iter().any(|wanted| wanted == name) {
            protocol(name, &data, &models)?;
        }
    }
    Ok(())
}

/// The time of what `two_tower.py` does too: five passes over all pairs, the popularity weight given.
fn towers_alone(data: &Interactions) -> Result<(), Failure> {
    let params = two_tower::Params {
        popularity: Some(0.0),
        epochs: 5,
        ..Default::default()
    };
    let start = Instant::now();
    let mut loss = 0.0;
    let mut watch = |progress: &tidegate_learn::Progress| {
        loss = progress.loss.unwrap_or(loss);
        std::ops::ControlFlow::Continue(())
    };
    two_tower::TwoTower::fit(data, &params, None, &mut watch)?;
    println!(
        "ours: {} passes in {:.1} s, last loss {loss:.3}",
        params.epochs,
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

fn read(path: &str) -> Result<Interactions, Failure> {
    let text = std::fs::read_to_string(path)?;
    let events: Result<Vec<Event>, Failure> = text.lines().skip(1).map(event).collect();
    Ok(Interactions::from_events(&events?))
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

fn generated() -> Interactions {
    let params = generate::Params::default();
    let first = params.start + i64::from(params.days - 30) * 86_400;
    let event = |event: &LearningEvent| Event {
        user: event.user_id,
        item: event.item_id,
        value: event.value.unwrap_or(0.0),
        ts: event.ts_micros / 1_000_000,
    };
    let events = generate::world(&params).events;
    let events: Vec<Event> = events
        .iter()
        .map(event)
        .filter(|event| event.ts >= first)
        .collect();
    Interactions::from_events(&events)
}

/// What is held out of all, and what of the training part where a model chooses.
fn holdouts(name: &str) -> [Holdout; 2] {
    match name {
        "T10" => [Holdout::Temporal { fraction: 0.1 }; 2],
        "U20" => [Holdout::UserLast { fraction: 0.2 }; 2],
        _ => [1, 97].map(|seed| Holdout::RandomUser { fraction: 0.2, seed }),
    }
}

fn protocol(name: &str, data: &Interactions, models: &[String]) -> Result<(), Failure> {
    let [holdout, validation] = holdouts(name);
    let split = Split::new(data, holdout);
    let train = &split.train;
    println!(
        "{name}: {} to learn from, {} held out",
        train.len(),
        split.test.len()
    );
    let mut bench = Bench {
        split: &split,
        models,
        popular: None,
        ease: None,
    };
    bench.popular = bench.timed("popularity", || {
        Ok(Popularity::fit(train, popularity::Params::default()))
    })?;
    bench.timed("item_knn", || {
        Ok(ItemKnn::fit(train, item_knn::Params::default()))
    })?;
    bench.ease = bench.timed("ease", || {
        Ok(ease::Ease::fit(train, ease::Params::default(), &mut Silent)?)
    })?;
    let towers = two_tower::Params {
        validation,
        ..Default::default()
    };
    bench.timed("two_tower", || {
        Ok(two_tower::TwoTower::fit(train, &towers, None, &mut Silent)?)
    })?;
    let ranking = ranker::Params {
        validation,
        ..Default::default()
    };
    bench.timed("ranker", || {
        let model = ranker::Ranker::fit(train, &ranking, None, &mut Silent)?;
        println!(
            "  {} trees; {:.2?}",
            model.scorer().forest().trees().len(),
            model.scorer().weights()
        );
        Ok(model)
    })?;
    Ok(())
}

struct Bench<'a> {
    split: &'a Split,
    models: &'a [String],
    popular: Option<Evaluation>,
    ease: Option<Evaluation>,
}

impl Bench<'_> {
    fn timed<M: Recommender>(
        &self,
        name: &str,
        fit: impl FnOnce() -> Result<M, Failure>,
    ) -> Result<Option<Evaluation>, Failure> {
        let wanted = self.models.is_empty() || self.models.iter().any(|model| model == name);
        if !wanted && !["popularity", "ease"].contains(&name) {
            return Ok(None);
        }
        let start = Instant::now();
        let model = fit()?;
        let seconds = start.elapsed().as_secs_f64();
        let judged = evaluate(
            &model,
            self.split,
            &Options {
                max_tie_share: 1.0,
                ..Options::default()
            },
        )?;
        let points = [Metric::Ndcg, Metric::Recall, Metric::Precision]
            .map(|metric| judged.point(metric).unwrap_or(0.0));
        print!(
            "  {name:<10} {:.4} / {:.4} / {:.4}",
            points[0], points[1], points[2]
        );
        print!(
            "  n {}  ties {:.3}  {seconds:.2} s",
            judged.users.len(),
            judged.tie_share
        );
        for (other, against) in [(&self.popular, "popularity"), (&self.ease, "EASE")] {
            let Some(other) = other else { continue };
            let change = judged.change(other, Metric::Ndcg, &Bootstrap::default())??;
            print!(
                "  over {against} {:+.3} [{:+.3}, {:+.3}]",
                change.value, change.low, change.high
            );
        }
        println!();
        Ok(Some(judged))
    }
}
