//! Two-tower retrieval: one unit vector per user and per item, learnt by in-batch softmax.
//!
//! A pair (u, i) of a batch competes with the batch's items j: the logit is u·v_j / temperature − c·ln(B·q_j) per
//! occurrence of j, q_j being j's share of the pairs and c the exponent of the popularity correction; the user's
//! other items don't compete. c = 0 learns affinity beyond popularity, c = 1 learns popularity too. What is served is
//! u·v_j / temperature + β·ln q_j; β is chosen on a validation slice of the training data, because no fixed value
//! suits both a small and a large catalogue.

mod batch;
mod serve;
mod train;

use serde::{Deserialize, Serialize};

use crate::data::{IdMap, Interactions};
use crate::progress::{Observer, TrainError};
use crate::split::Holdout;

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Length of the vectors.
    pub dim: usize,
    /// Passes over the pairs.
    pub epochs: u32,
    /// Pairs per step.
    pub batch: usize,
    /// Of Adam, on the rows that a batch touches.
    pub learning_rate: f32,
    /// Divides the cosine.
    pub temperature: f32,
    /// c: exponent of the logQ correction while training, in [0, 1].
    pub correction: f32,
    /// β: weight of ln q in the served score; `None` chooses it on `validation`.
    pub popularity: Option<f32>,
    /// The slice of the training data on which β is chosen; should be cut like the test that is to come.
    pub validation: Holdout,
    /// Passes of the training that only serves to choose β.
    pub validation_epochs: u32,
    /// Decides initial vectors and order.
    pub seed: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            dim: 128,
            epochs: 20,
            batch: 1024,
            learning_rate: 0.01,
            temperature: 0.15,
            correction: 0.0,
            popularity: None,
            validation: Holdout::UserLast { fraction: 0.1 },
            validation_epochs: 10,
            seed: 0,
        }
    }
}

/// A fitted model.
#[derive(Clone, Debug, PartialEq)]
pub struct TwoTower {
    users: IdMap,
    items: IdMap,
    dim: usize,
    /// 1 / temperature.
    scale: f32,
    /// β.
    popularity: f32,
    /// Unit rows, users × dim.
    user_vectors: Vec<f32>,
    /// Unit rows, items × dim.
    item_vectors: Vec<f32>,
    /// ln q per item.
    log_share: Vec<f32>,
}

impl TwoTower {
    /// Trains; the same data, parameters and seed give the same bytes with any number of threads.
    ///
    /// `resume` takes what [`Observer::checkpoint`] was offered; the result is that of the uninterrupted training.
    pub fn fit(
        data: &Interactions,
        params: &Params,
        resume: Option<&[u8]>,
        observer: &mut dyn Observer,
    ) -> Result<Self, TrainError> {
        train::fit(data, params, resume, observer)
    }

    /// The users it was trained on.
    pub fn users(&self) -> &IdMap {
        &self.users
    }

    /// Length of the vectors.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// β, given or chosen.
    pub fn popularity(&self) -> f32 {
        self.popularity
    }

    /// 1 / temperature: scores are this times the cosine, plus [`Self::bias`].
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Unit vectors of the users, row-major, users × dim.
    pub fn user_vectors(&self) -> &[f32] {
        &self.user_vectors
    }

    /// Unit vectors of the items, row-major, items × dim: what a vector index holds.
    pub fn item_vectors(&self) -> &[f32] {
        &self.item_vectors
    }

    /// β·ln q per item: what a served score adds to the scaled cosine.
    pub fn bias(&self) -> Vec<f32> {
        self.log_share
            .iter()
            .map(|share| self.popularity * share)
            .collect()
    }
}
