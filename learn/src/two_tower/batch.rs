//! One step: in-batch softmax, its gradient, and row-sparse Adam on unit rows.

use rayon::prelude::*;

use super::serve::normalise;
use crate::data::Csr;
use crate::linalg::{Product, dot};
use crate::random;

/// Rows of a batch that one thread handles at a time. Fixed, so that sums don't depend on the thread count.
const BLOCK: usize = 256;
/// Rows of a table that one thread updates at a time.
const SHARD: usize = 64;
const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Unit vectors with the moments of Adam, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    pub(super) dim: usize,
    pub(super) weights: Vec<f32>,
    pub(super) first: Vec<f32>,
    pub(super) second: Vec<f32>,
}

impl Table {
    pub(super) fn random(rows: usize, dim: usize, seed: u64, label: u64) -> Self {
        let mut rng = random::stream(seed, &[label]);
        let mut weights: Vec<f32> = (0..rows * dim).map(|_| random::normal(&mut rng) as f32).collect();
        weights.chunks_exact_mut(dim).for_each(normalise);
        Self {
            dim,
            first: vec![0.0; rows * dim],
            second: vec![0.0; rows * dim],
            weights,
        }
    }

    fn row(&self, row: u32) -> &[f32] {
        &self.weights[row as usize * self.dim..(row as usize + 1) * self.dim]
    }

    fn gather(&self, rows: &[u32]) -> Vec<f32> {
        rows.iter().flat_map(|row| self.row(*row)).copied().collect()
    }

    /// Adam on the given rows (ascending, each once); the step is taken along the sphere.
    fn update(&mut self, rows: &[u32], gradient: &[f32], rate: f32) {
        let dim = self.dim;
        let shard =
            |values| -> rayon::slice::ChunksMut<'_, f32> { <[f32]>::par_chunks_mut(values, SHARD * dim) };
        let parts = shard(&mut self.weights)
            .zip(shard(&mut self.first))
            .zip(shard(&mut self.second));
        parts
            .enumerate()
            .for_each(|(number, ((weights, first), second))| {
                let start = (number * SHARD) as u32;
                let begin = rows.partition_point(|row| *row < start);
                let end = rows.partition_point(|row| *row < start + SHARD as u32);
                for at in begin..end {
                    let cells = (rows[at] - start) as usize * dim..((rows[at] - start) as usize + 1) * dim;
                    let moments = (&mut first[cells.clone()], &mut second[cells.clone()]);
                    adam_on_sphere(
                        &mut weights[cells],
                        moments,
                        &gradient[at * dim..(at + 1) * dim],
                        rate,
                    );
                }
            });
    }
}

fn adam_on_sphere(
    weights: &mut [f32],
    (first, second): (&mut [f32], &mut [f32]),
    gradient: &[f32],
    rate: f32,
) {
    let radial = dot(weights, gradient);
    for at in 0..weights.len() {
        let tangent = gradient[at] - radial * weights[at];
        first[at] = BETA1 * first[at] + (1.0 - BETA1) * tangent;
        second[at] = BETA2 * second[at] + (1.0 - BETA2) * tangent * tangent;
        weights[at] -= rate * first[at] / (second[at].sqrt() + EPSILON);
    }
    normalise(weights);
}

/// What a step needs besides the tables.
pub(super) struct Setting<'a> {
    /// The users' items.
    pub(super) seen: &'a Csr,
    /// ln q per item.
    pub(super) log_share: &'a [f32],
    /// 1 / temperature.
    pub(super) scale: f32,
    /// c.
    pub(super) correction: f32,
    pub(super) learning_rate: f32,
}

/// Takes one step on a batch of (user, item) and returns its summed loss. `number` counts steps from 1.
pub(super) fn step(
    tables: (&mut Table, &mut Table),
    pairs: &[(u32, u32)],
    setting: &Setting<'_>,
    number: u32,
) -> f64 {
    let (users, items) = tables;
    let columns = Columns::of(pairs, setting);
    let vectors = items.gather(&columns.items);
    let batch = Batch {
        users,
        columns: &columns,
        vectors: &vectors,
        setting,
    };
    let blocks: Vec<Block> = pairs.par_chunks(BLOCK).map(|block| batch.block(block)).collect();
    let mut item_gradient = vec![0.0f32; vectors.len()];
    for block in &blocks {
        item_gradient
            .iter_mut()
            .zip(&block.item_gradient)
            .for_each(|(sum, part)| *sum += part);
    }
    let per_pair: Vec<f32> = blocks
        .iter()
        .flat_map(|block| &block.user_gradient)
        .copied()
        .collect();
    let (touched, user_gradient) = summed_by_user(pairs, &per_pair, users.dim);
    let correction = (1.0 - BETA2.powi(number as i32)).sqrt() / (1.0 - BETA1.powi(number as i32));
    let rate = setting.learning_rate * correction;
    users.update(&touched, &user_gradient, rate);
    items.update(&columns.items, &item_gradient, rate);
    blocks.iter().map(|block| block.loss).sum()
}

/// The different items of a batch, ascending, each with what is added to its logits.
struct Columns {
    items: Vec<u32>,
    /// ln(occurrences) − c·ln(B·q).
    offsets: Vec<f32>,
}

impl Columns {
    fn of(pairs: &[(u32, u32)], setting: &Setting<'_>) -> Self {
        let mut all: Vec<u32> = pairs.iter().map(|pair| pair.1).collect();
        all.sort_unstable();
        let size = (pairs.len() as f32).ln();
        let groups = all.chunk_by(|a, b| a == b);
        let offset = |group: &[u32]| {
            (group.len() as f32).ln() - setting.correction * (size + setting.log_share[group[0] as usize])
        };
        let offsets = groups.clone().map(offset).collect();
        Self {
            items: groups.map(|group| group[0]).collect(),
            offsets,
        }
    }

    fn position(&self, item: u32) -> Option<usize> {
        self.items.binary_search(&item).ok()
    }
}

/// Gradients of the rows of one block.
struct Block {
    user_gradient: Vec<f32>,
    item_gradient: Vec<f32>,
    loss: f64,
}

/// What all blocks of a batch look at.
struct Batch<'a> {
    users: &'a Table,
    columns: &'a Columns,
    /// Those of the columns' items.
    vectors: &'a [f32],
    setting: &'a Setting<'a>,
}

impl Batch<'_> {
    fn block(&self, pairs: &[(u32, u32)]) -> Block {
        let (dim, width, vectors) = (self.users.dim, self.columns.items.len(), self.vectors);
        let alpha = self.setting.scale;
        let rows: Vec<u32> = pairs.iter().map(|pair| pair.0).collect();
        let own = self.users.gather(&rows);
        let mut logits = vec![0.0f32; pairs.len() * width];
        let product = |a, b, inner| Product { a, b, inner, alpha };
        product(&own, vectors, dim).right_transposed(&mut logits);
        let mut loss = 0.0;
        for (pair, line) in pairs.iter().zip(logits.chunks_exact_mut(width)) {
            loss += to_gradient(line, *pair, self.columns, self.setting.seen);
        }
        let mut user_gradient = vec![0.0f32; own.len()];
        product(&logits, vectors, width).plain(&mut user_gradient);
        let mut item_gradient = vec![0.0f32; vectors.len()];
        product(&logits, &own, pairs.len()).left_transposed(&mut item_gradient);
        Block {
            user_gradient,
            item_gradient,
            loss,
        }
    }
}

/// Turns a row of logits into softmax minus target; returns −ln of the target's share.
fn to_gradient(line: &mut [f32], (user, item): (u32, u32), columns: &Columns, seen: &Csr) -> f64 {
    line.iter_mut()
        .zip(&columns.offsets)
        .for_each(|(logit, offset)| *logit += offset);
    let target = columns.position(item).unwrap_or(0);
    let wanted = line[target];
    for other in seen.row(user) {
        if let Some(at) = columns.position(*other) {
            line[at] = f32::MIN;
        }
    }
    line[target] = wanted;
    let highest = line.iter().copied().fold(f32::MIN, f32::max);
    let mut total = 0.0;
    for logit in line.iter_mut() {
        *logit = exp(*logit - highest);
    }
    for chunk in line.chunks(64) {
        total += f64::from(chunk.iter().sum::<f32>());
    }
    let inverse = (1.0 / total) as f32;
    line.iter_mut().for_each(|share| *share *= inverse);
    line[target] -= 1.0;
    total.ln() - f64::from(wanted - highest)
}

/// e^x for x ≤ 0 to 2 ulp or so, without branches so that it becomes vector code; below −87 it is 0.
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.max(-87.0);
    let whole = (clamped * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let rest = (clamped - whole * 0.693_359_4) + whole * 2.121_944_4e-4;
    let series = 1.0 / 120.0 + rest * (1.0 / 720.0);
    let series = 0.5 + rest * (1.0 / 6.0 + rest * (1.0 / 24.0 + rest * series));
    let mantissa = 1.0 + rest * (1.0 + rest * series);
    // SAFETY of the cast: whole lies in −126..=0, so the exponent stays that of a normal number.
    let power = f32::from_bits(((whole as i32 + 127) as u32) << 23);
    if x < -87.0 { 0.0 } else { mantissa * power }
}

/// Adds up the gradients of pairs with the same user; users ascend.
fn summed_by_user(pairs: &[(u32, u32)], gradient: &[f32], dim: usize) -> (Vec<u32>, Vec<f32>) {
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by_key(|at| pairs[*at].0);
    let mut users: Vec<u32> = Vec::new();
    let mut sums: Vec<f32> = Vec::with_capacity(gradient.len());
    for at in order {
        let row = &gradient[at * dim..(at + 1) * dim];
        if users.last() == Some(&pairs[at].0) {
            let start = sums.len() - dim;
            sums[start..]
                .iter_mut()
                .zip(row)
                .for_each(|(sum, part)| *sum += part);
        } else {
            users.push(pairs[at].0);
            sums.extend_from_slice(row);
        }
    }
    (users, sums)
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn exp_is_close_to_the_library_s() {
        for step in 0..87_000 {
            let x = -(step as f32) / 1000.0;
            let wanted = f64::from(x).exp();
            assert!((f64::from(exp(x)) / wanted - 1.0).abs() < 2e-6, "{x}");
        }
        assert_eq!(exp(f32::MIN), 0.0);
    }
}
