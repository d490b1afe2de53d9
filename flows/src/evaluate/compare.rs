//! The candidate against production: the same users, items and cut, paired, one-sided 95 % bounds.

use tidegate_learn::interval::Bootstrap;
use tidegate_learn::{Evaluation, Metric, Split, evaluate};

use super::judge::{interval, measure, options};
use super::report::{Against, Change, Six};
use super::{Baseline, Failure};
use crate::feature_build::folds::{Named, instant};
use crate::model::{WEIGHTS, card, folder, load};

/// Production's results on the candidate's users, and what it is.
pub(super) struct Compared {
    /// Its results.
    pub judged: Evaluation,
    /// Which version, and how far its knowledge reaches.
    pub against: Against,
}

/// Scores a registered version on the candidate's split.
pub(super) fn compare(baseline: &Baseline, split: &Split) -> Result<Compared, Failure> {
    let unreadable = |error| Failure::Baseline(baseline.name.clone(), error);
    let version = &baseline.version;
    let path = folder(&version.source).map_err(unreadable)?;
    let model = load(&path.join(WEIGHTS), version.sha256.as_deref()).map_err(unreadable)?;
    let judged = evaluate(model.recommender(), split, &options(1.0))
        .map_err(|error| Failure::Judge(Named::TemporalFull.name(), "the baseline", error))?;
    let known = judged.standings[0] + judged.standings[1];
    if known == 0 || judged.unknown_items >= 1.0 {
        return Err(Failure::Stranger(baseline.name.clone()));
    }
    // Older versions may lack a card; what they are compared by is their weights.
    let cut = card(&path).ok().map(|card| card.cut);
    let against = Against {
        model: version.model.clone(),
        version: version.version,
        source: version.source.clone(),
        learnt_until: cut.map(instant),
        saw_holdout: cut.zip(split.cut).map(|(learnt, cut)| learnt > cut),
        unknown_items: judged.unknown_items,
        n_known_users: known as u64,
        metrics: Six::try_of(|metric| Ok::<_, Failure>(measure(judged.mean(metric, &Bootstrap::default()))))?,
    };
    Ok(Compared { judged, against })
}

/// The relative change of each metric.
pub(super) fn changes(candidate: &Evaluation, production: Option<&Compared>) -> Result<Six<Change>, Failure> {
    Six::try_of(|metric| change(candidate, production, metric))
}

/// The relative change of one metric.
pub(super) fn change(
    candidate: &Evaluation,
    production: Option<&Compared>,
    metric: Metric,
) -> Result<Change, Failure> {
    let Some(production) = production else {
        return Ok(Change::absent());
    };
    let change = candidate
        .change(&production.judged, metric, &Bootstrap::one_sided())
        .map_err(Failure::NotPaired)?;
    Ok(match change {
        Ok(estimate) => Change::Interval(interval(estimate)),
        Err(why) => Change::Undefined {
            undefined: why.to_string(),
        },
    })
}
