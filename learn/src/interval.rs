//! Uncertainty: percentile bootstrap over users, plain and paired, and Welch's test.

use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::random;

/// A value with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The point.
    pub value: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
    /// Number of users it rests on.
    pub n: usize,
}

/// Why there is no estimate. Never a NaN, never a zero in disguise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undefined {
    /// Nobody to average over.
    #[error("no users")]
    NoUsers,
    /// The baseline's mean is 0, in the sample or in resamples that reach into the interval.
    #[error("the baseline is zero")]
    ZeroBaseline,
    /// The two sides are of different length.
    #[error("the users of the two sides differ")]
    Unpaired,
    /// A value is NaN or infinite.
    #[error("a value is not finite")]
    NotFinite,
}

/// What the bounds mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sides {
    /// The truth lies outside `low..high` with probability 1 − level.
    Two,
    /// The truth lies below `low` with probability 1 − level, and above `high` with the same.
    One,
}

/// How to resample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Number of resamples.
    pub draws: usize,
    /// Decides them; independent of the number of threads.
    pub seed: u64,
    /// Confidence, for example 0.95.
    pub level: f64,
    /// One or two sides.
    pub sides: Sides,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            draws: 2000,
            seed: 0,
            level: 0.95,
            sides: Sides::Two,
        }
    }
}

impl Bootstrap {
    /// The default with one-sided bounds, as gates use them.
    pub fn one_sided() -> Self {
        Self {
            sides: Sides::One,
            ..Self::default()
        }
    }

    /// The mean over users.
    pub fn mean(&self, values: &[f64]) -> Result<Estimate, Undefined> {
        check(values)?;
        let value = mean(values);
        let draws = self.resample(
            values.len(),
            |sums, at| sums[0] += values[at],
            |sums, n| sums[0] / n,
        );
        self.estimate(value, draws, values.len())
    }

    /// mean(candidate) / mean(baseline) − 1, where position i of both is the same user.
    ///
    /// Serves for a change against production and for the lift over popularity.
    pub fn relative_change(&self, candidate: &[f64], baseline: &[f64]) -> Result<Estimate, Undefined> {
        if candidate.len() != baseline.len() {
            return Err(Undefined::Unpaired);
        }
        check(candidate)?;
        check(baseline)?;
        let base = mean(baseline);
        if base == 0.0 {
            return Err(Undefined::ZeroBaseline);
        }
        let add = |sums: &mut [f64; 2], at: usize| {
            sums[0] += candidate[at];
            sums[1] += baseline[at];
        };
        let draws = self.resample(candidate.len(), add, |sums, _| sums[0] / sums[1] - 1.0);
        self.estimate(mean(candidate) / base - 1.0, draws, candidate.len())
    }

    /// mean(candidate) − mean(baseline), where position i of both is the same user.
    pub fn difference(&self, candidate: &[f64], baseline: &[f64]) -> Result<Estimate, Undefined> {
        if candidate.len() != baseline.len() {
            return Err(Undefined::Unpaired);
        }
        let deltas: Vec<f64> = candidate.iter().zip(baseline).map(|(c, b)| c - b).collect();
        self.mean(&deltas)
    }

    fn resample(
        &self,
        n: usize,
        add: impl Fn(&mut [f64; 2], usize) + Sync,
        finish: impl Fn([f64; 2], f64) -> f64 + Sync,
    ) -> Vec<f64> {
        let draw = |number: usize| {
            let mut rng = random::stream(self.seed, &[number as u64]);
            let mut sums = [0.0; 2];
            for _ in 0..n {
                add(&mut sums, rng.random_range(0..n));
            }
            finish(sums, n as f64)
        };
        let mut draws: Vec<f64> = (0..self.draws.max(1)).into_par_iter().map(draw).collect();
        draws.sort_unstable_by(f64::total_cmp);
        draws
    }

    fn estimate(&self, value: f64, draws: Vec<f64>, n: usize) -> Result<Estimate, Undefined> {
        let tail = match self.sides {
            Sides::Two => (1.0 - self.level) / 2.0,
            Sides::One => 1.0 - self.level,
        };
        let (low, high) = (quantile(&draws, tail), quantile(&draws, 1.0 - tail));
        let whole =
            value.is_finite() && low.is_finite() && high.is_finite() && !draws[draws.len() - 1].is_nan();
        if whole {
            Ok(Estimate { value, low, high, n })
        } else {
            Err(Undefined::ZeroBaseline)
        }
    }
}

fn check(values: &[f64]) -> Result<(), Undefined> {
    if values.is_empty() {
        return Err(Undefined::NoUsers);
    }
    if values.iter().all(|value| value.is_finite()) {
        Ok(())
    } else {
        Err(Undefined::NotFinite)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Linear interpolation between order statistics, as NumPy does by default; `sorted` is not empty.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    if below == above {
        below
    } else {
        below + (above - below) * at.fract()
    }
}

/// Welch's test of two independent samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welch {
    /// Mean of the first less mean of the second.
    pub difference: f64,
    /// The statistic; infinite where both samples are constant and their means differ.
    pub t: f64,
    /// Degrees of freedom (Welch–Satterthwaite).
    pub df: f64,
    /// Two-sided.
    pub p: f64,
    /// Values that were NaN or infinite, and were left out.
    pub dropped: usize,
}

/// Welch's t-test with unequal variances; `None` where a side has fewer than two finite values.
pub fn welch(first: &[f64], second: &[f64]) -> Option<Welch> {
    let (a, b) = (Moments::of(first)?, Moments::of(second)?);
    let dropped = first.len() + second.len() - a.n as usize - b.n as usize;
    let difference = a.mean - b.mean;
    let (va, vb) = (a.variance / a.n, b.variance / b.n);
    if va + vb == 0.0 {
        let (t, p) = if difference == 0.0 {
            (0.0, 1.0)
        } else {
            (f64::INFINITY.copysign(difference), 0.0)
        };
        return Some(Welch {
            difference,
            t,
            df: a.n + b.n - 2.0,
            p,
            dropped,
        });
    }
    let t = difference / (va + vb).sqrt();
    let df = (va + vb).powi(2) / (va * va / (a.n - 1.0) + vb * vb / (b.n - 1.0));
    Some(Welch {
        difference,
        t,
        df,
        p: student_two_sided(t, df),
        dropped,
    })
}

struct Moments {
    n: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of(values: &[f64]) -> Option<Self> {
        let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        if finite.len() < 2 {
            return None;
        }
        let n = finite.len() as f64;
        let mean = mean(&finite);
        let variance = finite.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Some(Self { n, mean, variance })
    }
}

/// P(|T| > |t|) for Student's T: the regularised incomplete beta I(df / (df + t²); df / 2, 1 / 2).
fn student_two_sided(t: f64, df: f64) -> f64 {
    incomplete_beta(df / (df + t * t), df / 2.0, 0.5).clamp(0.0, 1.0)
}

/// Regularised incomplete beta, by the continued fraction on whichever side converges fast.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(x, a, b) / a
    } else {
        1.0 - front * beta_fraction(1.0 - x, b, a) / b
    }
}

/// Lentz's evaluation of the continued fraction of the incomplete beta.
fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    let away_from_zero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    for m in (1..300).map(f64::from) {
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = result;
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            result *= d * c;
        }
        if (result / before - 1.0).abs() < 1e-15 {
            break;
        }
    }
    result
}

/// ln Γ(x) for x > 0, by Stirling's series after shifting x above 10.
fn ln_gamma(x: f64) -> f64 {
    let mut shifted = x;
    let mut correction = 0.0;
    while shifted < 10.0 {
        correction += shifted.ln();
        shifted += 1.0;
    }
    let inverse = 1.0 / shifted;
    let square = inverse * inverse;
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    (shifted - 0.5) * shifted.ln() - shifted + 0.5 * std::f64::consts::TAU.ln() + series - correction
}
