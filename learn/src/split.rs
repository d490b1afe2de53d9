//! Named protocols: which events are held out, and among which candidates they must be found.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::data::{Event, IdMap, Interactions, Row};
use crate::random;

/// Which events are held out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Holdout {
    /// One cut in time for all; the last `fraction` of events is held out (T10 is 0.1).
    Temporal {
        /// Share of events after the cut, in (0, 1).
        fraction: f64,
    },
    /// One cut in time for all, given as Unix seconds; events at or after it are held out.
    TemporalAt {
        /// The first held-out second.
        cut: i64,
    },
    /// The last `fraction` of each user's items, by first interaction (U20 is 0.2). Leaks between users.
    UserLast {
        /// Share of a user's items, in (0, 1).
        fraction: f64,
    },
    /// The last item of each user. Leaks between users; precision at 10 can't exceed 0.1.
    LeaveOneOut,
    /// A random `fraction` of each user's items (R20 is 0.2). Leaks the future.
    RandomUser {
        /// Share of a user's items, in (0, 1).
        fraction: f64,
        /// Decides which.
        seed: u64,
    },
}

/// Among which items the held-out ones must be found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CandidateSet {
    /// The whole catalogue of the training part, less what the user has seen there.
    Full,
    /// The positives and `negatives` uniform unseen items per positive (s99 is 99). Flatters every model.
    Sampled {
        /// Negatives per positive.
        negatives: usize,
        /// Decides which.
        seed: u64,
    },
}

/// A named way of judging; a metric means nothing without it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// What is held out.
    pub holdout: Holdout,
    /// What it competes with.
    pub candidates: CandidateSet,
}

impl Protocol {
    /// The protocol of a name: `temporal_full` (last 10 % of events), `user_last_20_full`,
    /// `leave_one_out_full`, `leave_one_out_s99` or `random_user_20_full`.
    pub fn named(name: &str, seed: u64) -> Option<Self> {
        let full = CandidateSet::Full;
        let sampled = CandidateSet::Sampled { negatives: 99, seed };
        let (holdout, candidates) = match name {
            "temporal_full" => (Holdout::Temporal { fraction: 0.1 }, full),
            "user_last_20_full" => (Holdout::UserLast { fraction: 0.2 }, full),
            "leave_one_out_full" => (Holdout::LeaveOneOut, full),
            "leave_one_out_s99" => (Holdout::LeaveOneOut, sampled),
            "random_user_20_full" => (Holdout::RandomUser { fraction: 0.2, seed }, full),
            _ => return None,
        };
        Some(Self { holdout, candidates })
    }

    /// The name, as it prefixes metrics. Seeds and instants are not part of it.
    pub fn name(&self) -> String {
        let percent = |fraction: f64| (fraction * 100.0).round() as u32;
        let holdout = match self.holdout {
            Holdout::Temporal { .. } | Holdout::TemporalAt { .. } => "temporal".to_owned(),
            Holdout::UserLast { fraction } => format!("user_last_{}", percent(fraction)),
            Holdout::LeaveOneOut => "leave_one_out".to_owned(),
            Holdout::RandomUser { fraction, .. } => format!("random_user_{}", percent(fraction)),
        };
        match self.candidates {
            CandidateSet::Full => format!("{holdout}_full"),
            CandidateSet::Sampled { negatives, .. } => format!("{holdout}_s{negatives}"),
        }
    }
}

/// What may be learnt from, and what is held out, on the same id maps.
#[derive(Clone, Debug)]
pub struct Split {
    /// For training; its items are the catalogue.
    pub train: Interactions,
    /// Held out. Pairs of user and item that also occur in `train` are never counted as relevant.
    pub test: Interactions,
    /// The instant of the cut, where one is common to all users: Unix seconds.
    pub cut: Option<i64>,
}

impl Split {
    /// Splits by a rule. The parts share the id maps of `data`; together they may be less than `data`,
    /// where later visits to earlier items would tell of the future.
    pub fn new(data: &Interactions, holdout: Holdout) -> Self {
        match holdout {
            Holdout::Temporal { fraction } => Self::at(data, cut_of_fraction(data, fraction)),
            Holdout::TemporalAt { cut } => Self::at(data, cut),
            Holdout::UserLast { fraction } => Self::last_items(data, |n| part(n, fraction)),
            Holdout::LeaveOneOut => Self::last_items(data, |n| usize::from(n > 1)),
            Holdout::RandomUser { fraction, seed } => Self::random_items(data, fraction, seed),
        }
    }

    /// A split that was made elsewhere, from its two parts.
    pub fn from_parts(train: &[Event], test: &[Event], cut: Option<i64>) -> Self {
        let all = || train.iter().chain(test);
        let users = Arc::new(IdMap::new(all().map(|event| event.user).collect()));
        let items = Arc::new(IdMap::new(all().map(|event| event.item).collect()));
        Self {
            train: Interactions::with_maps(train, users.clone(), items.clone()),
            test: Interactions::with_maps(test, users, items),
            cut,
        }
    }

    /// Training events that tell of what is held out: those at or after a common cut, and without one
    /// those whose pair of user and item is held out too. 0 for every split made here.
    pub fn leaks(&self) -> usize {
        if let Some(cut) = self.cut {
            return self.train.rows().iter().filter(|row| row.ts >= cut).count();
        }
        let held: HashSet<(u32, u32)> = self.test.rows().iter().map(|row| (row.user, row.item)).collect();
        self.train
            .rows()
            .iter()
            .filter(|row| held.contains(&(row.user, row.item)))
            .count()
    }

    fn at(data: &Interactions, cut: i64) -> Self {
        let train = data.select(|_, row| row.ts < cut);
        let test = data.select(|_, row| row.ts >= cut);
        Self {
            train,
            test,
            cut: Some(cut),
        }
    }

    fn last_items(data: &Interactions, held_out: impl Fn(usize) -> usize) -> Self {
        let mut cut_of = HashMap::new();
        let mut held = HashSet::new();
        for_each_user(data, |user, firsts| {
            let keep = firsts.len() - held_out(firsts.len());
            held.extend(firsts[keep..].iter().map(|row| (user, row.item)));
            if let Some(row) = firsts.get(keep) {
                cut_of.insert(user, row.ts);
            }
        });
        let is_held = |row: &Row| held.contains(&(row.user, row.item));
        let is_past = |row: &Row| cut_of.get(&row.user).is_none_or(|cut| row.ts <= *cut);
        let train = data.select(|_, row| !is_held(row) && is_past(row));
        Self {
            train,
            test: data.select(|_, row| is_held(row)),
            cut: None,
        }
    }

    fn random_items(data: &Interactions, fraction: f64, seed: u64) -> Self {
        let mut held = HashSet::new();
        for_each_user(data, |user, firsts| {
            let mut items: Vec<u32> = firsts.iter().map(|row| row.item).collect();
            items.shuffle(&mut random::stream(seed, &[data.users().id(user) as u64]));
            held.extend(
                items[..part(items.len(), fraction)]
                    .iter()
                    .map(|item| (user, *item)),
            );
        });
        let is_held = |row: &Row| held.contains(&(row.user, row.item));
        Self {
            train: data.select(|_, row| !is_held(row)),
            test: data.select(|_, row| is_held(row)),
            cut: None,
        }
    }
}

/// Calls `visit` with each user's first row per item, in time order.
fn for_each_user(data: &Interactions, mut visit: impl FnMut(u32, &[Row])) {
    let grouped = data.by_user();
    let mut seen = HashSet::new();
    for user in 0..grouped.len() as u32 {
        seen.clear();
        let firsts: Vec<Row> = grouped
            .of(user)
            .iter()
            .filter(|row| seen.insert(row.item))
            .copied()
            .collect();
        visit(user, &firsts);
    }
}

/// How many of `n` are held out: the rounded share, at least one, and never all.
fn part(n: usize, fraction: f64) -> usize {
    if n < 2 {
        return 0;
    }
    ((n as f64 * fraction).round() as usize).clamp(1, n - 1)
}

/// The instant such that about `fraction` of the events lie at or after it.
fn cut_of_fraction(data: &Interactions, fraction: f64) -> i64 {
    let at = (data.len() as f64 * (1.0 - fraction)).floor() as usize;
    match data.rows().get(at) {
        Some(row) => row.ts,
        None => data.last_ts().map_or(i64::MAX, |ts| ts.saturating_add(1)),
    }
}

/// Uniform sample of `wanted` different values of `pool` for which `fits` holds.
pub(crate) fn sample(
    pool: &[u32],
    wanted: usize,
    rng: &mut random::Stream,
    fits: impl Fn(u32) -> bool,
) -> Vec<u32> {
    let mut chosen = HashSet::new();
    let mut out = Vec::with_capacity(wanted);
    let mut tries = 0;
    while out.len() < wanted && tries < wanted * 50 && !pool.is_empty() {
        tries += 1;
        let item = pool[rng.random_range(0..pool.len())];
        if fits(item) && chosen.insert(item) {
            out.push(item);
        }
    }
    out
}
