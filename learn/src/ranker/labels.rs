//! What the second stage learns from: lists of candidates that were scored without knowledge of their labels.
//!
//! Folds are held out of the training data as the test will be held out of all data; the first stage and all statistics are
//! fitted on the rest of each.

use rayon::prelude::*;

use super::Params;
use super::features::{FEATURES, Facts};
use crate::data::{Csr, IdMap, Interactions, Row};
use crate::lambdamart::Table;
use crate::progress::TrainError;
use crate::random;
use crate::recommender::{Query, Visit};
use crate::split::{Holdout, Split};

/// Users are told apart by hash into so many parts.
const PARTS: u64 = 10;

/// One list that somebody is waiting to see ordered, best first by the first stage.
pub(super) struct List {
    /// Row-major, candidates × features.
    pub features: Vec<f32>,
    /// 1 where the candidate was held out.
    pub labels: Vec<u8>,
    /// Held-out items, among the candidates or not.
    pub held: usize,
    /// Part of the user, the same in all folds.
    pub part: u64,
}

impl List {
    /// Whether the trees never learn from it: a fifth of the users.
    pub fn checks(&self) -> bool {
        self.part.is_multiple_of(5)
    }

    /// Which half of the users it belongs to.
    pub fn half(&self) -> usize {
        usize::from(self.part >= PARTS / 2)
    }
}

/// The lists of all folds.
pub(super) fn lists(data: &Interactions, params: &Params) -> Result<Vec<List>, TrainError> {
    let folds = folds(data, params);
    let most = data.by_user().len() * folds.len();
    let share = (params.lists as f64 / most.max(1) as f64 * f64::from(u32::MAX)) as u64;
    let mut lists = Vec::new();
    for split in &folds {
        lists.extend(of_fold(split, params, share)?);
    }
    let checks = lists.iter().filter(|list| list.checks()).count();
    if checks == 0 || checks == lists.len() {
        return Err(TrainError::TooLittleData(
            "too few users with a held-out item among the candidates",
        ));
    }
    Ok(lists)
}

/// One list per user with something to find, of a share (of 2³²) of the users.
fn of_fold(split: &Split, params: &Params, share: u64) -> Result<Vec<List>, TrainError> {
    let facts = Facts::fit(&split.train, params)?;
    let (train, test) = (split.train.by_user(), Csr::from_interactions(&split.test));
    let list = |user: u32| {
        let id = split.train.users().id(user);
        let hash = random::mix(params.seed ^ random::mix(id as u64));
        if test.row(user).is_empty() || hash >> 32 > share {
            return None;
        }
        let history = visits(train.of(user), split.train.items(), facts.items());
        let query = Query {
            user: id,
            history: &history,
            at: split.cut.unwrap_or(history.last()?.ts),
        };
        let known = |item: &u32| facts.items().index(split.train.items().id(*item));
        let held: Vec<u32> = test.row(user).iter().filter_map(known).collect();
        let (items, features) = facts.features(&query, params.candidates);
        let is_held = |item: &u32| u8::from(held.binary_search(item).is_ok());
        let labels: Vec<u8> = items.iter().map(is_held).collect();
        let to_order = labels.contains(&1) && labels.contains(&0);
        to_order.then_some(List {
            features,
            labels,
            held: held.len(),
            part: hash % PARTS,
        })
    };
    let made: Vec<Option<List>> = (0..train.len() as u32).into_par_iter().map(list).collect();
    Ok(made.into_iter().flatten().collect())
}

/// Folds within the data; several earlier ones where they are cut by time, several draws where they are random.
fn folds(data: &Interactions, params: &Params) -> Vec<Split> {
    let count = params.folds.max(1);
    let splits: Vec<Split> = match params.validation {
        Holdout::RandomUser { fraction, seed } => (0..u64::from(count))
            .map(|more| {
                Split::new(
                    data,
                    Holdout::RandomUser {
                        fraction,
                        seed: seed.wrapping_add(more),
                    },
                )
            })
            .collect(),
        Holdout::TemporalAt { .. } => vec![Split::new(data, params.validation)],
        earlier => {
            let mut splits = vec![Split::new(data, earlier)];
            while splits.len() < count as usize {
                let next = Split::new(&splits[splits.len() - 1].train, earlier);
                splits.push(next);
            }
            splits
        }
    };
    let usable = |split: &Split| !split.train.is_empty() && !split.test.is_empty();
    splits.into_iter().filter(usable).collect()
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

/// The lists as the trees take them: all positives, and a share of the others.
pub(super) fn table(lists: &[&List], params: &Params) -> Table {
    let mut table = Table {
        width: FEATURES.len(),
        ..Table::default()
    };
    let limit = (params.negatives * f64::from(u32::MAX)) as u64;
    for (number, list) in lists.iter().enumerate() {
        let before = table.labels.len();
        for (at, row) in list.features.chunks_exact(FEATURES.len()).enumerate() {
            let draw = random::mix(params.seed ^ random::mix((number as u64) << 32 | at as u64)) >> 32;
            if list.labels[at] > 0 || draw <= limit {
                table.features.extend_from_slice(row);
                table.labels.push(list.labels[at]);
            }
        }
        table.groups.push(table.labels.len() - before);
    }
    table
}
