//! Cohorts of `temporal_full`: tenure, activity, and the slice columns of the table. Small ones are merged, never hidden.

use std::collections::BTreeMap;

use tidegate_learn::evaluate::UserResult;
use tidegate_learn::interval::Bootstrap;
use tidegate_learn::{Evaluation, Metric};

use super::Failure;
use super::compare::{Compared, change};
use super::judge::interval;
use super::report::Slice;
use crate::feature_build::folds::Folds;

const WEEK: i64 = 7 * 86_400;
const OTHER: &str = "other";

/// One way of dividing users, and the cohort of each.
struct Division<'a> {
    name: &'a str,
    cohort: Box<dyn Fn(&UserResult) -> String + 'a>,
}

/// One part of a division.
struct Cohort<'a> {
    by: &'a str,
    name: &'a str,
    judged: bool,
}

/// All slices of an evaluation, by name and cohort.
pub(super) fn slices(
    folds: &Folds,
    candidate: &Evaluation,
    production: Option<&Compared>,
    min_support: usize,
) -> Result<Vec<Slice>, Failure> {
    let mut slices = Vec::new();
    for division in divisions(folds) {
        let cohorts = cohorts(candidate, &division, min_support);
        for (cohort, judged) in &cohorts {
            let members = |user: &UserResult| cohort_of(&cohorts, &division, user) == *cohort;
            let part = candidate.slice(members);
            let compared = production.map(|p| Compared {
                judged: p.judged.slice(members),
                against: p.against.clone(),
            });
            let cohort = Cohort {
                by: division.name,
                name: cohort,
                judged: *judged,
            };
            slices.push(slice(cohort, &part, compared.as_ref())?);
        }
    }
    Ok(slices)
}

fn divisions(folds: &Folds) -> Vec<Division<'_>> {
    let cut = folds.cuts.cut;
    let tenure = move |user: &UserResult| {
        let fresh = user.first_ts.is_none_or(|first| cut - first < WEEK);
        if fresh { "under 7 days" } else { "7 days and more" }.to_owned()
    };
    let activity = |user: &UserResult| {
        match user.history {
            0..10 => "under 10 events",
            10..50 => "10 to 49 events",
            _ => "50 events and more",
        }
        .to_owned()
    };
    let mut all = vec![
        Division {
            name: "tenure",
            cohort: Box::new(tenure),
        },
        Division {
            name: "activity",
            cohort: Box::new(activity),
        },
    ];
    for (name, cohort_of) in &folds.cohorts {
        let cohort = |user: &UserResult| {
            cohort_of
                .get(&user.user)
                .map_or("unknown", String::as_str)
                .to_owned()
        };
        all.push(Division {
            name,
            cohort: Box::new(cohort),
        });
    }
    all
}

/// The cohorts that stand for themselves, and `other` where any is too small; whether each is judged.
fn cohorts(candidate: &Evaluation, division: &Division<'_>, min_support: usize) -> BTreeMap<String, bool> {
    let mut sizes = BTreeMap::<String, usize>::new();
    for user in &candidate.users {
        *sizes.entry((division.cohort)(user)).or_default() += 1;
    }
    let small: usize = sizes.values().filter(|n| **n < min_support).sum();
    let mut kept: BTreeMap<String, bool> = sizes
        .into_iter()
        .filter(|(_, n)| *n >= min_support)
        .map(|(cohort, _)| (cohort, true))
        .collect();
    if small > 0 {
        kept.insert(OTHER.to_owned(), small >= min_support);
    }
    kept
}

fn cohort_of(cohorts: &BTreeMap<String, bool>, division: &Division<'_>, user: &UserResult) -> String {
    let own = (division.cohort)(user);
    if cohorts.contains_key(&own) {
        own
    } else {
        OTHER.to_owned()
    }
}

fn slice(cohort: Cohort<'_>, part: &Evaluation, production: Option<&Compared>) -> Result<Slice, Failure> {
    let mean = |metric| part.mean(metric, &Bootstrap::default()).map(interval).ok();
    Ok(Slice {
        by: cohort.by.to_owned(),
        cohort: cohort.name.to_owned(),
        n_users: part.users.len() as u64,
        judged: cohort.judged,
        ndcg_at_10: mean(Metric::Ndcg),
        precision_at_10: mean(Metric::Precision),
        change_ndcg_at_10: change(part, production, Metric::Ndcg)?,
    })
}
