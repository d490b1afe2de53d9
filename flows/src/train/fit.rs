//! The computing of `train`: two fits and the baseline, each kept for a retry once it is done.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use tidegate_engine::plugin::{Ctx, Level};
use tidegate_learn::ease::Ease;
use tidegate_learn::evaluate::Options;
use tidegate_learn::ranker::Ranker;
use tidegate_learn::two_tower::TwoTower;
use tidegate_learn::{Evaluation, Holdout, Interactions, Metric, Model, Split, TrainError, evaluate};

use super::watch::{Watch, publish};
use super::{EaseBaseline, EaseScores, Failure, Input, Output};
use crate::feature_build::folds::{Cuts, Folds, Named, RANDOM_SHARE, TEMPORAL_SHARE};
use crate::model::{Kind, ModelRef};

/// Seed of the slice on which a probe chooses its popularity weight.
const VALIDATION_SEED: u64 = 97;

/// What the computing gave.
pub(super) struct Fitted {
    /// What was trained.
    pub kind: Kind,
    /// Trained on the temporal fold.
    pub model: Model,
    /// Trained on the random fold.
    pub probe: Model,
    /// Where the data was cut.
    pub cuts: Cuts,
    /// Digest of the table.
    pub data: String,
    /// All of them.
    pub hyperparameters: Value,
    /// Of the training.
    pub seed: u64,
    /// The baseline.
    pub ease: Option<EaseBaseline>,
    curves: BTreeMap<String, f64>,
    seconds: f64,
    size: Size,
}

struct Size {
    rows: u64,
    users: u64,
    items: u64,
}

impl Fitted {
    /// The task's outputs.
    pub fn into_output(self, model: ModelRef) -> Output {
        let Size { rows, users, items } = self.size;
        let (baseline_ease, metrics, seconds) = (self.ease, self.curves, self.seconds);
        Output {
            model,
            baseline_ease,
            metrics,
            seconds,
            rows,
            users,
            items,
        }
    }
}

/// All of it, on the calling thread and both cores.
pub(super) fn fit(ctx: &Ctx, input: &Input) -> Result<Fitted, Failure> {
    input.belong_together()?;
    let started = now();
    let folds = Folds::read(&input.features)?;
    let [temporal, random] = Named::ALL.map(|protocol| folds.split(protocol));
    let size = size_of(&temporal.train);
    ctx.info(format!(
        "learns from {} interactions of {} users and {} items",
        size.rows, size.users, size.items
    ));
    let mut work = Work {
        ctx,
        input,
        curves: BTreeMap::new(),
    };
    let like_temporal = Holdout::Temporal {
        fraction: TEMPORAL_SHARE,
    };
    let like_random = Holdout::RandomUser {
        fraction: RANDOM_SHARE,
        seed: VALIDATION_SEED,
    };
    let [learnt, probed] = [&temporal, &random].map(|split| split.train.compacted());
    let model = work.model(&Fold {
        name: "model",
        number: 0,
        data: learnt,
        validation: like_temporal,
    })?;
    let probe = work.model(&Fold {
        name: "probe",
        number: 1,
        data: probed,
        validation: like_random,
    })?;
    let ease = work.baseline(&temporal, &random)?;
    let elapsed = now().duration_since(started);
    Ok(Fitted {
        kind: input.kind,
        model,
        probe,
        data: input.features.digest.clone(),
        hyperparameters: input.hyperparameters(),
        seed: input.seed,
        ease,
        curves: work.curves,
        seconds: elapsed.as_secs_f64(),
        size,
        cuts: folds.cuts,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long the computing took is a measurement, no decision rests on it"
)]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

fn size_of(data: &Interactions) -> Size {
    let present = data.compacted();
    Size {
        rows: data.len() as u64,
        users: present.users().len() as u64,
        items: present.items().len() as u64,
    }
}

struct Work<'a> {
    ctx: &'a Ctx,
    input: &'a Input,
    curves: BTreeMap<String, f64>,
}

/// What one fit learns from.
struct Fold {
    name: &'static str,
    number: u64,
    data: Interactions,
    /// How a part of the data is held out where the training chooses something: like the test that is to come.
    validation: Holdout,
}

/// Fits of a task: model, probe, and the baseline twice.
const FITS: u64 = 4;

impl Work<'_> {
    /// One fit, or what an earlier attempt finished of it.
    fn model(&mut self, fold: &Fold) -> Result<Model, Failure> {
        let finished = self.finished(fold.name);
        if let Some(model) = std::fs::read(&finished)
            .ok()
            .and_then(|bytes| Model::from_bytes(&bytes).ok())
        {
            self.ctx.info(format!(
                "takes the {} that an earlier attempt finished",
                fold.name
            ));
            return Ok(model);
        }
        let mut watch = Watch::new(self.ctx, fold.name, fold.number, FITS);
        let resume = watch.resume();
        let model = match self.train(fold, resume.as_deref(), &mut watch) {
            Err(TrainError::Checkpoint(_) | TrainError::CheckpointMismatch(_)) if resume.is_some() => {
                self.ctx.log(
                    Level::Warn,
                    format!("the checkpoint of the {} does not fit; starts anew", fold.name),
                );
                self.train(fold, None, &mut watch)
            }
            other => other,
        };
        let model = model.map_err(|error| Failure::Train(fold.name, error))?;
        publish(&finished, &model.to_bytes())?;
        watch.forget();
        self.curves.append(&mut watch.curves);
        Ok(model)
    }

    fn finished(&self, name: &str) -> PathBuf {
        self.ctx.folders.checkpoints.join(format!("{name}.done"))
    }

    fn train(&self, fold: &Fold, resume: Option<&[u8]>, watch: &mut Watch<'_>) -> Result<Model, TrainError> {
        let (input, data) = (self.input, &fold.data);
        Ok(match input.kind {
            Kind::Ranking => Model::Ranker(Box::new(Ranker::fit(
                data,
                &input.ranker(fold.validation),
                resume,
                watch,
            )?)),
            Kind::Retrieval => Model::TwoTower(TwoTower::fit(
                data,
                &input.two_tower(fold.validation),
                resume,
                watch,
            )?),
            Kind::Ease => Model::Ease(Ease::fit(data, input.ease(), watch)?),
        })
    }

    fn baseline(&mut self, temporal: &Split, random: &Split) -> Result<Option<EaseBaseline>, Failure> {
        let items = temporal.train.items().len();
        if items > self.input.ease.max_items as usize {
            self.ctx.log(
                Level::Warn,
                format!("no EASE baseline: {items} items are more than `ease.max_items`"),
            );
            return Ok(None);
        }
        let temporal_full = self.ease(temporal, 2)?;
        let random_user_20_full = self.ease(random, 3)?;
        Ok(Some(EaseBaseline {
            temporal_full,
            random_user_20_full,
        }))
    }

    fn ease(&self, split: &Split, number: u64) -> Result<EaseScores, Failure> {
        let mut watch = Watch::new(self.ctx, "baseline", number, FITS);
        let fitted = Ease::fit(&split.train.compacted(), self.input.ease(), &mut watch);
        let model = fitted.map_err(|error| Failure::Train("EASE baseline", error))?;
        // Ties are judged where the model itself is: a baseline with many of them is no reason to train nothing.
        let options = Options {
            max_tie_share: 1.0,
            ..Options::default()
        };
        Ok(scores(&evaluate(&model, split, &options)?))
    }
}

fn scores(judged: &Evaluation) -> EaseScores {
    EaseScores {
        n_users: judged.users.len() as u64,
        ndcg_at_10: judged.point(Metric::Ndcg),
        precision_at_10: judged.point(Metric::Precision),
        recall_at_10: judged.point(Metric::Recall),
    }
}
