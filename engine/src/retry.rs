//! When a failed attempt is tried again.
//!
//! The pause after attempt *n* is `delay × backoff^(n−1)`, at most `max_delay`, spread evenly over ± `jitter` of itself. Where the
//! cap cuts the spread, the pause is spread over what is left below the cap, so that many tasks that failed together do not
//! come back together.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The `retry` table of a task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// Pause before the second attempt.
    #[serde(with = "crate::duration::text")]
    pub delay: Duration,
    /// Factor by which each further pause grows.
    pub backoff: f64,
    /// No pause is longer, jitter included.
    #[serde(with = "crate::duration::text")]
    pub max_delay: Duration,
    /// Share by which a pause varies at random, 0 to 1.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 1,
            delay: Duration::from_secs(10),
            backoff: 2.0,
            max_delay: Duration::from_secs(600),
            jitter: 0.1,
        }
    }
}

impl RetryPolicy {
    /// The pause before the next attempt once `attempt` (from 1) has failed, or `None` when the attempts are used up.
    /// `random` is a fresh number in `[0, 1)`.
    pub fn after(&self, attempt: u32, random: f64) -> Option<Duration> {
        (attempt < self.attempts).then(|| self.pause(attempt, random))
    }

    /// The pause that follows `attempt` (from 1), whatever the budget. Never longer than `max_delay`.
    pub fn pause(&self, attempt: u32, random: f64) -> Duration {
        let cap = self.max_delay.as_secs_f64();
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.delay.as_secs_f64() * self.factor().powi(exponent);
        let middle = if grown.is_nan() { 0.0 } else { grown.min(cap) };
        let jitter = if self.jitter.is_nan() {
            0.0
        } else {
            self.jitter.clamp(0.0, 1.0)
        };
        let random = if random.is_nan() {
            0.5
        } else {
            random.clamp(0.0, 1.0)
        };
        let low = middle * (1.0 - jitter);
        let high = (middle * (1.0 + jitter)).min(cap);
        let seconds = low + (high - low) * random;
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(self.max_delay)
            .min(self.max_delay)
    }

    /// The backoff, or no growth where it is no factor (the check of flow files refuses those).
    fn factor(&self) -> f64 {
        if self.backoff.is_finite() && self.backoff > 0.0 {
            self.backoff
        } else {
            1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(delay: u64, backoff: f64, max_delay: u64, jitter: f64) -> RetryPolicy {
        RetryPolicy {
            attempts: 5,
            delay: Duration::from_secs(delay),
            backoff,
            max_delay: Duration::from_secs(max_delay),
            jitter,
        }
    }

    #[test]
    fn pauses_double_up_to_the_cap() {
        let policy = policy(30, 2.0, 600, 0.0);
        let pauses: Vec<u64> = (1..=7).map(|n| policy.pause(n, 0.7).as_secs()).collect();
        assert_eq!(pauses, [30, 60, 120, 240, 480, 600, 600]);
    }

    #[test]
    fn jitter_spreads_evenly_and_stays_below_the_cap() {
        let table = [
            (1, 0.0, 24.0),
            (1, 0.5, 30.0),
            (1, 1.0, 36.0),
            (9, 0.0, 480.0),
            (9, 0.5, 540.0),
            (9, 1.0, 600.0),
        ];
        for (attempt, random, seconds) in table {
            let pause = policy(30, 2.0, 600, 0.2).pause(attempt, random).as_secs_f64();
            assert!(
                (pause - seconds).abs() < 1e-6,
                "attempt {attempt}, random {random}: {pause} is not {seconds}"
            );
        }
    }

    #[test]
    fn the_budget_counts_the_first_attempt() {
        let policy = policy(1, 2.0, 600, 0.0);
        assert!(policy.after(4, 0.0).is_some());
        assert_eq!(policy.after(5, 0.0), None);
        assert_eq!(RetryPolicy::default().after(1, 0.0), None);
        assert_eq!(policy.after(u32::MAX, 0.0), None);
    }

    #[test]
    fn nonsense_numbers_do_not_panic() {
        for wild in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e308] {
            let policy = policy(30, wild, 600, wild);
            for attempt in [0, 1, 2, u32::MAX] {
                assert!(policy.pause(attempt, wild) <= policy.max_delay);
            }
        }
    }

    proptest! {
        #[test]
        fn never_above_the_cap(
            delay in 0..1_000_000_u64, backoff in 1.0..100.0_f64, cap in 0..1_000_000_u64, jitter in 0.0..=1.0_f64,
            attempt in any::<u32>(), random in 0.0..1.0_f64,
        ) {
            prop_assert!(policy(delay, backoff, cap, jitter).pause(attempt, random) <= Duration::from_secs(cap));
        }

        #[test]
        fn never_shorter_than_the_one_before_without_jitter(
            delay in 0..100_000_u64, backoff in 1.0..10.0_f64, cap in 0..1_000_000_u64, attempt in 1..u32::MAX, random in 0.0..1.0_f64,
        ) {
            let policy = policy(delay, backoff, cap, 0.0);
            prop_assert!(policy.pause(attempt, random) <= policy.pause(attempt + 1, random));
        }
    }
}
