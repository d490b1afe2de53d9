//! The outputs, typed so that a flow's reference to a metric is checked before anything runs.

use schemars::JsonSchema;
use serde::Serialize;
use tidegate_engine::plugin::Ctx;
use tidegate_learn::Evaluation;

use super::judge::{Judged, K, judge};
use super::{Baseline, Failure, Input, compare, slices};
use crate::feature_build::folds::{Folds, Named, instant};
use crate::model::{Card, PROBE, WEIGHTS, card, folder, load};
use crate::train::EaseBaseline;

/// A value with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Interval {
    /// The point.
    pub value: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

/// A relative change, or why there is none. Undefined never opens a gate.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Measure {
    /// 0.2 is 20 % more.
    Interval(Interval),
    /// In words.
    Undefined {
        /// Why.
        undefined: String,
    },
}

/// A relative change against production.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Change {
    /// −0.1 is 10 % less; one-sided 95 % bounds.
    Interval(Interval),
    /// There is nothing to compare with yet.
    Absent {
        /// Always `no_baseline`.
        absent: NoBaseline,
    },
    /// There is, but the comparison has no value.
    Undefined {
        /// Why.
        undefined: String,
    },
}

impl Change {
    /// Nothing to compare with.
    pub(super) fn absent() -> Self {
        Self::Absent {
            absent: NoBaseline::NoBaseline,
        }
    }
}

/// The one reason for an absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoBaseline {
    /// No version has that alias.
    NoBaseline,
}

/// One value per metric.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Six<T> {
    /// Discounted gain over that of the best list; binary relevance, linear gain.
    pub ndcg_at_10: T,
    /// Share of the ten places that hold a relevant item.
    pub precision_at_10: T,
    /// Share of the relevant items that the list holds.
    pub recall_at_10: T,
    /// 1 where the list holds any relevant item.
    pub hit_rate_at_10: T,
    /// 1 / place of the first relevant item.
    pub mrr_at_10: T,
    /// Mean average precision.
    pub map_at_10: T,
}

/// The metrics: the headline's under their plain names, and each protocol's under its own.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Metrics {
    /// Of the headline.
    pub ndcg_at_10: Interval,
    /// Of the headline.
    pub precision_at_10: Interval,
    /// Of the headline.
    pub recall_at_10: Interval,
    /// Of the headline.
    pub hit_rate_at_10: Interval,
    /// Of the headline.
    pub mrr_at_10: Interval,
    /// Of the headline.
    pub map_at_10: Interval,
    /// The served weights, one cut in time.
    pub temporal_full: Six<Interval>,
    /// The probe, a random fifth of each user's items.
    pub random_user_20_full: Six<Interval>,
}

impl Metrics {
    fn new(headline: Named, temporal_full: Six<Interval>, random_user_20_full: Six<Interval>) -> Self {
        let plain = match headline {
            Named::TemporalFull => &temporal_full,
            Named::RandomUser20Full => &random_user_20_full,
        };
        let Six {
            ndcg_at_10,
            precision_at_10,
            recall_at_10,
            hit_rate_at_10,
            mrr_at_10,
            map_at_10,
        } = plain.clone();
        Self {
            ndcg_at_10,
            precision_at_10,
            recall_at_10,
            hit_rate_at_10,
            mrr_at_10,
            map_at_10,
            temporal_full,
            random_user_20_full,
        }
    }
}

/// A value per protocol.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PerProtocol<T> {
    /// One cut in time.
    pub temporal_full: T,
    /// A random fifth of each user's items.
    pub random_user_20_full: T,
}

/// How a protocol judged.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ProtocolFacts {
    /// Its name.
    pub name: Named,
    /// Length of the lists.
    pub k: u32,
    /// `any interaction`
    pub relevance: String,
    /// `full`: the whole catalogue of the training part.
    pub candidates: String,
    /// `removed`: what a user has seen in training is not offered.
    pub seen_items: String,
    /// First held-out instant, where all users share one.
    pub cut: Option<String>,
    /// What decided the held-out items, where chance did.
    pub seed: Option<u64>,
    /// Users the means rest on.
    pub n_users: u64,
    /// Users without a history, not among them.
    pub n_cold: u64,
    /// Users whose held-out items were all seen before, not among them.
    pub n_without_positives: u64,
    /// Items that could be listed.
    pub catalogue: u64,
    /// Precision of a perfect model on these users.
    pub precision_ceiling: f64,
    /// SHA-256 of the interactions and their folds.
    pub digest: String,
}

/// A cohort of `temporal_full`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Slice {
    /// `tenure`, `activity`, or a slice column.
    pub by: String,
    /// Which; `other` are all that were too small.
    pub cohort: String,
    /// Users in it.
    pub n_users: u64,
    /// False where even together they are too few to say anything.
    pub judged: bool,
    /// Null without users.
    pub ndcg_at_10: Option<Interval>,
    /// Null without users.
    pub precision_at_10: Option<Interval>,
    /// Against production.
    pub change_ndcg_at_10: Change,
}

/// What a good metric could hide; of the served weights on `temporal_full`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Guardrails {
    /// Share of the catalogue that is in any list.
    pub coverage_at_10: f64,
    /// Concentration of exposure: 0 even, near 1 all on one item.
    pub gini_at_10: Option<f64>,
    /// Share of lists that end in a tie.
    pub tie_share: f64,
    /// Share of scores that are not finite; anything above 0 fails the task.
    pub nan_share: f64,
    /// Share of the catalogue that the model can't score.
    pub unknown_items: f64,
}

/// What the model was compared with.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Against {
    /// Registered model.
    pub model: String,
    /// Version.
    pub version: i64,
    /// Its folder.
    pub source: String,
    /// First instant it did not learn from, where it says so.
    pub learnt_until: Option<String>,
    /// Whether it learnt from a part of what is held out here, which flatters it.
    pub saw_holdout: Option<bool>,
    /// Share of the catalogue that it can't score; those rank last.
    pub unknown_items: f64,
    /// Users it could represent.
    pub n_known_users: u64,
    /// Its own results on the same users, by `temporal_full`.
    pub metrics: Six<Measure>,
}

/// Its outputs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Output {
    /// The model.
    pub metrics: Metrics,
    /// Relative to plain popularity, computed in the same run, paired.
    pub lift: PerProtocol<Six<Measure>>,
    /// Relative to production, paired, on `temporal_full` only: the random holdout overlaps what production learnt from.
    pub change: Six<Change>,
    /// How it was judged.
    pub protocol: PerProtocol<ProtocolFacts>,
    /// By cohort.
    pub slices: Vec<Slice>,
    /// What a good metric could hide.
    pub guardrails: Guardrails,
    /// What `change` compares with; null where nothing has the alias.
    pub baseline: Option<Against>,
    /// EASE on the same folds, as `train` measured it.
    pub ease: Option<EaseBaseline>,
}

/// Reads, judges, compares.
pub(super) fn report(ctx: &Ctx, input: &Input, baseline: Option<&Baseline>) -> Result<Output, Failure> {
    let folds = Folds::read(&input.holdout)?;
    let path = folder(&input.model.uri)?;
    let card = card(&path)?;
    same_folds(input, &card, &folds)?;
    let model = load(&path.join(WEIGHTS), Some(&input.model.sha256))?;
    let probe = load(&path.join(PROBE), None)?;
    let [temporal_split, random_split] = Named::ALL.map(|protocol| folds.split(protocol));
    step(ctx, 1)?;
    let temporal = judge(
        Named::TemporalFull,
        &temporal_split,
        model.recommender(),
        input.max_tie_share,
    )?;
    step(ctx, 2)?;
    let random = judge(
        Named::RandomUser20Full,
        &random_split,
        probe.recommender(),
        input.max_tie_share,
    )?;
    step(ctx, 3)?;
    let production = baseline
        .map(|baseline| compare::compare(baseline, &temporal_split))
        .transpose()?;
    step(ctx, 4)?;
    let slices = slices::slices(
        &folds,
        &temporal.model,
        production.as_ref(),
        input.min_support as usize,
    )?;
    let output = Output {
        metrics: Metrics::new(input.headline, temporal.metrics()?, random.metrics()?),
        lift: PerProtocol {
            temporal_full: temporal.lift()?,
            random_user_20_full: random.lift()?,
        },
        change: compare::changes(&temporal.model, production.as_ref())?,
        protocol: PerProtocol {
            temporal_full: facts(&temporal, &folds),
            random_user_20_full: facts(&random, &folds),
        },
        slices,
        guardrails: guardrails(&temporal.model),
        baseline: production.map(|production| production.against),
        ease: card.ease.and_then(|ease| serde_json::from_value(ease).ok()),
    };
    step(ctx, 5)?;
    Ok(output)
}

fn step(ctx: &Ctx, done: u64) -> Result<(), Failure> {
    ctx.progress(done, 5);
    if ctx.is_cancelled() {
        Err(Failure::Cancelled)
    } else {
        Ok(())
    }
}

fn same_folds(input: &Input, card: &Card, folds: &Folds) -> Result<(), Failure> {
    if card.sha256 != input.model.sha256 {
        return Err(Failure::OtherModel {
            promised: input.model.sha256.clone(),
            found: card.sha256.clone(),
        });
    }
    if card.folds != folds.cuts.digest {
        return Err(Failure::OtherFolds {
            trained: card.folds.clone(),
            held: folds.cuts.digest.clone(),
        });
    }
    Ok(())
}

fn facts(judged: &Judged, folds: &Folds) -> ProtocolFacts {
    let temporal = judged.protocol == Named::TemporalFull;
    let model = &judged.model;
    ProtocolFacts {
        name: judged.protocol,
        k: K as u32,
        relevance: "any interaction".to_owned(),
        candidates: "full".to_owned(),
        seen_items: "removed".to_owned(),
        cut: temporal.then(|| instant(folds.cuts.cut)),
        seed: (!temporal).then_some(folds.cuts.seed),
        n_users: model.users.len() as u64,
        n_cold: model.cold.len() as u64,
        n_without_positives: model.without_positives as u64,
        catalogue: model.catalogue as u64,
        precision_ceiling: model.precision_ceiling().unwrap_or_default(),
        digest: folds.cuts.digest.clone(),
    }
}

fn guardrails(model: &Evaluation) -> Guardrails {
    Guardrails {
        coverage_at_10: model.coverage,
        gini_at_10: model.gini,
        tie_share: model.tie_share,
        nan_share: 0.0,
        unknown_items: model.unknown_items,
    }
}
