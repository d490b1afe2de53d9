//! Features as small integers: at most 255 ordered bins per feature.

use rayon::prelude::*;

use super::Table;

/// A feature-major copy of a table's features.
pub(super) struct Binned {
    /// Per feature: the bin of each row.
    pub(super) columns: Vec<Vec<u8>>,
    /// Per feature: upper bounds of all bins but the last; a value falls into the first bin whose bound it does
    /// not exceed.
    pub(super) bounds: Vec<Vec<f32>>,
}

impl Binned {
    pub(super) fn new(table: &Table, bins: usize) -> Self {
        let feature = |feature: usize| {
            let values: Vec<f32> = table
                .features
                .iter()
                .skip(feature)
                .step_by(table.width)
                .copied()
                .collect();
            let bounds = bounds(&values, bins);
            let bin = |value: &f32| bounds.partition_point(|bound| bound < value) as u8;
            (values.iter().map(bin).collect(), bounds)
        };
        let (columns, bounds) = (0..table.width).into_par_iter().map(feature).unzip();
        Self { columns, bounds }
    }
}

/// Bounds half-way between neighbours, at about equal numbers of rows.
fn bounds(values: &[f32], bins: usize) -> Vec<f32> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let bins = bins.clamp(2, 255);
    let mut bounds: Vec<f32> = Vec::new();
    let step = (sorted.len() as f64 / bins as f64).max(1.0);
    let mut next = step;
    for at in 1..sorted.len() {
        if sorted[at] > sorted[at - 1] && at as f64 >= next && bounds.len() < bins - 1 {
            let middle = sorted[at - 1] + (sorted[at] - sorted[at - 1]) / 2.0;
            bounds.push(if middle < sorted[at] {
                middle
            } else {
                sorted[at - 1]
            });
            next = at as f64 + step;
        }
    }
    bounds
}
