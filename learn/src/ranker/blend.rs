//! The straight part of the second stage: a weighted sum of signals that starts as the first stage's order.
//!
//! Coordinate ascent on NDCG itself: one weight at a time is moved as long as the lists get better by it. It begins at the
//! first stage's order and never accepts a loss, and it cares for the top of the lists alone, as the metric does. Whether it is
//! any good is asked of users it was not fitted on.

use rayon::prelude::*;

use super::features::{BASE, FEATURES, SIGNS};
use super::labels::List;
use crate::metrics::discount;

/// Places that count.
pub(super) const PLACES: usize = 10;
/// Moves of a weight that are tried, in standard deviations of the feature against one of the base.
const MOVES: [f32; 4] = [0.4, 0.2, 0.1, 0.05];
/// Rounds over all weights.
const ROUNDS: usize = 2;
/// Candidates that are looked at, best first: what lies below hardly comes up.
const LOOKED_AT: usize = 100;
/// A move must add so many of its own standard errors to the mean NDCG: what few lists seem to say is not learnt.
const SURE: f64 = 1.0;

/// One list, column by column.
struct Columns<'a> {
    list: &'a List,
    scores: Vec<f32>,
    /// Per sign, its value in each row.
    values: Vec<Vec<f32>>,
    ideal: f64,
    /// NDCG as it stands.
    ndcg: f64,
}

impl<'a> Columns<'a> {
    fn new(list: &'a List, scale: &[f32]) -> Self {
        let column = |feature: usize, scale: f32| -> Vec<f32> {
            let rows = list.features.chunks_exact(FEATURES.len()).take(LOOKED_AT);
            rows.map(|row| row[feature] * scale).collect()
        };
        let mut columns = Self {
            scores: column(BASE, 1.0),
            values: SIGNS
                .iter()
                .zip(scale)
                .map(|(sign, scale)| column(*sign, *scale))
                .collect(),
            ideal: ideal(list),
            list,
            ndcg: 0.0,
        };
        columns.ndcg = columns.moved(0, 0.0);
        columns
    }

    /// NDCG with the weight of a sign moved.
    fn moved(&self, sign: usize, by: f32) -> f64 {
        let moved = self
            .scores
            .iter()
            .zip(&self.values[sign])
            .map(|(score, value)| score + by * value);
        gained(moved, &self.list.labels) / self.ideal
    }

    fn accept(&mut self, sign: usize, by: f32) {
        self.ndcg = self.moved(sign, by);
        let values = self.scores.iter_mut().zip(&self.values[sign]);
        values.for_each(|(score, value)| *score += by * value);
    }
}

/// Discounted gain of the best possible order.
pub(super) fn ideal(list: &List) -> f64 {
    (0..list.held.clamp(1, PLACES)).map(discount).sum()
}

/// Discounted gain of the order by scores; equal ones stay as they stand.
pub(super) fn gained(scores: impl Iterator<Item = f32>, labels: &[u8]) -> f64 {
    let mut best = [(f32::NEG_INFINITY, 0u8); PLACES];
    for (score, label) in scores.zip(labels) {
        if score <= best[PLACES - 1].0 {
            continue;
        }
        let mut at = PLACES - 1;
        while at > 0 && best[at - 1].0 < score {
            best[at] = best[at - 1];
            at -= 1;
        }
        best[at] = (score, *label);
    }
    let places = best.iter().enumerate().filter(|(_, place)| place.1 > 0);
    places.map(|(place, _)| discount(place)).sum()
}

/// The first stage's order.
fn first_stage() -> Vec<f32> {
    let mut weights = vec![0.0; FEATURES.len()];
    weights[BASE] = 1.0;
    weights
}

/// One weight per feature, fitted on all lists; the first stage's order, where weights fitted on one half of the users do not
/// order the lists of the other half better than it.
pub(super) fn fit(lists: &[List]) -> Vec<f32> {
    let halves = [0, 1].map(|half| {
        lists
            .iter()
            .filter(|list| list.half() == half)
            .collect::<Vec<_>>()
    });
    let gain = |fitted: &[&List], tried: &[&List]| {
        let (by, first) = (ascend(fitted), first_stage());
        tried
            .iter()
            .map(|list| ndcg(list, &by) - ndcg(list, &first))
            .sum::<f64>()
    };
    let gained = gain(&halves[0], &halves[1]) + gain(&halves[1], &halves[0]);
    if gained > 0.0 {
        ascend(&lists.iter().collect::<Vec<_>>())
    } else {
        first_stage()
    }
}

/// NDCG of a list by weights.
fn ndcg(list: &List, weights: &[f32]) -> f64 {
    let rows = list.features.chunks_exact(FEATURES.len());
    gained(rows.map(|row| straight(weights, row) as f32), &list.labels) / ideal(list)
}

/// weights · row.
pub(super) fn straight(weights: &[f32], row: &[f32]) -> f64 {
    weights
        .iter()
        .zip(row)
        .map(|(weight, value)| f64::from(*weight) * f64::from(*value))
        .sum()
}

fn ascend(lists: &[&List]) -> Vec<f32> {
    let scale = scales(lists);
    let mut columns: Vec<Columns<'_>> = lists.par_iter().map(|list| Columns::new(list, &scale)).collect();
    let mut weights = vec![0.0f32; SIGNS.len()];
    for round in 0..ROUNDS {
        for (sign, weight) in weights.iter_mut().enumerate() {
            let moves = MOVES[round..].iter().flat_map(|size| [*size, -size]);
            let tried = moves.map(|by| (gain(&columns, sign, by), by));
            let best = tried.fold(
                (0.0, 0.0),
                |best, tried| if tried.0 > best.0 { tried } else { best },
            );
            if best.0 > 0.0 {
                *weight += best.1;
                columns.par_iter_mut().for_each(|list| list.accept(sign, best.1));
            }
        }
    }
    let mut all = first_stage();
    for (at, sign) in SIGNS.iter().enumerate() {
        all[*sign] += weights[at] * scale[at];
    }
    all
}

/// Per sign: 1 / its deviation within lists, 0 where it has none.
fn scales(lists: &[&List]) -> Vec<f32> {
    let rows: usize = lists.iter().map(|list| list.labels.len()).sum();
    let scale = |sign: &usize| {
        let squares: f64 = lists.iter().map(|list| squares(list, *sign)).sum();
        match (squares / rows.max(1) as f64).sqrt() {
            deviation if deviation > 1e-6 => (1.0 / deviation) as f32,
            _ => 0.0,
        }
    };
    SIGNS.par_iter().map(scale).collect()
}

fn squares(list: &List, feature: usize) -> f64 {
    let values = || {
        list.features
            .chunks_exact(FEATURES.len())
            .map(|row| f64::from(row[feature]))
    };
    let mean = values().sum::<f64>() / list.labels.len() as f64;
    values().map(|value| (value - mean).powi(2)).sum()
}

/// What moving the weight of a sign adds to the mean NDCG, less what may be luck; summed in the order of the lists.
fn gain(columns: &[Columns<'_>], sign: usize, by: f32) -> f64 {
    let each: Vec<f64> = columns
        .par_iter()
        .map(|list| list.moved(sign, by) - list.ndcg)
        .collect();
    let (mean, error) = mean_and_error(&each);
    mean - SURE * error
}

/// The mean and its standard error.
pub(super) fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(2) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}
