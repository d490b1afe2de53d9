//! A `[tasks.NAME]` table.

use std::ops::Range;
use std::time::Duration;

use super::super::decode::{Doc, Node, Section, Text};
use super::super::diagnostic::Problem;
use super::executor;
use super::gate::{self, RawGate};
use crate::graph::{CachePolicy, MAX_ITEMS, MOST_URGENT, OnWorkerLost, Placement, RunIf};
use crate::id::TaskName;
use crate::retry::RetryPolicy;

/// A task as decoded.
pub(in crate::spec) struct RawTask<'d> {
    pub name: Text,
    pub span: Range<usize>,
    /// All keys that are written.
    pub keys: Vec<Text>,
    pub uses: Option<Text>,
    pub description: Option<String>,
    pub with: Option<Node<'d>>,
    pub needs: Vec<Text>,
    pub when: Option<Text>,
    pub for_each: Option<Node<'d>>,
    pub max_parallel: Option<(u32, Range<usize>)>,
    pub run_if: Option<(RunIf, Range<usize>)>,
    pub continue_on_failure: bool,
    pub retry: RetryPolicy,
    pub timeout: Option<Duration>,
    pub gate: Option<RawGate>,
    pub env: Vec<(Text, Text)>,
    pub on_worker_lost: OnWorkerLost,
    pub placement: Placement,
    pub cache: Option<CachePolicy>,
    pub files: Vec<Text>,
}

impl RawTask<'_> {
    /// When it runs.
    pub fn run_if(&self) -> RunIf {
        self.run_if
            .as_ref()
            .map_or_else(RunIf::default, |(run_if, _)| *run_if)
    }
}

const KEYS: [&str; 23] = [
    "uses",
    "description",
    "with",
    "needs",
    "when",
    "for_each",
    "max_parallel",
    "run_if",
    "continue_on_failure",
    "retry",
    "timeout",
    "gate",
    "env",
    "on_worker_lost",
    "queue",
    "priority",
    "pool",
    "cache",
    "files",
    "executor",
    "local",
    "kubernetes",
    "ray",
];
pub(in crate::spec) const RUN_IFS: [&str; 4] = ["all_succeeded", "all_done", "any_failed", "any_succeeded"];
const RETRY_KEYS: [&str; 5] = ["attempts", "delay", "backoff", "max_delay", "jitter"];

/// A task; `priority`: its flow's.
pub(super) fn decode<'d>(doc: Doc<'d>, (name, node): (Text, Node<'d>), priority: i32) -> Option<RawTask<'d>> {
    let label = format!("task `{}`", name.value);
    let section = doc.section(node, &label, &KEYS)?;
    executor::check(&section);
    let with = section
        .get("with")
        .and_then(|node| doc.open(node, "with").map(|_| node));
    Some(RawTask {
        uses: section.required("uses"),
        description: section.text("description").map(|t| t.value),
        with,
        needs: section.texts("needs"),
        when: section.text("when"),
        for_each: section.get("for_each"),
        max_parallel: section
            .count("max_parallel", 1..i64::from(MAX_ITEMS) + 1)
            .map(|count| (count, section.span_of("max_parallel"))),
        run_if: section
            .choice("run_if", &RUN_IFS)
            .map(|run_if| (run_if, section.span_of("run_if"))),
        continue_on_failure: section.boolean("continue_on_failure").unwrap_or(false),
        retry: section
            .get("retry")
            .map_or_else(RetryPolicy::default, |node| retry(doc, node)),
        timeout: section.duration("timeout"),
        gate: section.get("gate").and_then(|node| gate::decode(doc, node)),
        env: section.get("env").map_or_else(Vec::new, |node| env(doc, node)),
        on_worker_lost: section
            .choice("on_worker_lost", &["retry", "fail"])
            .unwrap_or_default(),
        placement: placement(&section, self::priority(&section).unwrap_or(priority)),
        cache: section.get("cache").and_then(|node| cache(doc, node)),
        files: section.texts("files"),
        keys: section.entries().map(|(key, _)| key).collect(),
        span: section.span,
        name,
    })
}

fn cache<'d>(doc: Doc<'d>, node: Node<'d>) -> Option<CachePolicy> {
    let section = doc.section(node, "`cache`", &["ttl"])?;
    section.get("ttl").or_else(|| {
        let problem = Problem::new("missing-key", section.span.clone(), "`cache` needs the key `ttl`");
        let help = "say how long what was made stands in: cache = { ttl = \"1d\" }";
        doc.problems.add(problem.help(help));
        None
    })?;
    let ttl = section.duration("ttl")?;
    Some(CachePolicy { ttl })
}

fn placement(section: &Section<'_>, priority: i32) -> Placement {
    let named = |key: &str| {
        let text = section.text(key)?;
        // The rule for names of tasks is that for all names.
        if let Err(error) = TaskName::new(&text.value) {
            section.doc.report("bad-name", text.span, error.to_string());
        }
        Some(text.value)
    };
    let fallback = Placement::default();
    Placement {
        queue: named("queue").unwrap_or(fallback.queue),
        priority,
        pool: named("pool"),
    }
}

/// `priority` of a flow or task.
pub(super) fn priority(section: &Section<'_>) -> Option<i32> {
    let node = section.get("priority")?;
    let value = section.doc.integer(node, "priority")?;
    let bound = i64::from(MOST_URGENT);
    if !(-bound..=bound).contains(&value) {
        let message = format!("`priority` must be between -{bound} and {bound}");
        let problem = Problem::new("wrong-value", node.span(), message);
        let help = "a point is worth a minute of waiting; 0 is usual";
        section.doc.problems.add(problem.help(help));
        return None;
    }
    i32::try_from(value).ok()
}

fn retry<'d>(doc: Doc<'d>, node: Node<'d>) -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    let Some(section) = doc.section(node, "`retry`", &RETRY_KEYS) else {
        return policy;
    };
    let attempts = section.count("attempts", 1..1001);
    policy.attempts = attempts.unwrap_or(policy.attempts);
    policy.delay = section.duration("delay").unwrap_or(policy.delay);
    policy.max_delay = section
        .duration("max_delay")
        .unwrap_or(policy.max_delay.max(policy.delay));
    policy.backoff = bounded(&section, "backoff", [1.0, 100.0]).unwrap_or(policy.backoff);
    policy.jitter = bounded(&section, "jitter", [0.0, 1.0]).unwrap_or(policy.jitter);
    if policy.max_delay < policy.delay {
        let message = "`max_delay` is shorter than `delay`: no pause can be both";
        doc.report("impossible-bound", section.span_of("max_delay"), message);
    }
    // Of attempts that are written wrong nothing is known.
    let once = section.get("attempts").is_none() || attempts == Some(1);
    if once {
        let idle = RETRY_KEYS[1..].iter().find(|key| section.get(key).is_some());
        if let Some(key) = idle {
            let message =
                format!("`{key}` has no effect: with one attempt nothing is tried again; set `attempts`");
            doc.report("impossible-bound", section.span_of(key), message);
        }
    }
    policy
}

fn bounded(section: &Section<'_>, key: &str, [min, max]: [f64; 2]) -> Option<f64> {
    let value = section.number(key)?;
    if !(min..=max).contains(&value) {
        let message = format!("`{key}` must be between {min} and {max}");
        section.doc.report("wrong-value", section.span_of(key), message);
        return None;
    }
    Some(value)
}

fn env<'d>(doc: Doc<'d>, node: Node<'d>) -> Vec<(Text, Text)> {
    let Some(section) = doc.open(node, "env") else {
        return Vec::new();
    };
    let mut pairs = Vec::new();
    for (key, node) in section.entries() {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if key.value.is_empty()
            || !key.value.chars().all(plain)
            || key.value.starts_with(|c: char| c.is_ascii_digit())
        {
            let message = format!("`{}` is no name of an environment variable", key.value);
            doc.report("bad-name", key.span.clone(), message);
        } else if key.value.starts_with("TIDEGATE_") {
            let message = format!(
                "`{}`: names that begin with TIDEGATE_ are set by the engine",
                key.value
            );
            doc.report("bad-name", key.span.clone(), message);
        }
        if let Some(text) = doc.text(node, &key.value) {
            pairs.push((key, text));
        }
    }
    pairs
}
