//! What users and items have in common in a few dimensions: the leading subspace of the normalised presence matrix.
//!
//! With X̃ = Du^(−½) X Di^(−½) and V its leading right singular vectors, a history h scores items by h Di^(−½) V Vᵀ Di^(½): an
//! ideal low-pass filter on the graph of users and items. It sees what neighbours of neighbours share, which EASE and
//! item-kNN see less of. V comes from subspace iteration, a few passes over the events whatever the size of the catalogue.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{Csr, IdMap, Interactions};
use crate::linalg::dot;
use crate::model_file::{FileError, Reader, Writer};
use crate::random;

/// How fine the picture is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Params {
    /// Dimensions kept, at most as many as there are users or items.
    pub rank: usize,
    /// Passes; more separate near-equal dimensions better.
    pub rounds: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self { rank: 64, rounds: 5 }
    }
}

/// The subspace.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectral {
    rank: usize,
    /// Orthonormal columns, row-major, items × rank.
    basis: Vec<f32>,
    /// Di^(−½).
    damping: Vec<f32>,
}

impl Spectral {
    /// Finds the subspace; the same data gives the same bits with any number of threads.
    pub fn fit(data: &Interactions, params: Params) -> Self {
        let by_user = Csr::from_interactions(data);
        let by_item = by_user.transposed();
        let (users, items) = (by_user.height(), by_item.height());
        let rank = params.rank.clamp(1, users.min(items).max(1));
        let [user_scale, damping] = [&by_user, &by_item].map(inverse_roots);
        let mut rng = random::stream(0, &[1]);
        let mut basis: Vec<f32> = (0..items * rank)
            .map(|_| random::normal(&mut rng) as f32)
            .collect();
        orthonormalise(&mut basis, rank);
        for _ in 0..params.rounds {
            let seen = spread(&by_user, &basis, rank, (&user_scale, &damping));
            basis = spread(&by_item, &seen, rank, (&damping, &user_scale));
            orthonormalise(&mut basis, rank);
        }
        Self { rank, basis, damping }
    }

    /// Writes a score per item for a history of different items.
    pub fn score(&self, history: &[u32], scores: &mut [f32]) {
        let mut place = vec![0.0f32; self.rank];
        for item in history {
            let weight = self.damping[*item as usize];
            add(&mut place, self.row(*item as usize), weight);
        }
        for (item, score) in scores.iter_mut().enumerate() {
            *score = dot(&place, self.row(item)) / self.damping[item];
        }
    }

    fn row(&self, item: usize) -> &[f32] {
        &self.basis[item * self.rank..(item + 1) * self.rank]
    }

    pub(crate) fn write(&self, writer: Writer) -> Writer {
        writer
            .section("spectral_basis", &self.basis)
            .section("spectral_damping", &self.damping)
    }

    pub(crate) fn read(reader: &Reader<'_>, ids: &IdMap) -> Result<Self, FileError> {
        let basis: Vec<f32> = reader.section("spectral_basis")?;
        let damping: Vec<f32> = reader.sized("spectral_damping", ids.len())?;
        let rank = basis.len() / ids.len().max(1);
        if rank == 0 || rank * ids.len() != basis.len() || damping.iter().any(|value| *value <= 0.0) {
            return Err(FileError::Inconsistent("spectral basis"));
        }
        Ok(Self { rank, basis, damping })
    }
}

/// 1 / √(entries) per row; 1 for empty rows.
fn inverse_roots(matrix: &Csr) -> Vec<f32> {
    (0..matrix.height() as u32)
        .map(|row| 1.0 / (matrix.row(row).len().max(1) as f32).sqrt())
        .collect()
}

/// diag(rows) · matrix · diag(columns) · from, each output row by one thread.
fn spread(matrix: &Csr, from: &[f32], rank: usize, (rows, columns): (&[f32], &[f32])) -> Vec<f32> {
    let mut out = vec![0.0f32; matrix.height() * rank];
    out.par_chunks_mut(rank).enumerate().for_each(|(row, sum)| {
        for column in matrix.row(row as u32) {
            let at = *column as usize;
            add(sum, &from[at * rank..(at + 1) * rank], columns[at] * rows[row]);
        }
    });
    out
}

fn add(to: &mut [f32], from: &[f32], weight: f32) {
    to.iter_mut()
        .zip(from)
        .for_each(|(to, from)| *to += weight * from);
}

/// Gram–Schmidt on the columns, twice, in double precision; columns that vanish stay zero.
fn orthonormalise(matrix: &mut [f32], rank: usize) {
    let n = matrix.len() / rank;
    let mut columns: Vec<Vec<f64>> = (0..rank)
        .map(|column| (0..n).map(|row| f64::from(matrix[row * rank + column])).collect())
        .collect();
    for at in 0..rank {
        let (before, rest) = columns.split_at_mut(at);
        let column = &mut rest[0];
        let length = norm(column);
        for _ in 0..2 {
            let parts: Vec<f64> = before.par_iter().map(|other| product(other, column)).collect();
            for (other, part) in before.iter().zip(parts) {
                column
                    .iter_mut()
                    .zip(other)
                    .for_each(|(value, direction)| *value -= part * direction);
            }
        }
        let left = norm(column);
        let scale = if left > 1e-9 * length { 1.0 / left } else { 0.0 };
        column.iter_mut().for_each(|value| *value *= scale);
    }
    for (column, values) in columns.iter().enumerate() {
        for (row, value) in values.iter().enumerate() {
            matrix[row * rank + column] = *value as f32;
        }
    }
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn norm(values: &[f64]) -> f64 {
    product(values, values).sqrt()
}
