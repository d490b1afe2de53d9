//! Two-stage ranking: EASE picks candidates, a second stage orders them by what else is known.
//!
//! The second stage learns on folds inside the training data, from candidates that were scored without knowledge of their
//! labels ([`labels`]): first a weighted sum of signals that starts as the first stage's own order and stays it where nothing is
//! gained ([`blend`]), then trees for lists on top of it, as many as pay on users they don't learn from ([`score`]). Then first
//! stage and statistics are fitted anew on everything; features are shares, ranks and deviations, so that this hardly moves them.

mod blend;
mod features;
mod follow;
mod labels;
mod score;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use blend::straight;
pub use features::FEATURES;
use features::Facts;
use labels::List;
use score::Check;
pub use score::Scorer;

use crate::data::{IdMap, Interactions};
use crate::ease;
use crate::item_knn;
use crate::lambdamart::{self, Course, Forest};
use crate::model_file::{FileError, Reader, Writer};
use crate::progress::{Observer, Progress, TrainError, report};
use crate::recommender::{Query, Recommender, Standing};
use crate::spectral;
use crate::split::Holdout;

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// The folds that give the labels; should be cut like the test that is to come.
    pub validation: Holdout,
    /// How many of them.
    pub folds: u32,
    /// About how many lists of all folds are learnt from, at most.
    pub lists: usize,
    /// The first stage.
    pub ease: ease::Params,
    /// Neighbour features.
    pub neighbours: item_knn::Params,
    /// Features of common dimensions.
    pub spectral: spectral::Params,
    /// The trees.
    pub forest: lambdamart::Params,
    /// How many candidates of the first stage are re-ranked.
    pub candidates: usize,
    /// Share of the candidates without a label that the second stage learns from.
    pub negatives: f64,
    /// Decides which, and which users choose.
    pub seed: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            validation: Holdout::UserLast { fraction: 0.1 },
            folds: 3,
            lists: 3000,
            ease: ease::Params::default(),
            neighbours: item_knn::Params::default(),
            spectral: spectral::Params::default(),
            forest: lambdamart::Params::default(),
            candidates: 200,
            negatives: 0.25,
            seed: 0,
        }
    }
}

/// A fitted model.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranker {
    facts: Facts,
    scorer: Scorer,
    candidates: usize,
}

#[derive(Serialize, Deserialize)]
struct Meta {
    candidates: usize,
    features: Vec<String>,
}

impl Ranker {
    /// Trains; the same data, parameters and seed give the same bytes with any number of threads.
    ///
    /// `resume` takes what [`Observer::checkpoint`] was offered; the result is that of the uninterrupted training.
    pub fn fit(
        data: &Interactions,
        params: &Params,
        resume: Option<&[u8]>,
        observer: &mut dyn Observer,
    ) -> Result<Self, TrainError> {
        if params.candidates == 0 || !(params.negatives > 0.0 && params.negatives <= 1.0) {
            return Err(TrainError::Parameter {
                name: "candidates and negatives",
                expected: "above zero",
            });
        }
        let stage = |done| Progress {
            stage: "features",
            done,
            total: 3,
            loss: None,
        };
        report(observer, stage(0))?;
        let lists = labels::lists(data, params)?;
        report(observer, stage(1))?;
        let weights = blend::fit(&lists);
        let (check, learn): (Vec<&List>, Vec<&List>) = lists.iter().partition(|list| list.checks());
        let mut table = labels::table(&learn, params);
        let rows = table.features.chunks_exact(table.width);
        table.start = rows.map(|row| straight(&weights, row)).collect();
        let mut check = Check::new(&weights, &check);
        let course = Course {
            resume,
            observer: &mut *observer,
            goes_on: &mut |forest| check.goes_on(forest),
        };
        let forest = Forest::fit_while(&table, &params.forest, course)?;
        let forest = forest.prefix(check.kept());
        let scorer = Scorer { weights, forest };
        report(observer, stage(2))?;
        let facts = Facts::fit(data, params)?;
        report(observer, stage(3))?;
        Ok(Self {
            facts,
            scorer,
            candidates: params.candidates,
        })
    }

    /// The second stage.
    pub fn scorer(&self) -> &Scorer {
        &self.scorer
    }

    /// The first stage.
    pub fn retrieval(&self) -> &ease::Ease {
        &self.facts.ease
    }

    /// Candidates and their features, row-major: what the second stage is given for a query.
    pub fn features(&self, query: &Query<'_>) -> (Vec<u32>, Vec<f32>) {
        self.facts.features(query, self.candidates)
    }

    /// See [`crate::model_file`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let features = FEATURES.map(str::to_owned).to_vec();
        let meta = Meta {
            candidates: self.candidates,
            features,
        };
        let writer = Writer::new("ranker", serde_json::json!(meta));
        self.scorer.write(self.facts.write(writer)).finish()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let reader = Reader::of_kind(bytes, "ranker")?;
        let meta: Meta = reader.meta()?;
        if meta.features != FEATURES {
            return Err(FileError::Inconsistent("features"));
        }
        Ok(Self {
            facts: Facts::read(&reader)?,
            scorer: Scorer::read(&reader)?,
            candidates: meta.candidates,
        })
    }
}

impl Recommender for Ranker {
    fn kind(&self) -> &'static str {
        "ranker"
    }

    fn items(&self) -> &IdMap {
        self.facts.items()
    }

    /// Candidates by the second stage; all other items below them, in the order of the first stage.
    fn score(&self, query: &Query<'_>, scores: &mut [f32]) -> Standing {
        let standing = self.facts.ease.score(query, scores);
        if standing == Standing::Fallback {
            return standing;
        }
        let (items, features) = self.features(query);
        let ranked: Vec<f32> = features
            .chunks_exact(FEATURES.len())
            .map(|row| self.scorer.predict(row))
            .collect();
        let lowest = ranked.iter().copied().fold(f32::MAX, f32::min);
        let highest = scores.iter().copied().fold(f32::MIN, f32::max);
        scores
            .iter_mut()
            .for_each(|score| *score = lowest - 1.0 - (highest - *score));
        for (item, score) in items.iter().zip(ranked) {
            scores[*item as usize] = score;
        }
        standing
    }
}
