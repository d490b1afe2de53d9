//! Dense row-major f32 blocks on faer's kernels, cut so that the result never depends on the thread count.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// alpha · a · b, in one of the ways below; all blocks are row-major, `inner` is the length that is summed over.
pub(crate) struct Product<'a> {
    pub a: &'a [f32],
    pub b: &'a [f32],
    pub inner: usize,
    pub alpha: f32,
}

impl Product<'_> {
    /// out (m × n) of a (m × inner) and b (inner × n), on the calling thread.
    pub fn plain(&self, out: &mut [f32]) {
        let (rows, columns) = self.shape();
        let a = MatRef::from_row_major_slice(self.a, rows, self.inner);
        let b = MatRef::from_row_major_slice(self.b, self.inner, columns);
        self.write(out, a, b);
    }

    /// out (m × n) of a (m × inner) and bᵀ, where b is n × inner, on the calling thread.
    pub fn right_transposed(&self, out: &mut [f32]) {
        let (rows, columns) = self.shape();
        let a = MatRef::from_row_major_slice(self.a, rows, self.inner);
        let b = MatRef::from_row_major_slice(self.b, columns, self.inner);
        self.write(out, a, b.transpose());
    }

    /// out (m × n) of aᵀ and b, where a is inner × m and b is inner × n, on the calling thread.
    pub fn left_transposed(&self, out: &mut [f32]) {
        let (rows, columns) = self.shape();
        let a = MatRef::from_row_major_slice(self.a, self.inner, rows);
        let b = MatRef::from_row_major_slice(self.b, self.inner, columns);
        self.write(out, a.transpose(), b);
    }

    fn shape(&self) -> (usize, usize) {
        (self.a.len() / self.inner, self.b.len() / self.inner)
    }

    fn write(&self, out: &mut [f32], a: MatRef<'_, f32>, b: MatRef<'_, f32>) {
        let out = MatMut::from_row_major_slice_mut(out, a.nrows(), b.ncols());
        matmul(out, Accum::Replace, a, b, self.alpha, Par::Seq);
    }
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
