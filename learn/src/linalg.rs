//! Dense row-major f32 blocks on faer's kernels, cut so that the result never depends on the thread count.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// out (m × n) = alpha · a (m × k) · b (k × n), all row-major, on the calling thread.
pub(crate) fn multiply(out: &mut [f32], a: &[f32], b: &[f32], inner: usize, alpha: f32) {
    let (rows, columns) = (a.len() / inner, b.len() / inner);
    let a = MatRef::from_row_major_slice(a, rows, inner);
    let b = MatRef::from_row_major_slice(b, inner, columns);
    let out = MatMut::from_row_major_slice_mut(out, rows, columns);
    matmul(out, Accum::Replace, a, b, alpha, Par::Seq);
}

/// out (m × n) = alpha · a (m × k) · bᵀ, where b is n × k, all row-major, on the calling thread.
pub(crate) fn multiply_transposed(out: &mut [f32], a: &[f32], b: &[f32], inner: usize, alpha: f32) {
    let (rows, columns) = (a.len() / inner, b.len() / inner);
    let a = MatRef::from_row_major_slice(a, rows, inner);
    let b = MatRef::from_row_major_slice(b, columns, inner).transpose();
    let out = MatMut::from_row_major_slice_mut(out, rows, columns);
    matmul(out, Accum::Replace, a, b, alpha, Par::Seq);
}

/// out (m × n) = alpha · aᵀ · b, where a is k × m and b is k × n, all row-major, on the calling thread.
pub(crate) fn transposed_multiply(out: &mut [f32], a: &[f32], b: &[f32], inner: usize, alpha: f32) {
    let (rows, columns) = (a.len() / inner, b.len() / inner);
    let a = MatRef::from_row_major_slice(a, inner, rows).transpose();
    let b = MatRef::from_row_major_slice(b, inner, columns);
    let out = MatMut::from_row_major_slice_mut(out, rows, columns);
    matmul(out, Accum::Replace, a, b, alpha, Par::Seq);
}

/// Sum of products, in eight lanes.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (mut left, mut right) = (a.chunks_exact(8), b.chunks_exact(8));
    for (x, y) in (&mut left).zip(&mut right) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    let rest: f32 = left
        .remainder()
        .iter()
        .zip(right.remainder())
        .map(|(x, y)| x * y)
        .sum();
    lanes.iter().sum::<f32>() + rest
}
