//! Numbers in Prometheus' text format.

use std::fmt::{Display, Write};

use tidegate_engine::store::counts;
use tidegate_engine::store::read::{Counted, Histogram, Labelled, Numbers};
use tidegate_engine::store::{Store, StoreError};

/// Reads and writes them all.
pub async fn text(store: &Store) -> Result<String, StoreError> {
    Ok(write(&store.numbers().await?))
}

fn write(numbers: &Numbers) -> String {
    let mut out = Out::default();
    out.gauge("tidegate_build_info", "Version of this process.");
    let version = env!("CARGO_PKG_VERSION");
    out.sample("tidegate_build_info", &[("version", version)], 1.0);
    what_is(&mut out, numbers);
    what_happened(&mut out, &numbers.counted);
    how_long(&mut out, &numbers.counted);
    out.0
}

/// What stands now.
fn what_is(out: &mut Out, numbers: &Numbers) {
    let Numbers {
        active, approvals, ..
    } = numbers;
    out.gauge("tidegate_runs_active", "Runs that are not over.");
    out.sample("tidegate_runs_active", &[], *active as f64);
    out.gauge("tidegate_approvals_pending", "Approvals nobody decided yet.");
    out.sample("tidegate_approvals_pending", &[], *approvals as f64);

    let name = "tidegate_tasks_ready";
    out.gauge(name, "Task runs that are due and wait for a worker.");
    out.samples(name, &["queue"], &numbers.ready);

    let name = "tidegate_pool_slots";
    out.gauge(name, "Slots of a pool that are held, and that may be given away.");
    out.samples(name, &["pool", "state"], &numbers.slots);

    let name = "tidegate_schedule_lag_seconds";
    out.gauge(name, "How late the most overdue tick is.");
    out.samples(name, &["flow"], &numbers.lag);

    let name = "tidegate_schedule_last_success_timestamp_seconds";
    out.gauge(name, "When a scheduled run last succeeded.");
    out.samples(name, &["flow"], numbers.counted.of(counts::LAST_SUCCESS));

    let name = "tidegate_worker_heartbeat_age_seconds";
    out.gauge(name, "Since when a worker was not heard of.");
    out.samples(name, &["worker"], &numbers.workers);

    let name = "tidegate_db_table_bytes";
    out.gauge(name, "Size of a table with its indexes and partitions.");
    out.samples(name, &["table"], &numbers.tables);
}

/// What only ever grows.
fn what_happened(out: &mut Out, counted: &Counted) {
    let name = "tidegate_runs_total";
    out.counter(name, "Runs that are over, by how they ended.");
    out.samples(name, &["flow", "state", "trigger"], counted.of(counts::RUNS));

    let name = "tidegate_task_attempts_total";
    out.counter(name, "Attempts of task runs that ended, however they did.");
    out.sample(name, &[], counted.total(counts::ATTEMPTS));

    let name = "tidegate_tasks_reaped_total";
    out.counter(
        name,
        "Attempts that were taken from workers that renewed no lease.",
    );
    out.sample(name, &[], counted.total(counts::REAPED));

    let name = "tidegate_gate_results_total";
    let help = "What gates came to: by rules (opens, asks, rejected), and those that asked in the end (approved, declined, …).";
    out.counter(name, help);
    out.samples(name, &["flow", "task", "result"], counted.of(counts::GATES));

    let name = "tidegate_promotions_total";
    let help = "Moves of aliases to later versions (promoted) and earlier ones (rolled_back), and those that people or time refused.";
    out.counter(name, help);
    out.samples(name, &["model", "result"], counted.of(counts::PROMOTIONS));

    let name = "tidegate_schedule_skipped_total";
    out.counter(name, "Ticks that made no run.");
    out.samples(name, &["flow", "reason"], counted.of(counts::SKIPPED));
}

fn how_long(out: &mut Out, counted: &Counted) {
    let name = "tidegate_run_duration_seconds";
    let help = "How long runs took that are over, waiting for people apart.";
    out.histograms(
        (name, help),
        &["flow"],
        &counted.histograms(&counts::RUN_DURATION),
    );

    let name = "tidegate_task_duration_seconds";
    let help = "How long attempts of task runs ran.";
    out.histograms((name, help), &[], &counted.histograms(&counts::TASK_DURATION));

    let name = "tidegate_approval_wait_seconds";
    let help = "How long people took to approve or decline.";
    out.histograms((name, help), &[], &counted.histograms(&counts::APPROVAL_WAIT));
}

#[derive(Default)]
struct Out(String);

type Labels<'a> = [(&'a str, &'a str)];

impl Out {
    fn gauge(&mut self, name: &str, help: &str) {
        self.family(name, "gauge", help);
    }

    fn counter(&mut self, name: &str, help: &str) {
        self.family(name, "counter", help);
    }

    // Writing to a String cannot fail.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn samples(&mut self, name: &str, labels: &[&str], samples: &[Labelled]) {
        for sample in samples {
            self.sample(name, &pairs(labels, &sample.labels), sample.value);
        }
    }

    fn histograms(&mut self, (name, help): (&str, &str), labels: &[&str], all: &[Histogram]) {
        self.family(name, "histogram", help);
        for one in all {
            let labels = pairs(labels, &one.labels);
            for (bound, count) in &one.buckets {
                let labels = [labels.as_slice(), &[("le", bound)]].concat();
                self.sample(&format!("{name}_bucket"), &labels, *count);
            }
            self.sample(&format!("{name}_sum"), &labels, one.sum);
            let count = one.buckets.last().map_or(0.0, |(_, count)| *count);
            self.sample(&format!("{name}_count"), &labels, count);
        }
    }

    fn sample(&mut self, name: &str, labels: &Labels<'_>, value: impl Display) {
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

fn pairs<'a>(names: &[&'a str], values: &'a [String]) -> Vec<(&'a str, &'a str)> {
    names
        .iter()
        .copied()
        .zip(values.iter().map(String::as_str))
        .collect()
}

fn escape(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let numbers = Numbers {
            active: 2,
            approvals: 1,
            slots: vec![Labelled {
                labels: vec!["a\"b\\c\nd".to_owned(), "held".to_owned()],
                value: 3.0,
            }],
            ..Numbers::default()
        };
        let text = write(&numbers);
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        has("tidegate_pool_slots{pool=\"a\\\"b\\\\c\\nd\",state=\"held\"} 3");
        has("tidegate_runs_active 2");
        has("tidegate_approvals_pending 1");
    }

    #[test]
    fn what_has_no_labels_is_there_before_anything_happened() {
        let text = write(&Numbers::default());
        for line in [
            "tidegate_tasks_reaped_total 0",
            "tidegate_task_attempts_total 0",
            "tidegate_task_duration_seconds_bucket{le=\"+Inf\"} 0",
            "tidegate_approval_wait_seconds_count 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_histogram_counts_upwards() {
        let mut out = Out::default();
        let one = Histogram {
            labels: vec!["f".to_owned()],
            buckets: vec![("0.5".to_owned(), 1.0), ("+Inf".to_owned(), 3.0)],
            sum: 7.25,
        };
        out.histograms(("h_seconds", "Help."), &["flow"], &[one]);
        let expected = "# HELP h_seconds Help.\n# TYPE h_seconds histogram\n\
            h_seconds_bucket{flow=\"f\",le=\"0.5\"} 1\nh_seconds_bucket{flow=\"f\",le=\"+Inf\"} 3\n\
            h_seconds_sum{flow=\"f\"} 7.25\nh_seconds_count{flow=\"f\"} 3\n";
        assert_eq!(out.0, expected);
    }
}
