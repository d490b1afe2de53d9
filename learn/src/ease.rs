//! EASE (Steck 2019): a linear item-item model with a closed form.
//!
//! With X the presence matrix and P = (XᵀX + λI)⁻¹, the weights are B = I − P / diag(P), of zero diagonal, and a
//! user's scores are the sum of B's rows over their items. Where there are fewer users than items, P is taken from
//! the smaller system: λP = I − Xᵀ(XXᵀ + λI)⁻¹X.

use faer::linalg::solvers::{DenseSolveCore, Solve};
use faer::{Mat, Side};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{Csr, IdMap, Interactions};
use crate::item_knn::distinct;
use crate::model_file::{FileError, Reader, Writer};
use crate::progress::{Observer, Progress, TrainError, report};
use crate::recommender::{Query, Recommender, Standing};

/// Regularisation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Params {
    /// λ; larger means smoother.
    pub lambda: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { lambda: 300.0 }
    }
}

/// A fitted model.
#[derive(Clone, Debug, PartialEq)]
pub struct Ease {
    items: IdMap,
    /// B, row-major, items × items.
    weights: Vec<f32>,
    /// Users per item, for those without a history.
    popularity: Vec<f32>,
}

impl Ease {
    /// Solves. Memory is items² × 4 bytes for the model and about 3 × items² × 8 while solving (less where users
    /// are fewer than items).
    pub fn fit(data: &Interactions, params: Params, observer: &mut dyn Observer) -> Result<Self, TrainError> {
        if data.is_empty() {
            return Err(TrainError::TooLittleData("no events"));
        }
        if !(params.lambda > 0.0 && params.lambda.is_finite()) {
            return Err(TrainError::Parameter {
                name: "lambda",
                expected: "a positive number",
            });
        }
        let matrix = Csr::from_interactions(data);
        report(
            observer,
            Progress {
                stage: "ease",
                done: 0,
                total: 1,
                loss: None,
            },
        )?;
        let weights = if matrix.height() < matrix.width {
            dual_weights(&matrix, params.lambda)?
        } else {
            primal_weights(&matrix, params.lambda)?
        };
        report(
            observer,
            Progress {
                stage: "ease",
                done: 1,
                total: 1,
                loss: None,
            },
        )?;
        let popularity = data.popularity().iter().map(|count| *count as f32).collect();
        Ok(Self {
            items: data.items().as_ref().clone(),
            weights,
            popularity,
        })
    }

    /// Row of B: what a visit to `item` adds to each item's score.
    pub fn weights_of(&self, item: u32) -> &[f32] {
        let n = self.items.len();
        &self.weights[item as usize * n..(item as usize + 1) * n]
    }

    /// B, row-major, items × items.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Users per item.
    pub(crate) fn popularity(&self) -> &[f32] {
        &self.popularity
    }

    /// See [`crate::model_file`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let writer = Writer::new("ease", serde_json::json!({}));
        let writer = writer
            .section("items", self.items.ids())
            .section("weights", &self.weights);
        writer.section("popularity", &self.popularity).finish()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        Self::read(&Reader::of_kind(bytes, "ease")?)
    }

    pub(crate) fn read(reader: &Reader<'_>) -> Result<Self, FileError> {
        let items = IdMap::new(reader.section("items")?);
        let weights = reader.sized("weights", items.len().saturating_mul(items.len()))?;
        let popularity = reader.sized("popularity", items.len())?;
        Ok(Self {
            items,
            weights,
            popularity,
        })
    }
}

fn primal_weights(matrix: &Csr, lambda: f64) -> Result<Vec<f32>, TrainError> {
    let n = matrix.width;
    let gram = gram(matrix, &matrix.transposed(), lambda);
    let inverse = gram.llt(Side::Lower).map_err(|_| TrainError::Singular)?.inverse();
    let mut weights = vec![0.0f32; n * n];
    weights.par_chunks_mut(n).enumerate().for_each(|(row, out)| {
        for (column, weight) in out.iter_mut().enumerate() {
            *weight = (-inverse[(row, column)] / inverse[(column, column)]) as f32;
        }
        out[row] = 0.0;
    });
    Ok(weights)
}

/// AᵀA + λI for the matrix whose transpose is `transposed`; column by column, each on one thread.
fn gram(matrix: &Csr, transposed: &Csr, lambda: f64) -> Mat<f64> {
    let n = matrix.width;
    let columns: Vec<Vec<f64>> = (0..n as u32)
        .into_par_iter()
        .map(|column| {
            let mut counts = vec![0.0; n];
            for row in transposed.row(column) {
                for other in matrix.row(*row) {
                    counts[*other as usize] += 1.0;
                }
            }
            counts[column as usize] += lambda;
            counts
        })
        .collect();
    Mat::from_fn(n, n, |row, column| columns[column][row])
}

fn dual_weights(matrix: &Csr, lambda: f64) -> Result<Vec<f32>, TrainError> {
    let (users, n) = (matrix.height(), matrix.width);
    let by_item = matrix.transposed();
    let kernel = gram(&by_item, matrix, lambda);
    let mut solved = Mat::<f64>::zeros(users, n);
    for user in 0..users as u32 {
        for item in matrix.row(user) {
            solved[(user as usize, *item as usize)] = 1.0;
        }
    }
    kernel
        .llt(Side::Lower)
        .map_err(|_| TrainError::Singular)?
        .solve_in_place(&mut solved);
    let solved = transposed_rows(&solved);
    let entry = |row: u32, column: usize| -> f64 {
        by_item
            .row(row)
            .iter()
            .map(|user| solved[*user as usize * n + column])
            .sum()
    };
    let diagonal: Vec<f64> = (0..n).map(|item| 1.0 - entry(item as u32, item)).collect();
    let mut weights = vec![0.0f32; n * n];
    weights.par_chunks_mut(n).enumerate().for_each_init(
        || vec![0.0f64; n],
        |sums, (row, out)| {
            sums.fill(0.0);
            for user in by_item.row(row as u32) {
                let line = &solved[*user as usize * n..(*user as usize + 1) * n];
                sums.iter_mut().zip(line).for_each(|(sum, value)| *sum += value);
            }
            for (column, weight) in out.iter_mut().enumerate() {
                *weight = (sums[column] / diagonal[column]) as f32;
            }
            out[row] = 0.0;
        },
    );
    Ok(weights)
}

fn transposed_rows(matrix: &Mat<f64>) -> Vec<f64> {
    let mut out = vec![0.0; matrix.nrows() * matrix.ncols()];
    out.par_chunks_mut(matrix.ncols())
        .enumerate()
        .for_each(|(row, line)| {
            line.iter_mut()
                .enumerate()
                .for_each(|(column, value)| *value = matrix[(row, column)]);
        });
    out
}

impl Recommender for Ease {
    fn kind(&self) -> &'static str {
        "ease"
    }

    fn items(&self) -> &IdMap {
        &self.items
    }

    fn score(&self, query: &Query<'_>, scores: &mut [f32]) -> Standing {
        if query.history.is_empty() {
            scores.copy_from_slice(&self.popularity);
            return Standing::Fallback;
        }
        scores.fill(0.0);
        for item in distinct(query.history) {
            scores
                .iter_mut()
                .zip(self.weights_of(item))
                .for_each(|(score, weight)| *score += weight);
        }
        Standing::FoldedIn
    }
}
