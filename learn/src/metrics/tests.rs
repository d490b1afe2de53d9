#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]
use proptest::prelude::*;

use super::*;
use crate::interval::{Bootstrap, Undefined, welch};

#[test]
fn three_of_fifty_relevant_at_the_ends_and_in_the_middle() {
    let list: Vec<u32> = (0..50).collect();
    let score = score_list(&list, &[0, 25, 49], 10).unwrap();
    assert_eq!(format!("{:.3}", score.ndcg), "0.469");
    assert_eq!((score.precision, score.mrr, score.hit_rate), (0.1, 1.0, 1.0));
    assert!((score.recall - 1.0 / 3.0).abs() < 1e-12 && (score.map - 1.0 / 3.0).abs() < 1e-12);
    assert_eq!(score.precision_ceiling, 0.3);
}

/// How tests/reference_metrics.py calls them.
#[derive(serde::Deserialize)]
struct Case {
    list: Vec<u32>,
    relevant: Vec<u32>,
    #[serde(flatten)]
    worth: std::collections::HashMap<String, [f64; 2]>,
}

#[test]
fn ranx_and_ir_measures_give_the_same_numbers() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../tests/reference_metrics.json")).unwrap();
    for case in &cases {
        let score = score_list(&case.list, &case.relevant, 10).unwrap();
        for metric in Metric::ALL {
            let key = metric.key(10);
            for theirs in case.worth[key.trim_end_matches("_at_10")] {
                let ours = score.get(metric);
                assert!(
                    (ours - theirs).abs() < 5e-5,
                    "{key} of {:?}: {ours} {theirs}",
                    case.list
                );
            }
        }
    }
    assert_eq!(cases.len(), 60);
}

#[test]
fn nobody_profits_from_repeats_short_lists_or_nothing_relevant() {
    assert_eq!(score_list(&[1, 1, 1], &[1], 10).unwrap().ndcg, 1.0);
    assert_eq!(score_list(&[1], &[1, 2], 10).unwrap().precision, 0.1);
    assert_eq!(score_list::<u32>(&[1], &[], 10), None);
    assert_eq!(
        score_list::<u32>(&[], &[1], 10).unwrap(),
        ListScore {
            precision_ceiling: 0.1,
            ..Default::default()
        }
    );
}

#[test]
fn ties_are_seen_and_not_broken_by_position() {
    let constant: Vec<(u32, f32)> = (0..50).map(|item| (item, 1.0)).collect();
    let tops: Vec<Top> = (0..20).map(|user| top_k(user, constant.clone(), 10)).collect();
    assert!(tops.iter().all(|top| top.tied_at_boundary));
    assert!(tops.iter().all(|top| top.items != (0..10).collect::<Vec<u32>>()));
    assert_eq!(
        top_k(3, constant.clone(), 10),
        top_k(3, constant.into_iter().rev().collect(), 10)
    );
    assert!(!top_k(1, vec![(0, 3.0), (1, 2.0), (2, 1.0)], 2).tied_at_boundary);
    assert!(top_k(1, vec![(0, 1.0), (1, 0.0), (2, -0.0)], 2).tied_at_boundary);
}

#[test]
fn gini_is_zero_for_even_and_near_one_for_single() {
    assert_eq!(gini(&[4, 4, 4]), Some(0.0));
    assert_eq!(gini(&[0, 0, 0, 8]), Some(0.75));
    assert_eq!(gini(&[0, 0]), None);
}

#[test]
fn an_undefined_estimate_is_no_number() {
    let bootstrap = Bootstrap::default();
    assert_eq!(bootstrap.mean(&[]), Err(Undefined::NoUsers));
    assert_eq!(bootstrap.mean(&[f64::NAN]), Err(Undefined::NotFinite));
    assert_eq!(
        bootstrap.relative_change(&[1.0], &[0.0]),
        Err(Undefined::ZeroBaseline)
    );
    assert_eq!(
        bootstrap.relative_change(&[1.0], &[1.0, 2.0]),
        Err(Undefined::Unpaired)
    );
    let even = bootstrap.relative_change(&[1.2; 30], &[1.0; 30]).unwrap();
    assert!((even.value - 0.2).abs() < 1e-12 && (even.high - even.low).abs() < 1e-12);
    let halves: Vec<f64> = (0..100).map(|at| f64::from(at % 2)).collect();
    let mean = bootstrap.mean(&halves).unwrap();
    assert!(
        (mean.low - 0.402).abs() < 0.02 && (mean.high - 0.598).abs() < 0.02,
        "{mean:?}"
    );
}

#[test]
fn welch_gives_the_textbook_numbers() {
    // t(2) has P(|T| > √2) = 1 − √2/2 · … in closed form: 1 − t / √(2 + t²).
    let same = welch(&[1.0, 1.0], &[1.0, 1.0]).unwrap();
    assert_eq!((same.t, same.p), (0.0, 1.0));
    assert_eq!(welch(&[1.0, 1.0], &[2.0, 2.0]).unwrap().p, 0.0);
    assert_eq!(welch(&[1.0, f64::NAN], &[1.0, 2.0]), None);
    let two = welch(&[0.0, 2.0], &[3.0, 5.0]).unwrap();
    assert!((two.df - 2.0).abs() < 1e-12);
    let exact = 1.0 - two.t.abs() / (2.0 + two.t * two.t).sqrt();
    assert!((two.p - exact).abs() < 1e-12, "{two:?} {exact}");
}

proptest! {
    #[test]
    fn metrics_stay_in_bounds_and_the_ideal_list_is_perfect(
        list in proptest::collection::vec(0u32..30, 0..20),
        relevant in proptest::collection::btree_set(0u32..30, 1..12),
        k in 1usize..15,
    ) {
        let relevant: Vec<u32> = relevant.into_iter().collect();
        let score = score_list(&list, &relevant, k).unwrap();
        for metric in Metric::ALL {
            prop_assert!((0.0..=1.0 + 1e-12).contains(&score.get(metric)));
        }
        prop_assert!(score.precision <= score.precision_ceiling);
        let ideal = score_list(&relevant, &relevant, k).unwrap();
        prop_assert!((ideal.ndcg - 1.0).abs() < 1e-12);
        prop_assert_eq!(ideal.precision, ideal.precision_ceiling);
    }
}
