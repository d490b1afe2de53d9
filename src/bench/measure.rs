//! Numbers, and what is to be made of them.

use std::time::Duration;

use serde::Serialize;

/// Whether a target was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was.
    Met,
    /// It was not.
    Missed,
}

/// What a target asks for.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// What a workload spent, over all times it was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spent {
    /// Transactions that wrote something.
    pub commits: i64,
    /// Questions to PostgreSQL and their answers; counted once, apart from the times that are measured.
    pub round_trips: Option<u64>,
    /// Seconds on a processor: this program's processes.
    pub own_cpu: f64,
    /// Seconds on a processor: PostgreSQL's; absent where it runs elsewhere.
    pub postgres_cpu: Option<f64>,
}

/// A number that was measured several times.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Workload.
    pub name: &'static str,
    /// What the number is.
    pub what: String,
    /// Unit of `median` and `values`.
    pub unit: &'static str,
    /// The middle one.
    pub median: f64,
    /// All, in the order in which they were measured.
    pub values: Vec<f64>,
    /// The target, in words.
    pub target: String,
    /// Whether the median meets it.
    pub verdict: Verdict,
    /// What one time spent, on average.
    pub spent: Option<Spent>,
    /// Units of work in one time: tasks, runs.
    pub work: usize,
    /// Where tasks ran.
    pub isolation: &'static str,
    /// Ratio to the floor, and the like.
    pub notes: Vec<String>,
}

impl Measured {
    /// A number and what is asked of it.
    pub fn new(
        (name, what): (&'static str, impl Into<String>),
        values: Vec<f64>,
        (unit, target): (&'static str, Target),
    ) -> Self {
        let median = percentile(&values, 50.0);
        let (met, words) = match target {
            Target::AtMost(most) => (median <= most, format!("≤ {most}")),
            Target::AtLeast(least) => (median >= least, format!("≥ {least}")),
        };
        Self {
            name,
            what: what.into(),
            unit,
            median,
            values,
            target: words,
            verdict: if met { Verdict::Met } else { Verdict::Missed },
            spent: None,
            work: 1,
            isolation: "inline",
            notes: Vec::new(),
        }
    }

    /// Also asks for something else.
    pub fn and(mut self, met: bool, words: String) -> Self {
        if !met {
            self.verdict = Verdict::Missed;
        }
        self.notes.push(words);
        self
    }

    /// With what it spent on `work` units each time.
    pub fn spending(mut self, spent: &[Spent], work: usize) -> Self {
        let times = spent.len().max(1);
        let sum = |of: fn(&Spent) -> f64| spent.iter().map(of).sum::<f64>() / times as f64;
        let postgres: Option<f64> = spent.iter().map(|s| s.postgres_cpu).sum();
        self.spent = Some(Spent {
            commits: spent.iter().map(|s| s.commits).sum::<i64>() / times as i64,
            round_trips: spent.iter().find_map(|s| s.round_trips),
            own_cpu: sum(|s| s.own_cpu),
            postgres_cpu: postgres.map(|all| all / times as f64),
        });
        self.work = work;
        self
    }

    /// With tasks in processes of their own.
    pub fn in_processes(mut self) -> Self {
        self.isolation = "process";
        self
    }
}

/// The value below which `percent` of them lie; 0 of nothing.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * percent / 100.0).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

/// A duration in milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_one_and_a_target_is_inclusive() {
        let target = ("ms", Target::AtMost(2.0));
        let measured = Measured::new(("chain", "a step"), vec![9.0, 2.0, 1.0], target);
        assert_eq!((measured.median, measured.verdict), (2.0, Verdict::Met));
        let missed = measured.and(false, "3 commits a step".to_owned());
        assert_eq!(missed.verdict, Verdict::Missed);
        assert_eq!(percentile(&[], 99.0), 0.0);
    }
}
