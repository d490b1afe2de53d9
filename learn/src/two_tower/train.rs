//! The training loop, its checkpoint, and the choice of β.

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::batch::{Setting, Table, step};
use super::{Params, TwoTower};
use crate::data::{Csr, Interactions};
use crate::evaluate::{Options, evaluate};
use crate::metrics::Metric;
use crate::model_file::{FileError, Reader, Writer};
use crate::progress::{Observer, Progress, TrainError, report};
use crate::random;
use crate::split::Split;

/// What β is chosen from.
const CHOICES: [f32; 9] = [0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0, 1.25, 1.5];
const CHECKPOINT: &str = "two_tower_checkpoint";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    params: Params,
    /// Digest of the pairs.
    data: u64,
    /// β, once known.
    popularity: Option<f32>,
    epoch: u32,
}

pub(super) fn fit(
    data: &Interactions,
    params: &Params,
    resume: Option<&[u8]>,
    observer: &mut dyn Observer,
) -> Result<TwoTower, TrainError> {
    check(data, params)?;
    let data = data.compacted();
    let mut run = Run::new(&data, *params);
    if let Some(bytes) = resume {
        run.restore(bytes)?;
    }
    let popularity = match run.state.popularity.or(params.popularity) {
        Some(popularity) => popularity,
        None => choose_popularity(&data, params, observer)?,
    };
    run.state.popularity = Some(popularity);
    run.train("two_tower", observer)?;
    Ok(run.finish(&data, popularity))
}

fn check(data: &Interactions, params: &Params) -> Result<(), TrainError> {
    let bounds = [
        ("dim", "from 1 to 4096", (1..=4096).contains(&params.dim)),
        (
            "epochs",
            "at least 1",
            params.epochs > 0 && params.validation_epochs > 0,
        ),
        ("batch", "from 2 to 65536", (2..=65536).contains(&params.batch)),
        (
            "learning_rate",
            "positive",
            params.learning_rate > 0.0 && params.learning_rate.is_finite(),
        ),
        (
            "temperature",
            "from 0.01 to 10",
            (0.01..=10.0).contains(&params.temperature),
        ),
        (
            "correction",
            "from 0 to 1",
            (0.0..=1.0).contains(&params.correction),
        ),
        (
            "popularity",
            "finite",
            params.popularity.is_none_or(f32::is_finite),
        ),
    ];
    if let Some((name, expected, _)) = bounds.into_iter().find(|bound| !bound.2) {
        return Err(TrainError::Parameter { name, expected });
    }
    if data.is_empty() {
        Err(TrainError::TooLittleData("no events"))
    } else {
        Ok(())
    }
}

/// Trains on all but a validation slice and takes the β that ranks that slice best.
fn choose_popularity(
    data: &Interactions,
    params: &Params,
    observer: &mut dyn Observer,
) -> Result<f32, TrainError> {
    let split = Split::new(data, params.validation);
    let train = split.train.compacted();
    if train.is_empty() || split.test.is_empty() {
        return Ok(1.0 - params.correction);
    }
    let mut run = Run::new(
        &train,
        Params {
            epochs: params.validation_epochs,
            ..*params
        },
    );
    run.keep = false;
    run.train("two_tower_validation", observer)?;
    let mut model = run.finish(&train, 0.0);
    let mut best = (f64::MIN, 1.0 - params.correction);
    let any_ties = Options {
        max_tie_share: 1.0,
        ..Options::default()
    };
    for choice in CHOICES {
        model.popularity = choice;
        let evaluation = evaluate(&model, &split, &any_ties).map_err(|_| TrainError::Diverged {
            stage: "two_tower_validation",
            quantity: "score",
        })?;
        let ndcg = evaluation.point(Metric::Ndcg).unwrap_or(0.0);
        if ndcg > best.0 {
            best = (ndcg, choice);
        }
    }
    Ok(best.1)
}

struct Run {
    state: State,
    pairs: Vec<(u32, u32)>,
    seen: Csr,
    log_share: Vec<f32>,
    users: Table,
    items: Table,
    /// Whether checkpoints are offered.
    keep: bool,
}

impl Run {
    fn new(data: &Interactions, params: Params) -> Self {
        let seen = Csr::from_interactions(data);
        let pairs: Vec<(u32, u32)> = (0..seen.height() as u32)
            .flat_map(|user| seen.row(user).iter().map(move |item| (user, *item)))
            .collect();
        let total = pairs.len() as f32;
        let log_share = data
            .popularity()
            .iter()
            .map(|count| (*count as f32 / total).ln())
            .collect();
        let users = Table::random(data.users().len(), params.dim, params.seed, 1);
        let items = Table::random(data.items().len(), params.dim, params.seed, 2);
        let state = State {
            params,
            data: digest(data, &pairs),
            popularity: None,
            epoch: 0,
        };
        Self {
            state,
            pairs,
            seen,
            log_share,
            users,
            items,
            keep: true,
        }
    }

    fn train(&mut self, stage: &'static str, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let params = self.state.params;
        while self.state.epoch < params.epochs {
            let loss = self.epoch() / self.pairs.len() as f64;
            if !loss.is_finite() {
                return Err(TrainError::Diverged {
                    stage,
                    quantity: "loss",
                });
            }
            self.state.epoch += 1;
            if self.keep {
                observer.checkpoint(&|| self.checkpoint());
            }
            report(
                observer,
                Progress {
                    stage,
                    done: self.state.epoch,
                    total: params.epochs,
                    loss: Some(loss),
                },
            )?;
        }
        Ok(())
    }

    fn epoch(&mut self) -> f64 {
        let params = self.state.params;
        let mut order = self.pairs.clone();
        order.shuffle(&mut random::stream(
            params.seed,
            &[3, u64::from(self.state.epoch)],
        ));
        let setting = Setting {
            seen: &self.seen,
            log_share: &self.log_share,
            scale: 1.0 / params.temperature,
            correction: params.correction,
            learning_rate: params.learning_rate * decay(self.state.epoch, params.epochs),
        };
        let before = self.state.epoch * order.len().div_ceil(params.batch) as u32;
        let mut loss = 0.0;
        for (at, batch) in order.chunks(params.batch).enumerate() {
            loss += step(
                (&mut self.users, &mut self.items),
                batch,
                &setting,
                before + at as u32 + 1,
            );
        }
        loss
    }

    fn finish(self, data: &Interactions, popularity: f32) -> TwoTower {
        TwoTower {
            users: data.users().as_ref().clone(),
            items: data.items().as_ref().clone(),
            dim: self.state.params.dim,
            scale: 1.0 / self.state.params.temperature,
            popularity,
            user_vectors: self.users.weights,
            item_vectors: self.items.weights,
            log_share: self.log_share,
        }
    }

    fn checkpoint(&self) -> Vec<u8> {
        let writer = Writer::new(CHECKPOINT, serde_json::json!(self.state));
        let writer = writer
            .section("user_weights", &self.users.weights)
            .section("user_first", &self.users.first);
        let writer = writer.section("user_second", &self.users.second);
        let writer = writer
            .section("item_weights", &self.items.weights)
            .section("item_first", &self.items.first);
        writer.section("item_second", &self.items.second).finish()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let reader = Reader::of_kind(bytes, CHECKPOINT)?;
        let state: State = reader.meta()?;
        if state.params != self.state.params {
            return Err(TrainError::CheckpointMismatch("parameters"));
        }
        if state.data != self.state.data {
            return Err(TrainError::CheckpointMismatch("data"));
        }
        for (table, name) in [(&mut self.users, "user"), (&mut self.items, "item")] {
            table.restore(&reader, name)?;
        }
        self.state = state;
        Ok(())
    }
}

impl Table {
    fn restore(&mut self, reader: &Reader<'_>, name: &str) -> Result<(), FileError> {
        let count = self.weights.len();
        self.weights = reader.sized(&format!("{name}_weights"), count)?;
        self.first = reader.sized(&format!("{name}_first"), count)?;
        self.second = reader.sized(&format!("{name}_second"), count)?;
        Ok(())
    }
}

/// Learning rate falls linearly to a tenth.
fn decay(epoch: u32, epochs: u32) -> f32 {
    1.0 - 0.9 * epoch as f32 / epochs as f32
}

fn digest(data: &Interactions, pairs: &[(u32, u32)]) -> u64 {
    let ids = data
        .users()
        .ids()
        .iter()
        .chain(data.items().ids())
        .map(|id| *id as u64);
    let pairs = pairs
        .iter()
        .map(|pair| u64::from(pair.0) << 32 | u64::from(pair.1));
    ids.chain(pairs)
        .fold(0, |state, value| random::mix(state ^ value))
}
