//! The second stage: weights of the features, and trees that correct them.

use std::ops::Range;

use rayon::prelude::*;

use super::blend::{gained, ideal, mean_and_error, straight};
use super::features::FEATURES;
use super::labels::List;
use crate::lambdamart::Forest;
use crate::model_file::{FileError, Reader, Writer};

/// Trees are counted in steps of so many.
const STEP: usize = 10;
/// Steps without a gain after which no more trees are grown.
const PATIENCE: usize = 3;

/// score(x) = weights · x + forest(x).
#[derive(Clone, Debug, PartialEq)]
pub struct Scorer {
    pub(super) weights: Vec<f32>,
    pub(super) forest: Forest,
}

impl Scorer {
    /// One weight per feature.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// What corrects them; no tree where none paid.
    pub fn forest(&self) -> &Forest {
        &self.forest
    }

    /// The score of one row.
    pub fn predict(&self, row: &[f32]) -> f32 {
        (straight(&self.weights, row) + f64::from(self.forest.predict(row))) as f32
    }

    pub(super) fn write(&self, writer: Writer) -> Writer {
        self.forest
            .write(writer.section("straight_weights", &self.weights))
    }

    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, FileError> {
        let weights: Vec<f32> = reader.sized("straight_weights", FEATURES.len())?;
        let forest = Forest::read(reader)?;
        if forest.width() != FEATURES.len() || weights.iter().any(|weight| !weight.is_finite()) {
            return Err(FileError::Inconsistent("second stage"));
        }
        Ok(Self { weights, forest })
    }
}

/// Follows, while trees are grown, what they are worth to users they don't learn from.
pub(super) struct Check<'a> {
    lists: Vec<Checked<'a>>,
    /// Trees that were looked at.
    seen: usize,
    /// Largest mean gain so far, its standard error, and how many trees it took.
    best: (f64, f64, usize),
    /// Whether trees were once surely worse than none.
    harmful: bool,
}

struct Checked<'a> {
    list: &'a List,
    scores: Vec<f64>,
    /// NDCG without trees.
    without: f64,
}

impl<'a> Checked<'a> {
    fn new(list: &'a List, weights: &[f32]) -> Self {
        let rows = list.features.chunks_exact(FEATURES.len());
        let mut checked = Self {
            list,
            scores: rows.map(|row| straight(weights, row)).collect(),
            without: 0.0,
        };
        checked.without = checked.ndcg();
        checked
    }

    fn add(&mut self, forest: &Forest, trees: Range<usize>) -> f64 {
        let rows = self.list.features.chunks_exact(FEATURES.len());
        for (score, row) in self.scores.iter_mut().zip(rows) {
            *score += forest.sum_of(trees.clone(), row);
        }
        self.ndcg() - self.without
    }

    fn ndcg(&self) -> f64 {
        gained(self.scores.iter().map(|score| *score as f32), &self.list.labels) / ideal(self.list)
    }
}

impl<'a> Check<'a> {
    pub fn new(weights: &[f32], lists: &[&'a List]) -> Self {
        Self {
            lists: lists.iter().map(|list| Checked::new(list, weights)).collect(),
            seen: 0,
            best: (0.0, 0.0, 0),
            harmful: false,
        }
    }

    /// Whether more trees may still pay: not where the first ones surely harm, nor long after the best. Looks at every tenth tree, so that a resumed training decides alike.
    pub fn goes_on(&mut self, forest: &Forest) -> bool {
        while self.seen + STEP <= forest.trees().len() {
            let trees = self.seen..self.seen + STEP;
            let add = |list: &mut Checked<'_>| list.add(forest, trees.clone());
            let gains: Vec<f64> = self.lists.par_iter_mut().map(add).collect();
            self.seen += STEP;
            let (gain, error) = mean_and_error(&gains);
            self.harmful |= gain < -error;
            if gain > self.best.0 {
                self.best = (gain, error, self.seen);
            }
        }
        !self.harmful && self.seen < self.best.2 + PATIENCE * STEP
    }

    /// How many trees to keep: none where what they add may be luck.
    pub fn kept(&self) -> usize {
        let (gain, error, trees) = self.best;
        if gain > error { trees } else { 0 }
    }
}
