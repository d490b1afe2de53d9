//! Sums that are about to be written.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::super::Result;
use super::LAST_SUCCESS;

/// A distribution of seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// What it is kept by.
    pub name: &'static str,
    /// Kept for each flow; else for all together.
    pub by_flow: bool,
    /// Upper bounds of its buckets, ascending, in seconds. To change them starts the distribution anew under another name.
    pub bounds: &'static [f64],
}

/// How long runs took that are over, waiting for people apart; by flow.
pub const RUN_DURATION: Spread = Spread {
    name: "run_duration",
    by_flow: true,
    bounds: &[
        1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0,
    ],
};
/// How long attempts ran.
pub const TASK_DURATION: Spread = Spread {
    name: "task_duration",
    by_flow: false,
    bounds: &[
        0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0,
    ],
};
/// How long people took to decide.
pub const APPROVAL_WAIT: Spread = Spread {
    name: "approval_wait",
    by_flow: false,
    bounds: &[
        60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 43200.0, 86400.0, 172_800.0, 604_800.0,
    ],
};

/// In place of a bound: the sum of all.
pub const SUM: &str = "sum";

impl Spread {
    /// Its buckets as they are kept: each bound as a word, and the last one.
    pub fn buckets(&self) -> impl Iterator<Item = String> {
        let bounds = self.bounds.iter().map(ToString::to_string);
        bounds.chain(["+Inf".to_owned()])
    }

    fn bucket(&self, seconds: f64) -> String {
        let bound = self.bounds.iter().find(|bound| seconds <= **bound);
        bound.map_or_else(|| "+Inf".to_owned(), ToString::to_string)
    }
}

/// What is to be added, by name and labels.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tally(BTreeMap<(&'static str, Vec<String>), f64>);

impl Tally {
    pub(super) fn add(&mut self, name: &'static str, labels: &[&str], by: f64) {
        *self.of(name, labels) += by;
    }

    /// Notes an instant, of which the latest counts.
    pub(super) fn latest(&mut self, name: &'static str, labels: &[&str], at: f64) {
        let known = self.of(name, labels);
        *known = known.max(at);
    }

    pub(super) fn observe(&mut self, spread: &Spread, labels: &[&str], seconds: f64) {
        // Two processes' clocks may differ by more than what happened took.
        let seconds = seconds.max(0.0);
        let bucket = spread.bucket(seconds);
        self.add(spread.name, &[labels, &[bucket.as_str()]].concat(), 1.0);
        self.add(spread.name, &[labels, &[SUM]].concat(), seconds);
    }

    fn of(&mut self, name: &'static str, labels: &[&str]) -> &mut f64 {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        self.0.entry((name, labels)).or_default()
    }

    pub(super) async fn write(self, conn: &mut PgConnection) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let (mut names, mut labels, mut values) = (Vec::new(), Vec::<Value>::new(), Vec::new());
        for ((name, set), value) in self.0 {
            names.push(name);
            labels.push(json!(set));
            values.push(value);
        }
        sqlx::query(
            "insert into counter as c (name, labels, value)
             select * from unnest($1::text[], $2::jsonb[], $3::float8[])
             on conflict (name, labels) do update set value = case when c.name = $4
               then greatest(c.value, excluded.value) else c.value + excluded.value end",
        )
        .bind(names)
        .bind(labels)
        .bind(values)
        .bind(LAST_SUCCESS)
        .execute(conn)
        .await?;
        Ok(())
    }
}
