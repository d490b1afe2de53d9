//! Two-stage ranking: EASE picks candidates, trees for lists order them by twenty features.
//!
//! The trees learn on a fold inside the training data: the first stage and all statistics are fitted on its
//! earlier part, the labels are its held-out part. Then first stage and statistics are fitted anew on everything.
//! Features are shares, ranks and logarithms, so that this last step hardly moves them.

mod features;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use features::FEATURES;
use features::Facts;

use crate::data::{Csr, IdMap, Interactions, Row};
use crate::ease;
use crate::item_knn;
use crate::lambdamart::{self, Forest, Table};
use crate::model_file::{FileError, Reader, Writer};
use crate::progress::{Observer, Progress, Silent, TrainError, report};
use crate::random;
use crate::recommender::{Query, Recommender, Standing, Visit};
use crate::split::Split;
use crate::two_tower;

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Its `validation` is the fold that gives the labels; should be cut like the test that is to come. The rest
    /// belongs to the two towers, which are no part of this ranker.
    pub retrieval: two_tower::Params,
    /// The first stage.
    pub ease: ease::Params,
    /// Neighbour features.
    pub neighbours: item_knn::Params,
    /// The second stage.
    pub forest: lambdamart::Params,
    /// How many candidates of the first stage are re-ranked.
    pub candidates: usize,
    /// Share of the candidates without a label that the trees learn from.
    pub negatives: f64,
    /// Decides which.
    pub seed: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            retrieval: two_tower::Params::default(),
            ease: ease::Params::default(),
            neighbours: item_knn::Params::default(),
            forest: lambdamart::Params::default(),
            candidates: 200,
            negatives: 1.0,
            seed: 0,
        }
    }
}

/// A fitted model.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranker {
    facts: Facts,
    forest: Forest,
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
        let table = table(data, params)?;
        report(observer, stage(1))?;
        let forest = Forest::fit(&table, &params.forest, resume, observer)?;
        report(observer, stage(2))?;
        let facts = Facts::fit(data, params)?;
        report(observer, stage(3))?;
        Ok(Self {
            facts,
            forest,
            candidates: params.candidates,
        })
    }

    /// The second stage.
    pub fn forest(&self) -> &Forest {
        &self.forest
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
        self.forest.write(self.facts.write(writer)).finish()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let reader = Reader::of_kind(bytes, "ranker")?;
        let meta: Meta = reader.meta()?;
        if meta.features != FEATURES {
            return Err(FileError::Inconsistent("features"));
        }
        let (facts, forest) = (Facts::read(&reader)?, Forest::read(&reader)?);
        if forest.width() != FEATURES.len() {
            return Err(FileError::Inconsistent("width of the trees"));
        }
        Ok(Self {
            facts,
            forest,
            candidates: meta.candidates,
        })
    }
}

/// One group per user of the fold who has a held-out item among the candidates.
fn table(data: &Interactions, params: &Params) -> Result<Table, TrainError> {
    let split = Split::new(data, params.retrieval.validation);
    if split.train.is_empty() || split.test.is_empty() {
        return Err(TrainError::TooLittleData("no events in the validation fold"));
    }
    let facts = Facts::fit(&split.train, params)?;
    let (train, test) = (split.train.by_user(), Csr::from_interactions(&split.test));
    let group = |user: u32| {
        let history = visits(train.of(user), data.items(), facts.items());
        let held = test
            .row(user)
            .iter()
            .filter_map(|item| facts.items().index(data.items().id(*item)));
        let held: Vec<u32> = held.collect();
        let last = history.last()?.ts;
        let query = Query {
            user: data.users().id(user),
            history: &history,
            at: split.cut.unwrap_or(last),
        };
        labelled(&facts, &query, &held, params)
    };
    let groups: Vec<Option<Group>> = (0..train.len() as u32).into_par_iter().map(group).collect();
    let mut table = Table {
        width: FEATURES.len(),
        ..Table::default()
    };
    for group in groups.into_iter().flatten() {
        table.groups.push(group.labels.len());
        table.features.extend(group.features);
        table.labels.extend(group.labels);
    }
    if table.groups.is_empty() {
        return Err(TrainError::TooLittleData(
            "no held-out item of the validation fold among the candidates",
        ));
    }
    Ok(table)
}

struct Group {
    features: Vec<f32>,
    labels: Vec<u8>,
}

fn labelled(facts: &Facts, query: &Query<'_>, held: &[u32], params: &Params) -> Option<Group> {
    let (items, features) = facts.features(query, params.candidates);
    let mut group = Group {
        features: Vec::new(),
        labels: Vec::new(),
    };
    let limit = (params.negatives * u32::MAX as f64) as u64;
    for (item, row) in items.iter().zip(features.chunks_exact(FEATURES.len())) {
        let positive = held.binary_search(item).is_ok();
        let draw =
            random::mix(params.seed ^ random::mix(query.user as u64 ^ random::mix(u64::from(*item)))) >> 32;
        if positive || draw <= limit {
            group.features.extend_from_slice(row);
            group.labels.push(u8::from(positive));
        }
    }
    let positives = group.labels.iter().filter(|label| **label > 0).count();
    (positives > 0 && positives < group.labels.len()).then_some(group)
}

fn visits(rows: &[Row], from: &IdMap, to: &IdMap) -> Vec<Visit> {
    let visit = |row: &Row| {
        Some(Visit {
            item: to.index(from.id(row.item))?,
            value: row.value,
            ts: row.ts,
        })
    };
    rows.iter().filter_map(visit).collect()
}

impl Facts {
    fn fit(data: &Interactions, params: &Params) -> Result<Self, TrainError> {
        let data = data.compacted();
        let ease = ease::Ease::fit(&data, params.ease, &mut Silent)?;
        Ok(Self::new(
            &data,
            ease,
            item_knn::ItemKnn::fit(&data, params.neighbours),
        ))
    }
}

impl Recommender for Ranker {
    fn kind(&self) -> &'static str {
        "ranker"
    }

    fn items(&self) -> &IdMap {
        self.facts.items()
    }

    /// Candidates by the trees; all other items below them, in the order of the first stage.
    fn score(&self, query: &Query<'_>, scores: &mut [f32]) -> Standing {
        let standing = self.facts.ease.score(query, scores);
        if standing == Standing::Fallback {
            return standing;
        }
        let (items, features) = self.features(query);
        let ranked: Vec<f32> = features
            .chunks_exact(FEATURES.len())
            .map(|row| self.forest.predict(row))
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
