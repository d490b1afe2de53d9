//! One tree, leaf by leaf: always the leaf whose best split gains most.

use rayon::prelude::*;

use super::bins::Binned;
use super::{Node, Params};

/// Sums of first and second derivatives, and the number of rows.
type Sums = [f64; 3];
/// Per feature and bin.
type Histogram = Vec<Vec<Sums>>;

struct Leaf {
    node: usize,
    rows: Vec<u32>,
    histogram: Histogram,
    sums: Sums,
    best: Option<Best>,
}

#[derive(Clone, Copy)]
struct Best {
    gain: f64,
    feature: usize,
    bin: usize,
    left: Sums,
}

/// What a tree is grown on.
pub(super) struct Ground<'a> {
    pub(super) binned: &'a Binned,
    /// First and second, per row.
    pub(super) derivatives: &'a [(f64, f64)],
}

/// Grows a tree and adds its values to `scores`.
pub(super) fn grow(ground: &Ground<'_>, params: &Params, scores: &mut [f64]) -> Vec<Node> {
    let rows: Vec<u32> = (0..ground.derivatives.len() as u32).collect();
    let histogram = build(ground, &rows);
    let sums = histogram
        .first()
        .map_or([0.0; 3], |feature| feature.iter().fold([0.0; 3], plus));
    let mut nodes = vec![Node::Leaf(0.0)];
    let best = best_split(&histogram, sums, params);
    let mut leaves = vec![Leaf {
        node: 0,
        rows,
        histogram,
        sums,
        best,
    }];
    while leaves.len() < params.leaves {
        let Some(at) = most_gaining(&leaves) else { break };
        let leaf = leaves.swap_remove(at);
        let Some(best) = leaf.best else { break };
        let children = split(leaf, best, ground, &mut nodes);
        leaves.extend(children.into_iter().map(|mut leaf| {
            leaf.best = best_split(&leaf.histogram, leaf.sums, params);
            leaf
        }));
    }
    for leaf in &leaves {
        let value = (-params.learning_rate * leaf.sums[0] / (leaf.sums[1] + params.l2).max(1e-12)) as f32;
        nodes[leaf.node] = Node::Leaf(value);
        leaf.rows
            .iter()
            .for_each(|row| scores[*row as usize] += f64::from(value));
    }
    nodes
}

fn most_gaining(leaves: &[Leaf]) -> Option<usize> {
    let mut found: Option<(f64, usize, usize)> = None;
    for (at, leaf) in leaves.iter().enumerate() {
        let Some(best) = leaf.best else { continue };
        if found.is_none_or(|(gain, node, _)| best.gain > gain || (best.gain == gain && leaf.node < node)) {
            found = Some((best.gain, leaf.node, at));
        }
    }
    found.map(|(_, _, at)| at)
}

fn split(leaf: Leaf, best: Best, ground: &Ground<'_>, nodes: &mut Vec<Node>) -> [Leaf; 2] {
    let (left, right) = (nodes.len(), nodes.len() + 1);
    nodes[leaf.node] = Node::Split {
        feature: best.feature as u32,
        threshold: ground.binned.bounds[best.feature][best.bin],
        left: left as u32,
        right: right as u32,
    };
    nodes.extend([Node::Leaf(0.0); 2]);
    let column = &ground.binned.columns[best.feature];
    let (left_rows, right_rows): (Vec<u32>, Vec<u32>) = leaf
        .rows
        .iter()
        .partition(|row| usize::from(column[**row as usize]) <= best.bin);
    let small_is_left = left_rows.len() <= right_rows.len();
    let small = build(ground, if small_is_left { &left_rows } else { &right_rows });
    let mut large = leaf.histogram;
    for (sums, part) in large.iter_mut().flatten().zip(small.iter().flatten()) {
        *sums = minus(*sums, part);
    }
    let (left_histogram, right_histogram) = if small_is_left {
        (small, large)
    } else {
        (large, small)
    };
    let right_sums = minus(leaf.sums, &best.left);
    [
        Leaf {
            node: left,
            rows: left_rows,
            histogram: left_histogram,
            sums: best.left,
            best: None,
        },
        Leaf {
            node: right,
            rows: right_rows,
            histogram: right_histogram,
            sums: right_sums,
            best: None,
        },
    ]
}

/// Each feature is summed by one thread in row order, so the sums don't depend on the number of threads.
fn build(ground: &Ground<'_>, rows: &[u32]) -> Histogram {
    let ordered: Vec<(f64, f64)> = rows.iter().map(|row| ground.derivatives[*row as usize]).collect();
    let binned = ground.binned;
    let feature = |(column, bounds): (&Vec<u8>, &Vec<f32>)| {
        let mut sums = vec![[0.0; 3]; bounds.len() + 1];
        for (row, (first, second)) in rows.iter().zip(&ordered) {
            let bin = &mut sums[usize::from(column[*row as usize])];
            bin[0] += first;
            bin[1] += second;
            bin[2] += 1.0;
        }
        sums
    };
    binned
        .columns
        .par_iter()
        .zip(&binned.bounds)
        .map(feature)
        .collect()
}

fn best_split(histogram: &Histogram, sums: Sums, params: &Params) -> Option<Best> {
    let score = |sums: &Sums| sums[0] * sums[0] / (sums[1] + params.l2).max(1e-12);
    let enough = |sums: &Sums| sums[2] >= params.min_rows as f64 && sums[1] >= params.min_hessian;
    let whole = score(&sums);
    let mut best: Option<Best> = None;
    for (feature, bins) in histogram.iter().enumerate() {
        let mut left = [0.0; 3];
        for (bin, part) in bins.iter().enumerate().take(bins.len() - 1) {
            left = plus(left, part);
            let right = minus(sums, &left);
            if !enough(&left) || !enough(&right) {
                continue;
            }
            let gain = score(&left) + score(&right) - whole;
            if gain > best.map_or(1e-12, |best| best.gain) {
                best = Some(Best {
                    gain,
                    feature,
                    bin,
                    left,
                });
            }
        }
    }
    best
}

fn plus(a: Sums, b: &Sums) -> Sums {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

fn minus(a: Sums, b: &Sums) -> Sums {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}
