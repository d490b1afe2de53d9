//! One protocol: the model and plain popularity over its users.

use tidegate_learn::evaluate::Options;
use tidegate_learn::interval::{Bootstrap, Undefined};
use tidegate_learn::popularity::{self, Popularity};
use tidegate_learn::{CandidateSet, Estimate, Evaluation, Metric, Recommender, Split, evaluate};

use super::Failure;
use super::report::{Interval, Measure, Six};
use crate::feature_build::folds::Named;

/// Length of every list.
pub(super) const K: usize = 10;

/// What a protocol says of a model.
pub(super) struct Judged {
    /// Which.
    pub protocol: Named,
    /// The model's results.
    pub model: Evaluation,
    /// Those of plain popularity on the same users.
    pub popularity: Evaluation,
}

/// Judges a model and popularity by one protocol.
pub(super) fn judge(
    protocol: Named,
    split: &Split,
    model: &dyn Recommender,
    max_tie_share: f64,
) -> Result<Judged, Failure> {
    let judged = evaluate(model, split, &options(max_tie_share))
        .map_err(|error| Failure::Judge(protocol.name(), "the model", error))?;
    if judged.users.is_empty() {
        return Err(Failure::Nobody(protocol.name()));
    }
    let plain = Popularity::fit(&split.train, popularity::Params { half_life: None });
    // Items are often equally popular: of the reference, unlike of a model, ties are no fault.
    let popularity = evaluate(&plain, split, &options(1.0))
        .map_err(|error| Failure::Judge(protocol.name(), "popularity", error))?;
    Ok(Judged {
        protocol,
        model: judged,
        popularity,
    })
}

/// Lists of ten out of the whole catalogue.
pub(super) fn options(max_tie_share: f64) -> Options {
    Options {
        k: K,
        candidates: CandidateSet::Full,
        max_tie_share,
    }
}

impl Judged {
    /// The means with their intervals.
    pub fn metrics(&self) -> Result<Six<Interval>, Failure> {
        let undefined = |why| Failure::Metric(self.protocol.name(), why);
        Six::try_of(|metric| {
            self.model
                .mean(metric, &Bootstrap::default())
                .map(interval)
                .map_err(undefined)
        })
    }

    /// How much more than popularity, paired user by user.
    pub fn lift(&self) -> Result<Six<Measure>, Failure> {
        Six::try_of(|metric| {
            let change = self.model.change(&self.popularity, metric, &Bootstrap::default());
            let change = change.map_err(|error| Failure::Judge(self.protocol.name(), "popularity", error))?;
            Ok(measure(change))
        })
    }
}

/// An estimate without its n.
pub(super) fn interval(estimate: Estimate) -> Interval {
    Interval {
        value: estimate.value,
        low: estimate.low,
        high: estimate.high,
    }
}

/// An estimate, or why there is none.
pub(super) fn measure(change: Result<Estimate, Undefined>) -> Measure {
    match change {
        Ok(estimate) => Measure::Interval(interval(estimate)),
        Err(why) => Measure::Undefined {
            undefined: why.to_string(),
        },
    }
}

impl<T> Six<T> {
    /// One value per metric.
    pub fn try_of<E>(of: impl Fn(Metric) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self {
            ndcg_at_10: of(Metric::Ndcg)?,
            precision_at_10: of(Metric::Precision)?,
            recall_at_10: of(Metric::Recall)?,
            hit_rate_at_10: of(Metric::HitRate)?,
            mrr_at_10: of(Metric::Mrr)?,
            map_at_10: of(Metric::Map)?,
        })
    }
}
