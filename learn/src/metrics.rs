//! What one ranked list is worth, and what many lists cover.
//!
//! Relevance is binary and the gain linear, as in trec_eval and ranx. `k` stays in the denominator of
//! precision even where fewer items could be listed. A user without relevant items has no metrics.

use serde::{Deserialize, Serialize};

use crate::random;

/// A metric of one list; its mean over users is what is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Discounted gain over that of the best possible list.
    Ndcg,
    /// Share of the relevant items that the list holds.
    Recall,
    /// Share of the k places that hold a relevant item.
    Precision,
    /// 1 where the list holds any relevant item.
    HitRate,
    /// 1 / place of the first relevant item, 0 where the list has none.
    Mrr,
    /// Precision at each hit, summed, over the number of relevant items.
    Map,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Ndcg,
        Self::Recall,
        Self::Precision,
        Self::HitRate,
        Self::Mrr,
        Self::Map,
    ];

    /// The key under which it is reported, for example `ndcg_at_10`.
    pub fn key(self, k: usize) -> String {
        let name = match self {
            Self::Ndcg => "ndcg",
            Self::Recall => "recall",
            Self::Precision => "precision",
            Self::HitRate => "hit_rate",
            Self::Mrr => "mrr",
            Self::Map => "map",
        };
        format!("{name}_at_{k}")
    }
}

/// All metrics of one list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListScore {
    /// See [`Metric::Ndcg`].
    pub ndcg: f64,
    /// See [`Metric::Recall`].
    pub recall: f64,
    /// See [`Metric::Precision`].
    pub precision: f64,
    /// See [`Metric::HitRate`].
    pub hit_rate: f64,
    /// See [`Metric::Mrr`].
    pub mrr: f64,
    /// See [`Metric::Map`].
    pub map: f64,
    /// The precision of a perfect list: min(k, relevant) / k.
    pub precision_ceiling: f64,
}

impl ListScore {
    /// The value of one metric.
    pub fn get(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Ndcg => self.ndcg,
            Metric::Recall => self.recall,
            Metric::Precision => self.precision,
            Metric::HitRate => self.hit_rate,
            Metric::Mrr => self.mrr,
            Metric::Map => self.map,
        }
    }
}

/// Scores the first `k` places of a list (best first) against the relevant items.
///
/// Repeats in the list are dropped before places are counted. `None` where nothing is relevant or `k` is 0.
pub fn score_list<T: PartialEq + Copy>(list: &[T], relevant: &[T], k: usize) -> Option<ListScore> {
    if relevant.is_empty() || k == 0 {
        return None;
    }
    let hits = hits(list, relevant, k);
    let (k_f, relevant_f) = (k as f64, relevant.len() as f64);
    let count = hits.iter().filter(|hit| **hit).count() as f64;
    let best = relevant.len().min(k);
    let ideal: f64 = (0..best).map(discount).sum();
    let places = || {
        hits.iter()
            .enumerate()
            .filter(|(_, hit)| **hit)
            .map(|(place, _)| place)
    };
    let precisions = places()
        .enumerate()
        .map(|(before, place)| (before + 1) as f64 / (place + 1) as f64);
    Some(ListScore {
        ndcg: places().map(discount).sum::<f64>() / ideal,
        recall: count / relevant_f,
        precision: count / k_f,
        hit_rate: f64::from(u8::from(count > 0.0)),
        mrr: places().next().map_or(0.0, |place| 1.0 / (place + 1) as f64),
        map: precisions.sum::<f64>() / relevant_f,
        precision_ceiling: best as f64 / k_f,
    })
}

fn hits<T: PartialEq + Copy>(list: &[T], relevant: &[T], k: usize) -> Vec<bool> {
    let mut unique: Vec<T> = Vec::with_capacity(k);
    for item in list {
        if unique.len() == k {
            break;
        }
        if !unique.contains(item) {
            unique.push(*item);
        }
    }
    unique.iter().map(|item| relevant.contains(item)).collect()
}

/// Weight of a place, counted from 0: 1 / log2(place + 2).
pub(crate) fn discount(place: usize) -> f64 {
    1.0 / ((place + 2) as f64).log2()
}

/// The best `k` of scored candidates.
#[derive(Clone, Debug, PartialEq)]
pub struct Top {
    /// Item indices, best first; ties by a hash of user and item, never by position.
    pub items: Vec<u32>,
    /// Whether the first one left out has the score of the last one taken.
    pub tied_at_boundary: bool,
}

/// Picks the best `k` of `(item, score)`; scores are compared as numbers, so they must not be NaN.
pub fn top_k(user: i64, mut candidates: Vec<(u32, f32)>, k: usize) -> Top {
    let order = |a: &(u32, f32), b: &(u32, f32)| {
        b.1.total_cmp(&a.1)
            .then_with(|| tie_key(user, a.0).cmp(&tie_key(user, b.0)))
    };
    for candidate in &mut candidates {
        // total_cmp puts -0.0 below 0.0, which as scores are the same.
        candidate.1 += 0.0;
    }
    let mut tied = false;
    if k > 0 && candidates.len() > k {
        let (best, last, rest) = candidates.select_nth_unstable_by(k - 1, order);
        debug_assert_eq!(best.len(), k - 1);
        tied = rest.iter().any(|other| other.1 == last.1);
    }
    candidates.truncate(k);
    candidates.sort_unstable_by(order);
    Top {
        items: candidates.iter().map(|candidate| candidate.0).collect(),
        tied_at_boundary: tied,
    }
}

fn tie_key(user: i64, item: u32) -> u64 {
    random::mix(random::mix(user as u64) ^ u64::from(item))
}

/// How unevenly exposure is spread: 0 where all items are shown equally often, near 1 where one has all.
///
/// `exposure` holds the number of lists per item of the catalogue, zeros included. `None` where nothing was
/// shown.
pub fn gini(exposure: &[u32]) -> Option<f64> {
    let total: f64 = exposure.iter().map(|count| f64::from(*count)).sum();
    if total == 0.0 {
        return None;
    }
    let mut sorted = exposure.to_vec();
    sorted.sort_unstable();
    let n = sorted.len() as f64;
    let weighted = sorted
        .iter()
        .enumerate()
        .map(|(at, count)| (2.0 * (at + 1) as f64 - n - 1.0) * f64::from(*count));
    Some(weighted.sum::<f64>() / (n * total))
}

#[cfg(test)]
mod tests;
