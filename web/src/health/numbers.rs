//! Numbers in Prometheus' text format.

use std::fmt::Write;

use tidegate_engine::store::read::{Labelled, Numbers};
use tidegate_engine::store::{Store, StoreError};

/// Reads and writes them all.
pub async fn text(store: &Store) -> Result<String, StoreError> {
    Ok(write(&store.numbers().await?))
}

fn write(numbers: &Numbers) -> String {
    let mut out = Out::default();
    out.family("tidegate_build_info", "gauge", "Version of this process.");
    let version = env!("CARGO_PKG_VERSION");
    out.sample("tidegate_build_info", &[("version", version)], 1.0);
    runs(&mut out, numbers);
    for family in families(numbers) {
        out.family(family.name, family.kind, family.help);
        for sample in family.samples {
            let values = sample.labels.iter().map(String::as_str);
            let pairs: Vec<_> = family.labels.iter().copied().zip(values).collect();
            out.sample(family.name, &pairs, sample.value);
        }
    }
    out.family(
        "tidegate_approvals_pending",
        "gauge",
        "Approvals nobody decided yet.",
    );
    out.sample("tidegate_approvals_pending", &[], numbers.approvals as f64);
    out.0
}

/// A metric whose samples the store has read.
struct Family<'a> {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    samples: &'a [Labelled],
}

/// A metric with what it says of itself.
fn family<'a>(
    (name, kind, help): (&'static str, &'static str, &'static str),
    labels: &'static [&'static str],
    samples: &'a [Labelled],
) -> Family<'a> {
    Family {
        name,
        kind,
        help,
        labels,
        samples,
    }
}

fn families(numbers: &Numbers) -> [Family<'_>; 7] {
    [
        family(
            (
                "tidegate_tasks_ready",
                "gauge",
                "Task runs that wait for a worker.",
            ),
            &["queue"],
            &numbers.ready,
        ),
        family(
            (
                "tidegate_schedule_skipped_total",
                "counter",
                "Ticks that made no run.",
            ),
            &["flow", "reason"],
            &numbers.skipped,
        ),
        family(
            (
                "tidegate_schedule_lag_seconds",
                "gauge",
                "How late the most overdue tick is.",
            ),
            &["flow"],
            &numbers.lag,
        ),
        family(
            (
                "tidegate_schedule_last_success_timestamp_seconds",
                "gauge",
                "When a scheduled run last succeeded.",
            ),
            &["flow"],
            &numbers.last_success,
        ),
        family(
            ("tidegate_promotions_total", "counter", "Moves of aliases."),
            &["model", "result"],
            &numbers.promotions,
        ),
        family(
            (
                "tidegate_worker_heartbeat_age_seconds",
                "gauge",
                "Since when a worker was not heard of.",
            ),
            &["worker"],
            &numbers.workers,
        ),
        family(
            (
                "tidegate_db_table_bytes",
                "gauge",
                "Size of a table with its indexes.",
            ),
            &["table"],
            &numbers.tables,
        ),
    ]
}

fn is_over(state: &str) -> bool {
    matches!(state, "succeeded" | "failed" | "rejected" | "cancelled")
}

fn runs(out: &mut Out, numbers: &Numbers) {
    out.family("tidegate_runs_total", "counter", "Runs, by how they stand.");
    for run in &numbers.runs {
        let labels = [
            ("flow", run.flow.as_str()),
            ("state", &run.state),
            ("trigger", &run.trigger),
        ];
        out.sample("tidegate_runs_total", &labels, run.count as f64);
    }
    out.family("tidegate_runs_active", "gauge", "Runs that are not over.");
    let active = numbers.runs.iter().filter(|run| !is_over(&run.state));
    out.sample(
        "tidegate_runs_active",
        &[],
        active.map(|run| run.count).sum::<i64>() as f64,
    );
    let help = "How long runs took that are over, waiting for people apart.";
    out.family("tidegate_run_duration_seconds", "summary", help);
    for run in numbers.runs.iter().filter(|run| is_over(&run.state)) {
        let labels = [
            ("flow", run.flow.as_str()),
            ("state", &run.state),
            ("trigger", &run.trigger),
        ];
        out.sample("tidegate_run_duration_seconds_sum", &labels, run.seconds);
        out.sample("tidegate_run_duration_seconds_count", &labels, run.count as f64);
    }
}

#[derive(Default)]
struct Out(String);

impl Out {
    // Writing to a String cannot fail.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let pairs: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}=\"{}\"", escape(value)))
            .collect();
        let set = if pairs.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", pairs.join(","))
        };
        let _ = writeln!(self.0, "{name}{set} {value}");
    }
}

fn escape(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use tidegate_engine::store::read::RunCount;

    use super::*;

    #[test]
    fn labels_are_escaped_and_runs_counted() {
        let run = |state: &str, count| RunCount {
            flow: "a\"b\\c\nd".to_owned(),
            state: state.to_owned(),
            trigger: "manual".to_owned(),
            count,
            seconds: 2.5,
        };
        let numbers = Numbers {
            runs: vec![run("waiting", 2), run("failed", 3)],
            approvals: 1,
            ..Numbers::default()
        };
        let text = write(&numbers);
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        has("tidegate_runs_total{flow=\"a\\\"b\\\\c\\nd\",state=\"waiting\",trigger=\"manual\"} 2");
        has("tidegate_runs_active 2");
        has("tidegate_approvals_pending 1");
        has(
            "tidegate_run_duration_seconds_sum{flow=\"a\\\"b\\\\c\\nd\",state=\"failed\",trigger=\"manual\"} 2.5",
        );
    }
}
