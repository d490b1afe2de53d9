//! Times LambdaMART on a made-up table and writes it, for LightGBM to be timed on the same (`lambdamart.py`).
//!
//! `cargo run -p tidegate-learn --example lambdamart -- /tmp/table.bin`
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program to look at, timed by the clock"
)]

use std::time::Instant;

use tidegate_learn::Silent;
use tidegate_learn::lambdamart::{Forest, Params, Table};
use tidegate_learn::metrics::score_list;

const GROUPS: usize = 2000;
/// Of which so many, the first ones, are learnt from.
const LEARNT: usize = 1600;
const ROWS: usize = 100;
const WIDTH: usize = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("where to?")?;
    let table = table();
    std::fs::write(path, bytes(&table))?;
    let params = Params {
        trees: 100,
        leaves: 31,
        ..Params::default()
    };
    let mut learnt = table.clone();
    learnt.groups.truncate(LEARNT);
    learnt.labels.truncate(LEARNT * ROWS);
    learnt.features.truncate(LEARNT * ROWS * WIDTH);
    let start = Instant::now();
    let forest = Forest::fit(&learnt, &params, &mut Silent)?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "ours {seconds:.2} s, NDCG@10 on the lists it has not seen {:.4}",
        ndcg(&table, &forest)
    );
    Ok(())
}

/// Labels follow a few features and a product of two; the rest is noise.
fn table() -> Table {
    let mut state = 1u64;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut table = Table {
        width: WIDTH,
        ..Table::default()
    };
    for _ in 0..GROUPS {
        for _ in 0..ROWS {
            let row: Vec<f32> = (0..WIDTH).map(|_| uniform()).collect();
            let wish = row[0] + row[1] * row[2] + 0.5 * row[3] - 1.9;
            table
                .labels
                .push(u8::from(uniform() < 1.0 / (1.0 + (-6.0 * wish).exp())));
            table.features.extend(row);
        }
        table.groups.push(ROWS);
    }
    table
}

/// Groups, rows per group, width as u32; features as f32, row by row; labels as u8.
fn bytes(table: &Table) -> Vec<u8> {
    let head = [GROUPS, ROWS, WIDTH].map(|number| (number as u32).to_le_bytes());
    let features = table.features.iter().flat_map(|value| value.to_le_bytes());
    head.into_iter()
        .flatten()
        .chain(features)
        .chain(table.labels.iter().copied())
        .collect()
}

fn ndcg(table: &Table, forest: &Forest) -> f64 {
    let scores: Vec<f32> = table
        .features
        .chunks_exact(WIDTH)
        .map(|row| forest.predict(row))
        .collect();
    let each = (LEARNT..GROUPS).filter_map(|group| {
        let rows = group * ROWS..(group + 1) * ROWS;
        let mut order: Vec<usize> = rows.clone().collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let relevant: Vec<usize> = rows.filter(|row| table.labels[*row] > 0).collect();
        Some(score_list(&order, &relevant, 10)?.ndcg)
    });
    each.sum::<f64>() / (GROUPS - LEARNT) as f64
}
