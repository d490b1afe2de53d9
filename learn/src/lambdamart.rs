//! LambdaMART: gradient-boosted trees for lists, with histograms, leaf-wise growth and LightGBM's normalisation.

mod bins;
mod forest;
mod gradient;
mod grow;
mod train;

use serde::{Deserialize, Serialize};

pub use forest::{Forest, Node};

use crate::progress::{Observer, TrainError};

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Number of trees.
    pub trees: u32,
    /// Leaves per tree, at most.
    pub leaves: usize,
    /// Shrinkage of each tree.
    pub learning_rate: f64,
    /// Rows per leaf, at least.
    pub min_rows: usize,
    /// Sum of second derivatives per leaf, at least.
    pub min_hessian: f64,
    /// Added to a leaf's sum of second derivatives.
    pub l2: f64,
    /// Only pairs with one row in the best so many places count.
    pub truncation: usize,
    /// Distinct values of a feature that are told apart, at most 255.
    pub bins: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            trees: 60,
            leaves: 15,
            learning_rate: 0.06,
            min_rows: 100,
            min_hessian: 1e-3,
            l2: 0.0,
            truncation: 30,
            bins: 255,
        }
    }
}

/// Rows of features with labels, in groups; a group is one list to be ordered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Number of features.
    pub width: usize,
    /// Row-major, rows × width; all finite.
    pub features: Vec<f32>,
    /// 0 or 1 per row.
    pub labels: Vec<u8>,
    /// Rows per group, in order; they sum to the number of rows.
    pub groups: Vec<usize>,
    /// The score per row that the trees start from and correct; empty means 0 everywhere.
    pub start: Vec<f64>,
}

/// What goes along with a training.
pub struct Course<'a> {
    /// What [`Observer::checkpoint`] was offered; the result is that of the uninterrupted training.
    pub resume: Option<&'a [u8]>,
    /// Who watches.
    pub observer: &'a mut dyn Observer,
    /// Asked before each tree whether one more is wanted.
    pub goes_on: &'a mut dyn FnMut(&Forest) -> bool,
}

impl Forest {
    /// Trains; the same table and parameters give the same forest with any number of threads.
    pub fn fit(table: &Table, params: &Params, observer: &mut dyn Observer) -> Result<Self, TrainError> {
        let goes_on = &mut |_: &Self| true;
        let course = Course {
            resume: None,
            observer,
            goes_on,
        };
        train::fit(table, params, course)
    }

    /// The same as long as it is wanted.
    pub fn fit_while(table: &Table, params: &Params, course: Course<'_>) -> Result<Self, TrainError> {
        train::fit(table, params, course)
    }
}
