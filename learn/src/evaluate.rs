//! Scores a model over the users of a split, by the split's protocol.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{Csr, Grouped, IdMap, Row};
use crate::interval::{Bootstrap, Estimate, Undefined};
use crate::metrics::{self, ListScore, Metric};
use crate::random;
use crate::recommender::{Query, Recommender, Standing, Visit};
use crate::split::{CandidateSet, Split, sample};

/// How to judge.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Length of the list.
    pub k: usize,
    /// Among which items the held-out ones must be found.
    pub candidates: CandidateSet,
    /// The evaluation fails where a larger share of lists is tied at its end: such a metric would measure the tie rule. 1 allows all.
    pub max_tie_share: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            k: 10,
            candidates: CandidateSet::Full,
            max_tie_share: 0.1,
        }
    }
}

/// Why a model could not be judged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// A score is NaN or infinite.
    #[error("the score of item {item} for user {user} is not finite")]
    NotFinite {
        /// External id.
        user: i64,
        /// External id.
        item: i64,
    },
    /// Too many lists end in a tie, so the metric would measure the tie rule.
    #[error("{share:.3} of the lists are tied at their end, more than {limit:.3}")]
    Tied {
        /// Share of users.
        share: f64,
        /// What was allowed.
        limit: f64,
    },
    /// Two evaluations are not of the same users, list length and catalogue.
    #[error("the two evaluations differ in {0}")]
    NotComparable(&'static str),
}

/// One user's list and what it is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserResult {
    /// External id.
    pub user: i64,
    /// Number of training events.
    pub history: usize,
    /// First training event, Unix seconds.
    pub first_ts: Option<i64>,
    /// Number of relevant held-out items.
    pub relevant: usize,
    /// External item ids, best first.
    pub list: Vec<i64>,
    /// The metrics of the list.
    pub score: ListScore,
}

/// A model's results over the users of a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// How it was judged.
    pub options: Options,
    /// Users with a training history, by ascending id. All means are over these.
    pub users: Vec<UserResult>,
    /// Users without a training history, scored by the model's fallback; a slice of their own.
    pub cold: Vec<UserResult>,
    /// Users of the held-out part without a relevant item: not counted anywhere.
    pub without_positives: usize,
    /// Number of items eligible at the cut.
    pub catalogue: usize,
    /// Share of the catalogue that the model can't score (made on other data); ranked last.
    pub unknown_items: f64,
    /// Share of the catalogue that appears in any list of `users`.
    pub coverage: f64,
    /// Concentration of exposure over the catalogue, see [`metrics::gini`].
    pub gini: Option<f64>,
    /// Share of `users` whose list ends in a tie.
    pub tie_share: f64,
    /// Users by the ground on which they were scored: trained, folded in, fallback.
    pub standings: [usize; 3],
}

impl Evaluation {
    /// The metric of each user, in the order of `users`.
    pub fn values(&self, metric: Metric) -> Vec<f64> {
        self.users.iter().map(|user| user.score.get(metric)).collect()
    }

    /// The metric's mean over users with its interval.
    pub fn mean(&self, metric: Metric, bootstrap: &Bootstrap) -> Result<Estimate, Undefined> {
        bootstrap.mean(&self.values(metric))
    }

    /// The mean alone.
    pub fn point(&self, metric: Metric) -> Option<f64> {
        let values = self.values(metric);
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// The precision that a perfect model would have on these users.
    pub fn precision_ceiling(&self) -> Option<f64> {
        let sum: f64 = self.users.iter().map(|user| user.score.precision_ceiling).sum();
        (!self.users.is_empty()).then(|| sum / self.users.len() as f64)
    }

    /// The part on the users for which `belongs` holds: a cohort, or the fresh ones. Exposure is not recounted.
    pub fn slice(&self, belongs: impl Fn(&UserResult) -> bool) -> Self {
        let part = |all: &[UserResult]| all.iter().filter(|user| belongs(user)).cloned().collect();
        Self {
            users: part(&self.users),
            cold: part(&self.cold),
            ..self.clone()
        }
    }

    /// Both sides' values of a metric, user by user; refuses evaluations of other users, k or catalogue.
    pub fn paired(&self, baseline: &Self, metric: Metric) -> Result<[Vec<f64>; 2], EvalError> {
        if self.options.k != baseline.options.k || self.options.candidates != baseline.options.candidates {
            return Err(EvalError::NotComparable("list length or candidates"));
        }
        if self.catalogue != baseline.catalogue {
            return Err(EvalError::NotComparable("catalogue"));
        }
        let key = |result: &UserResult| (result.user, result.relevant, result.history);
        if !self.users.iter().map(key).eq(baseline.users.iter().map(key)) {
            return Err(EvalError::NotComparable("users"));
        }
        Ok([self.values(metric), baseline.values(metric)])
    }

    /// The change relative to a baseline on the same users: mean / mean − 1, paired.
    pub fn change(
        &self,
        baseline: &Self,
        metric: Metric,
        bootstrap: &Bootstrap,
    ) -> Result<Result<Estimate, Undefined>, EvalError> {
        let [candidate, base] = self.paired(baseline, metric)?;
        Ok(bootstrap.relative_change(&candidate, &base))
    }
}

/// Ranks the candidates of every held-out user and scores the lists.
///
/// Catalogue: the items of `split.train`. Relevant: the user's held-out items that are not in their training
/// history, in the catalogue or not. The model sees the training history and is asked as of the cut, or of the
/// user's last training event where there is no common cut.
pub fn evaluate(model: &dyn Recommender, split: &Split, options: &Options) -> Result<Evaluation, EvalError> {
    let bench = Bench::new(model, split, options);
    let users: Vec<u32> = (0..split.train.users().len() as u32)
        .filter(|user| !bench.test.of(*user).is_empty())
        .collect();
    let judged: Vec<Judged> = users
        .par_iter()
        .map_init(
            || Scratch::new(&bench),
            |scratch, user| bench.judge(*user, scratch),
        )
        .collect::<Result<_, _>>()?;
    bench.summarise(judged)
}

/// What does not change from user to user.
struct Bench<'a> {
    model: &'a dyn Recommender,
    options: &'a Options,
    split: &'a Split,
    train: Grouped,
    test: Grouped,
    seen: Csr,
    /// Items of the training part, by the split's index.
    catalogue: Vec<u32>,
    /// The split's item index → the model's.
    to_model: Vec<Option<u32>>,
}

struct Scratch {
    scores: Vec<f32>,
}

impl Scratch {
    fn new(bench: &Bench<'_>) -> Self {
        Self {
            scores: vec![0.0; bench.model.items().len()],
        }
    }
}

enum Judged {
    WithoutPositives,
    Cold(UserResult),
    Warm {
        result: UserResult,
        items: Vec<u32>,
        tied: bool,
        standing: Standing,
    },
}

impl<'a> Bench<'a> {
    fn new(model: &'a dyn Recommender, split: &'a Split, options: &'a Options) -> Self {
        let seen = Csr::from_interactions(&split.train);
        let mut catalogue = seen.columns.clone();
        catalogue.sort_unstable();
        catalogue.dedup();
        let to_model = map_items(split.train.items(), model.items());
        let (train, test) = (split.train.by_user(), split.test.by_user());
        Self {
            model,
            options,
            split,
            train,
            test,
            seen,
            catalogue,
            to_model,
        }
    }

    fn judge(&self, user: u32, scratch: &mut Scratch) -> Result<Judged, EvalError> {
        let relevant = self.relevant(user);
        if relevant.is_empty() {
            return Ok(Judged::WithoutPositives);
        }
        let standing = self.score(user, scratch);
        let id = self.split.train.users().id(user);
        let candidates = self.candidates(user, &relevant);
        let scored = self.scored(id, &candidates, scratch)?;
        let top = metrics::top_k(id, scored, self.options.k);
        let Some(score) = metrics::score_list(&top.items, &relevant, self.options.k) else {
            return Ok(Judged::WithoutPositives);
        };
        let history = self.train.of(user);
        let result = UserResult {
            user: id,
            history: history.len(),
            first_ts: history.first().map(|row| row.ts),
            relevant: relevant.len(),
            list: top
                .items
                .iter()
                .map(|item| self.split.train.items().id(*item))
                .collect(),
            score,
        };
        if history.is_empty() {
            return Ok(Judged::Cold(result));
        }
        Ok(Judged::Warm {
            result,
            items: top.items,
            tied: top.tied_at_boundary,
            standing,
        })
    }

    fn relevant(&self, user: u32) -> Vec<u32> {
        let seen = self.seen.row(user);
        let mut items: Vec<u32> = self.test.of(user).iter().map(|row| row.item).collect();
        items.sort_unstable();
        items.dedup();
        items.retain(|item| seen.binary_search(item).is_err());
        items
    }

    fn score(&self, user: u32, scratch: &mut Scratch) -> Standing {
        let rows = self.train.of(user);
        let visit = |row: &Row| {
            let item = self.to_model[row.item as usize]?;
            Some(Visit {
                item,
                value: row.value,
                ts: row.ts,
            })
        };
        let history: Vec<Visit> = rows.iter().filter_map(visit).collect();
        let last = rows.last().map(|row| row.ts).or(self.split.train.last_ts());
        let at = self.split.cut.or(last).unwrap_or(0);
        let query = Query {
            user: self.split.train.users().id(user),
            history: &history,
            at,
        };
        self.model.score(&query, &mut scratch.scores)
    }

    fn candidates(&self, user: u32, relevant: &[u32]) -> Vec<u32> {
        let seen = self.seen.row(user);
        let unseen = |item: u32| seen.binary_search(&item).is_err();
        match self.options.candidates {
            CandidateSet::Full => self
                .catalogue
                .iter()
                .copied()
                .filter(|item| unseen(*item))
                .collect(),
            CandidateSet::Sampled { negatives, seed } => {
                let mut rng = random::stream(seed, &[self.split.train.users().id(user) as u64]);
                let fits = |item: u32| unseen(item) && relevant.binary_search(&item).is_err();
                let mut items = sample(&self.catalogue, negatives * relevant.len(), &mut rng, fits);
                items.extend(relevant);
                items
            }
        }
    }

    fn scored(&self, user: i64, candidates: &[u32], scratch: &Scratch) -> Result<Vec<(u32, f32)>, EvalError> {
        let score = |item: &u32| {
            let Some(at) = self.to_model[*item as usize] else {
                return Ok((*item, f32::NEG_INFINITY));
            };
            let score = scratch.scores[at as usize];
            if score.is_finite() {
                return Ok((*item, score));
            }
            Err(EvalError::NotFinite {
                user,
                item: self.split.train.items().id(*item),
            })
        };
        candidates.iter().map(score).collect()
    }

    fn summarise(&self, judged: Vec<Judged>) -> Result<Evaluation, EvalError> {
        let mut exposure: HashMap<u32, u32> = self.catalogue.iter().map(|item| (*item, 0)).collect();
        let (mut users, mut cold) = (Vec::new(), Vec::new());
        let (mut without_positives, mut ties, mut standings) = (0, 0, [0; 3]);
        for one in judged {
            match one {
                Judged::WithoutPositives => without_positives += 1,
                Judged::Cold(result) => cold.push(result),
                Judged::Warm {
                    result,
                    items,
                    tied,
                    standing,
                } => {
                    users.push(result);
                    ties += usize::from(tied);
                    standings[standing as usize] += 1;
                    for item in items {
                        *exposure.entry(item).or_default() += 1;
                    }
                }
            }
        }
        let tie_share = ties as f64 / users.len().max(1) as f64;
        if tie_share > self.options.max_tie_share {
            return Err(EvalError::Tied {
                share: tie_share,
                limit: self.options.max_tie_share,
            });
        }
        let counts: Vec<u32> = self.catalogue.iter().map(|item| exposure[item]).collect();
        let share = |count: usize| count as f64 / self.catalogue.len().max(1) as f64;
        Ok(Evaluation {
            options: *self.options,
            users,
            cold,
            without_positives,
            catalogue: self.catalogue.len(),
            unknown_items: share(
                self.catalogue
                    .iter()
                    .filter(|item| self.to_model[**item as usize].is_none())
                    .count(),
            ),
            coverage: share(counts.iter().filter(|count| **count > 0).count()),
            gini: metrics::gini(&counts),
            tie_share,
            standings,
        })
    }
}

fn map_items(from: &IdMap, to: &IdMap) -> Vec<Option<u32>> {
    from.ids().iter().map(|id| to.index(*id)).collect()
}
