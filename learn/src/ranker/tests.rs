#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use rand::RngExt;

use super::blend::{fit, straight};
use super::features::{BASE, FEATURES, SIGNS};
use super::labels::{List, table};
use super::score::Check;
use super::{Forest, Params};
use crate::lambdamart;
use crate::progress::Silent;
use crate::random;

/// Lists of 40 whose labels follow `weight · base + other · sign`, and are otherwise luck.
fn lists(weight: f64, other: f64) -> Vec<List> {
    let mut rng = random::stream(3, &[]);
    let mut list = |number: u64| {
        let features: Vec<f32> = (0..40 * FEATURES.len())
            .map(|_| random::normal(&mut rng) as f32)
            .collect();
        let wish = |row: &[f32]| weight * f64::from(row[BASE]) + other * f64::from(row[SIGNS[2]]) - 2.0;
        let labels: Vec<u8> = features
            .chunks_exact(FEATURES.len())
            .map(|row| u8::from(rng.random::<f64>() < 1.0 / (1.0 + (-wish(row)).exp())))
            .collect();
        let held = labels.iter().filter(|label| **label > 0).count();
        List {
            features,
            labels,
            held,
            part: number % 10,
        }
    };
    (0..600).map(&mut list).filter(|list| list.held > 0).collect()
}

#[test]
fn a_signal_that_tells_more_is_taken_up_and_luck_is_not() {
    let weights = fit(&lists(1.0, 1.0));
    let ratio = weights[SIGNS[2]] / weights[BASE];
    assert!((0.6..1.5).contains(&ratio), "{weights:?}");
    let strays = SIGNS
        .iter()
        .filter(|sign| **sign != SIGNS[2] && weights[**sign].abs() > 0.15);
    assert_eq!(strays.count(), 0, "{weights:?}");
}

#[test]
fn where_no_signal_tells_more_the_order_stays_that_of_the_first_stage() {
    let lists = lists(1.5, 0.0);
    let weights = fit(&lists);
    let (check, learn): (Vec<&List>, Vec<&List>) = lists.iter().partition(|list| list.checks());
    let mut table = table(&learn, &Params::default());
    let rows = table.features.chunks_exact(table.width);
    table.start = rows.map(|row| straight(&weights, row)).collect();
    let params = lambdamart::Params {
        trees: 30,
        ..Default::default()
    };
    let forest = Forest::fit(&table, &params, &mut Silent).unwrap();
    let mut seen = Check::new(&weights, &check);
    seen.goes_on(&forest);
    assert_eq!(seen.kept(), 0);
    let strays = SIGNS.iter().filter(|sign| weights[**sign].abs() > 0.15);
    assert_eq!(strays.count(), 0, "{weights:?}");
}
