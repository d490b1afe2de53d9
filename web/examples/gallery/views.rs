//! Made-up views.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tidegate_engine::graph::Flow;
use tidegate_engine::spec::params::ParamProblem;
use tidegate_engine::view::{
    AliasMove, Approval, FlowSummary, LedgerEntry, LedgerReport, LogLine, MetricSeries, Model, ModelVersion,
    Run, RunSummary, Schedule, TaskRun, Worker,
};
use tidegate_web::pages::{flow, model, overview, run};
use uuid::Uuid;

pub fn now() -> Timestamp {
    "2026-11-25T02:21:40Z".parse().unwrap()
}

fn before(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x0199_7a10_0000_7000_8000_0000_0000_0000 + n * 0x1357_9bdf)
}

fn summary(n: u128, flow: &str, state: &str, seconds: i64) -> RunSummary {
    let over = matches!(state, "succeeded" | "failed" | "rejected" | "cancelled");
    let created = 1300 + (n as i64) * 86_400;
    of(json!({
        "id": id(n), "flow": flow, "version": "c0ffee".repeat(11)[..64], "version_number": 3, "state": state,
        "reason": match state { "waiting" => json!("approval"), "failed" => json!("error"), "rejected" => json!("rule_failed"), _ => Value::Null },
        "trigger": if n % 3 == 1 { "manual" } else { "schedule" }, "requester": if n % 3 == 1 { "ben" } else { "system" },
        "retry_of": null, "scheduled_for": before(created), "created_at": before(created), "started_at": before(created - 1),
        "finished_at": over.then(|| before(created - seconds)), "waited_seconds": if state == "waiting" { 920.0 } else { 0.0 },
        "overdue": state == "running", "tasks_total": 7, "tasks_done": if over { 7 } else { 6 },
    }))
}

pub fn runs() -> Vec<RunSummary> {
    let ranking = "train-ranking-model";
    vec![
        summary(0, ranking, "waiting", 0),
        summary(1, "train-retrieval-model", "running", 0),
        summary(2, ranking, "succeeded", 412),
        summary(3, ranking, "rejected", 380),
        summary(4, ranking, "failed", 73),
        summary(5, "train-retrieval-model", "cancelled", 1200),
        summary(6, ranking, "succeeded", 455),
    ]
}

const TASKS: [(&str, &str, &[&str]); 7] = [
    ("pull", "data_pull", &[]),
    ("features", "feature_build", &["pull"]),
    ("train", "train", &["features"]),
    ("evaluate", "evaluate", &["train", "features"]),
    ("log", "mlflow_log", &["train", "evaluate"]),
    ("staging", "promote", &["log", "evaluate"]),
    ("production", "promote", &["staging", "log", "evaluate"]),
];

fn task(i: usize, state: &str, (from, to): (i64, Option<i64>)) -> TaskRun {
    let (name, uses, needs) = TASKS[i];
    let ran = from > 0;
    of(json!({
        "idx": i, "name": name, "uses": uses, "description": null, "needs": needs, "state": state, "reason": null, "attempt": u32::from(ran),
        "attempts": if i == 0 { 3 } else { 1 }, "epoch": 12 + i, "started_at": ran.then(|| before(from)), "finished_at": to.map(before),
        "due_at": null, "message": null, "progress": null, "worker": null, "outputs": outputs(name).filter(|_| state == "succeeded"),
        "artifacts": [], "gated": i >= 5, "gate": null,
    }))
}

fn interval(value: f64, by: f64) -> Value {
    json!({"value": value, "low": value - by, "high": value + by})
}

fn outputs(task: &str) -> Option<Value> {
    let metrics = json!({
        "ndcg_at_10": interval(0.3871, 0.0113), "precision_at_10": interval(0.3114, 0.0092), "recall_at_10": interval(0.2216, 0.008),
        "temporal_full": {"ndcg_at_10": interval(0.2127, 0.012), "precision_at_10": interval(0.1532, 0.009), "recall_at_10": interval(0.1402, 0.01)},
    });
    match task {
        "pull" => Some(
            json!({"events": {"uri": "file:///var/lib/tidegate/artifacts/pull/events", "rows": 206_144, "bytes": 14_882_304, "sha256": "9f".repeat(32)},
            "window": {"from": "2026-10-26T02:00:00Z", "until": "2026-11-25T02:00:00Z"}, "duplicates": 1203, "forgotten_people": 14}),
        ),
        "features" => Some(
            json!({"table": "file:///var/lib/tidegate/artifacts/features/table", "rows": 188_201, "users": 4210, "items": 880, "null_rate": {"dwell": 0.0123}}),
        ),
        "train" => Some(
            json!({"model": {"uri": "file:///var/lib/tidegate/artifacts/train/model", "sha256": "4b".repeat(32)}, "kind": "ranking", "trees": 180, "seconds": 96.2}),
        ),
        "evaluate" => Some(json!({
            "metrics": metrics,
            "change": {"ndcg_at_10": {"value": 0.0243, "low": 0.0061, "high": 0.0432}, "precision_at_10": {"value": 0.011, "low": -0.012, "high": 0.034},
                "recall_at_10": {"value": -0.0142, "low": -0.031, "high": 0.003}, "hit_rate_at_10": {"value": 0.006, "low": -0.004, "high": 0.017}},
            "baseline": {"model": "ranking_model", "version": 6, "learnt_until": "2026-11-24T02:00:00Z"},
            "guardrails": {"coverage_at_10": 0.612, "gini_at_10": 0.71, "tie_share": 0.0, "nan_share": 0.0},
        })),
        "log" => Some(json!({"version": 7, "registry": "builtin"})),
        "staging" => Some(
            json!({"model": "ranking_model", "alias": "staging", "from": 6, "to": 7, "registry": "builtin"}),
        ),
        _ => None,
    }
}

fn rule(subject: Value, (kind, bound): (&str, f64), (borderline, value): (Option<f64>, Value)) -> Value {
    use tidegate_engine::gate::{JudgedRule, Reading, Rule, judge};
    let rule: Rule = of(
        json!({"subject": subject, "bound": {"kind": kind, "bound": bound}, "borderline": borderline, "judged": "interval", "without_baseline": "ask"}),
    );
    let judgement = judge(&rule, Reading::of(Some(&value)), None);
    json!(JudgedRule { rule, judgement })
}

fn metric(name: &str) -> Value {
    json!({"kind": "metric", "metric": format!("{{{{ tasks.evaluate.metrics.{name} }}}}")})
}

fn change(name: &str) -> Value {
    json!({"kind": "change", "change": format!("{{{{ tasks.evaluate.change.{name} }}}}")})
}

fn staging_rules() -> Vec<Value> {
    vec![
        rule(
            metric("precision_at_10"),
            ("above", 0.25),
            (Some(0.01), interval(0.3114, 0.0092)),
        ),
        rule(metric("lift"), ("at_least", 0.2), (None, json!(0.312))),
    ]
}

fn production_rules() -> Vec<Value> {
    vec![
        rule(
            change("ndcg_at_10"),
            ("max_drop", 0.1),
            (None, json!({"value": 0.0243, "low": 0.0061, "high": 0.0432})),
        ),
        rule(
            metric("precision_at_10"),
            ("above", 0.31),
            (Some(0.005), interval(0.3114, 0.0092)),
        ),
    ]
}

fn lines() -> Vec<LogLine> {
    let texts = [
        (
            "pull",
            "info",
            "30 partitions from file:///var/lib/tidegate/lake, 2026-10-26 to 2026-11-25",
        ),
        (
            "pull",
            "info",
            "207,347 rows read, 1,203 duplicates dropped, 14 people forgotten",
        ),
        (
            "features",
            "info",
            "temporal_full: cut at 2026-11-18T02:00:00Z, 812 users",
        ),
        ("features", "warn", "column dwell: 1.23 % null"),
        ("train", "info", "EASE: λ = 250, 880 items, 1.8 s"),
        ("train", "debug", "tree 20 of 180: NDCG@10 0.3512"),
        ("train", "mark", "… 18 KiB left out"),
        (
            "train",
            "info",
            "tree 180 of 180: NDCG@10 0.3871, a line that is rather long so that one sees how lines wrap on the page when there is no room for them any more <script>alert(1)</script>",
        ),
        ("log", "error", "MLflow answered 503; it is tried again in 10 s"),
        ("log", "info", "version 7 of ranking_model registered"),
    ];
    let line = |(i, (task, level, text)): (usize, (&str, &str, &str))| {
        of(
            json!({"task": task, "epoch": 12, "seq": i + 1, "at": before(1290 - i as i64 * 31), "level": level, "text": text}),
        )
    };
    texts.into_iter().enumerate().map(line).collect()
}

fn facts(summary: RunSummary, tasks: Vec<TaskRun>) -> run::Facts {
    let curve = |name: &str, f: fn(f64) -> f64| MetricSeries {
        task: "train".to_owned(),
        name: name.to_owned(),
        points: (0..180).map(|i| (i, f(i as f64))).collect(),
    };
    run::Facts {
        run: Run {
            summary,
            params: json!({"window_days": 30}),
            tasks,
        },
        metrics: vec![
            curve("loss", |x| 0.2 + 0.9 / (1.0 + x / 12.0) + (x * 1.7).sin() * 0.008),
            curve("ndcg_at_10", |x| 0.39 - 0.12 / (1.0 + x / 9.0)),
        ],
        lines: lines(),
        task: None,
        cut: false,
    }
}

pub fn waiting_run() -> run::Facts {
    let spans = [
        (1299, 1262),
        (1261, 1213),
        (1212, 1080),
        (1079, 1012),
        (1011, 1004),
        (1003, 1001),
    ];
    let mut tasks: Vec<TaskRun> = spans
        .iter()
        .enumerate()
        .map(|(i, (from, to))| task(i, "succeeded", (*from, Some(*to))))
        .collect();
    tasks[2].artifacts = of(
        json!([{"name": "model", "uri": "file:///var/lib/tidegate/artifacts/0199/train/12/model", "size": 1_840_233, "sha256": "4b".repeat(32)}]),
    );
    tasks[5].gate =
        of(json!({"opening": "opens", "rules": staging_rules(), "approval": null, "approval_state": null}));
    let mut last = task(6, "waiting", (0, None));
    last.reason = Some("approval".to_owned());
    last.gate = of(
        json!({"opening": "asks", "rules": production_rules(), "approval": id(900), "approval_state": "open"}),
    );
    tasks.push(last);
    facts(summary(0, "train-ranking-model", "waiting", 0), tasks)
}

pub fn failed_run() -> run::Facts {
    let mut tasks: Vec<TaskRun> = (0..7).map(|i| task(i, "skipped", (0, Some(1200)))).collect();
    tasks[0] = task(0, "succeeded", (1299, Some(1262)));
    tasks[1] = task(1, "failed", (1261, Some(1230)));
    tasks[1].reason = Some("error".to_owned());
    tasks[1].message = Some("feature_build: sql/ranking_features.sql:14:8: no column `dwell_ms`; did you mean `dwell`?\n\n  14 |   avg(dwell_ms) as dwell\n              ^^^^^^^^".to_owned());
    for task in &mut tasks[2..] {
        task.reason = Some("needs_failed".to_owned());
    }
    let mut failed = facts(summary(0, "train-ranking-model", "failed", 80), tasks);
    failed.metrics.clear();
    failed
}

pub fn wide_run() -> run::Facts {
    let names = [
        "plan",
        "users",
        "items",
        "clicks",
        "dwell",
        "join",
        "train-small",
        "train-large",
        "train-wide",
        "evaluate-small",
        "evaluate-large",
        "evaluate-wide",
        "choose",
        "report",
    ];
    let needs: [&[usize]; 14] = [
        &[],
        &[0],
        &[0],
        &[0],
        &[0],
        &[1, 2, 3, 4],
        &[5],
        &[5],
        &[5],
        &[6],
        &[7],
        &[8],
        &[9, 10, 11],
        &[12, 0],
    ];
    let make = |i: usize| {
        let state = match i {
            0..=6 => "succeeded",
            7 => "running",
            8 => "backoff",
            9 => "ready",
            _ => "blocked",
        };
        let ran = i <= 8;
        let mut made = task(
            0,
            state,
            (
                if ran { 1200 - i as i64 * 60 } else { 0 },
                (i < 7).then(|| 1150 - i as i64 * 60),
            ),
        );
        made.name = names[i].to_owned();
        made.uses = "command".to_owned();
        made.needs = needs[i].iter().map(|&need| names[need].to_owned()).collect();
        made.gated = i == 12;
        made.outputs = None;
        if i == 7 {
            made.progress = Some(json!({"done": 37, "total": 90}));
            made.worker = Some("gpu-2:4113".to_owned());
        }
        made
    };
    let mut wide = facts(
        summary(1, "compare-sizes", "running", 0),
        (0..14).map(make).collect(),
    );
    wide.metrics.clear();
    wide
}

pub fn approval(state: &str) -> Approval {
    let shown: serde_json::Map<String, Value> = ["pull", "features", "train", "evaluate", "log"]
        .iter()
        .map(|task| ((*task).to_owned(), outputs(task).unwrap()))
        .collect();
    let closed = state != "open";
    of(json!({
        "id": id(900), "run": id(0), "flow": "train-ranking-model", "task": "production", "state": state,
        "message": "Promote ranking_model v7 to production?", "action": "moves ranking_model@production from v6 to v7",
        "evidence": {"flow": "train-ranking-model", "version": "c0ffee".repeat(11)[..64], "run": id(0), "task": "production", "rules": production_rules(), "outputs": shown,
            "action": "moves ranking_model@production from v6 to v7", "world": {"alias": "ranking_model@production", "version": 6}},
        "digest": "3a91".repeat(16), "requester": "system", "by": ["role:approver"], "required": 1, "allow_requester": false,
        "asked_at": before(1000), "expires_at": now() + SignedDuration::from_hours(47), "on_expire": "reject", "reminded_at": null,
        "closed_at": closed.then(|| before(120)),
        "votes": if state == "approved" { json!([{"actor": "anna", "decision": "approve", "comment": "The gain is small but sure.\nRecall is within noise.", "at": before(120)}]) } else { json!([]) },
    }))
}

pub fn first_approval() -> Approval {
    let mut first = approval("open");
    first.evidence["rules"] = json!([rule(
        change("ndcg_at_10"),
        ("max_drop", 0.1),
        (None, json!({"absent": "no_baseline"}))
    )]);
    first.evidence["outputs"]["evaluate"]["change"] = json!({"ndcg_at_10": {"absent": "no_baseline"}});
    first.evidence["outputs"]["evaluate"]["baseline"] = Value::Null;
    first
}

pub fn approvals() -> Vec<Approval> {
    let mut other = approval("open");
    other.by = vec!["user:carla".to_owned()];
    other.flow = "train-retrieval-model".to_owned();
    other.message = None;
    vec![
        approval("open"),
        other,
        approval("approved"),
        approval("expired"),
        approval("superseded"),
    ]
}

pub fn schedules() -> Vec<Schedule> {
    let hours = |first: i64, step: i64| {
        (0..3)
            .map(|i| now() + SignedDuration::from_hours(first + i * step))
            .collect::<Vec<_>>()
    };
    let run = |days: i64, n: u128| json!({"scheduled_for": before(1300 + days * 86_400), "last": before(1300 + days * 86_400), "count": 1, "outcome": "run", "reason": null, "run": id(n)});
    vec![
        of(
            json!({"flow": "train-ranking-model", "name": "nightly", "cron": "0 2 * * *", "timezone": "UTC", "sentence": "Every day at 02:00", "next": hours(24, 24), "paused_at": null, "error": null,
            "ticks": [run(0, 0), run(1, 2), {"scheduled_for": before(1300 + 2 * 86_400), "last": before(1300 + 2 * 86_400), "count": 1, "outcome": "skipped", "reason": "overlap", "run": null}]}),
        ),
        of(
            json!({"flow": "train-retrieval-model", "name": "weekly", "cron": "30 2 * * SUN", "timezone": "Europe/Berlin", "sentence": "Every Sunday at 02:30", "next": hours(96, 168), "paused_at": null, "error": null, "ticks": []}),
        ),
    ]
}

pub fn flow_summary() -> FlowSummary {
    of(
        json!({"name": "train-ranking-model", "version": "c0ffee".repeat(11)[..64], "number": 3, "description": "Daily ranking retrain, promoted to staging by rules and to production by a person",
        "owner": "ml-engineering", "tags": ["ranking", "daily"], "schedules": [schedules()[0]],
        "recent": (0..14).map(|n| summary(n, "train-ranking-model", match n { 0 => "waiting", 3 => "rejected", 4 => "failed", _ => "succeeded" }, 380 + (n as i64 * 53) % 140)).collect::<Vec<_>>() }),
    )
}

pub fn second_flow() -> FlowSummary {
    of(
        json!({"name": "archive-old-events", "version": "dada".repeat(16), "number": 1, "description": null, "owner": null, "tags": [], "schedules": [], "recent": []}),
    )
}

pub fn flow() -> Flow {
    let task = |i: usize| {
        let (name, uses, needs) = TASKS[i];
        let needs: Vec<usize> = needs
            .iter()
            .map(|need| TASKS.iter().position(|(name, _, _)| name == need).unwrap())
            .collect();
        let gate = (i >= 5).then(|| json!({"rules": [], "approval": (i == 6).then(|| json!({"when": "always", "by": ["role:approver"], "required": 1, "allow_requester": false, "expires": "48h", "on_expire": "reject", "remind": null, "message": null})), "evidence": []}));
        json!({"name": name, "uses": uses, "description": if i == 0 { json!("Events of the window, deduplicated, without the people who asked to be forgotten") } else { Value::Null }, "with": {}, "needs": needs,
            "retry": {"attempts": 1, "delay": "30s", "backoff": 2.0, "max_delay": "10m", "jitter": 0.2}, "timeout": null, "gate": gate, "env": {}, "on_worker_lost": "retry", "isolation": "process", "files": []})
    };
    of(
        json!({"name": "train-ranking-model", "description": null, "owner": null, "tags": [], "timeout": "3h", "expected": "45m", "overlap": "skip", "max_active": 1, "schedules": [],
        "params": {
            "window_days": {"type": "integer", "min": 1, "max": 365, "default": 30, "description": "Days of events to learn from"},
            "kind": {"type": "enum", "values": ["full", "quick"], "default": "full", "description": null},
            "until": {"type": "date", "default": null, "description": "Last day of the window"},
            "weights": {"type": "object", "default": {"complete": 3.0}, "description": "What an event counts for"},
        },
        "vars": {}, "files": {}, "graph": (0..7).map(task).collect::<Vec<_>>() }),
    )
}

pub fn sent() -> flow::Sent {
    flow::Sent {
        texts: vec![("window_days".to_owned(), "900".to_owned())],
        problems: vec![
            ParamProblem {
                param: "window_days".to_owned(),
                message: "must be at most 365, this is 900".to_owned(),
            },
            ParamProblem {
                param: "until".to_owned(),
                message: "has no default and must be given".to_owned(),
            },
        ],
        notice: None,
    }
}

pub fn model() -> model::Facts {
    let version = |v: i64| -> ModelVersion {
        let value = 0.29 + 0.004 * v as f64 + if v == 4 { -0.02 } else { 0.0 };
        of(
            json!({"version": v, "source": format!("file:///var/lib/tidegate/models/ranking_model/{v}"), "sha256": "4b".repeat(32), "external_run": null,
            "facts": {"metrics": {"precision_at_10": interval(value, 0.01), "ndcg_at_10": interval(value + 0.07, 0.01), "recall_at_10": value - 0.1}}, "run": id(v as u128), "created_at": before(1100 + (7 - v) * 86_400),
            "aliases": match v { 7 => json!(["staging"]), 6 => json!(["production"]), _ => json!([]) }}),
        )
    };
    let moved = |alias: &str, n: i64, (from, to): (Option<i64>, i64), days: i64| -> AliasMove {
        let asked = alias == "production";
        of(
            json!({"alias": alias, "number": n, "before": from, "version": to, "at": before(1000 + days * 86_400), "actor": if asked { "anna" } else { "system" }, "run": id(to as u128),
            "approval": asked.then(|| id(900)), "evidence": asked.then(|| "3a91".repeat(16))}),
        )
    };
    model::Facts {
        model: of::<Model>(
            json!({"name": "ranking_model", "aliases": [{"alias": "production", "version": 6, "moved_at": before(87_000)}, {"alias": "staging", "version": 7, "moved_at": before(1000)}], "newest": 7, "versions": 7}),
        ),
        versions: (1..=7).rev().map(version).collect(),
        moves: vec![
            moved("staging", 5, (Some(6), 7), 0),
            moved("production", 3, (Some(5), 6), 1),
            moved("staging", 4, (Some(5), 6), 1),
            moved("production", 2, (Some(2), 5), 2),
            moved("staging", 3, (Some(2), 5), 2),
            moved("production", 1, (None, 2), 5),
            moved("staging", 2, (Some(1), 2), 5),
            moved("staging", 1, (None, 1), 6),
        ],
    }
}

pub fn workers() -> Vec<Worker> {
    let worker = |n: u128, name: &str, (busy, heard): (i64, i64), (stopped, alive): (bool, bool)| {
        of(
            json!({"id": id(n), "name": name, "version": "0.1.0", "queues": ["default", "gpu"], "slots": 4, "busy": busy,
        "started_at": before(90_000), "heartbeat_at": before(heard), "stopped_at": stopped.then(|| before(heard)), "alive": alive}),
        )
    };
    vec![
        worker(1, "trainer-1:2211", (3, 2), (false, true)),
        worker(2, "trainer-2:1880", (0, 900), (false, false)),
        worker(3, "trainer-0:77", (0, 5000), (true, false)),
    ]
}

pub fn ledger() -> Vec<LedgerEntry> {
    let entry = |seq: i64, kind: &str, body: Value| {
        of(
            json!({"seq": seq, "at": before((4 - seq) * 4000), "kind": kind, "actor": if kind == "alias_moved" { "system" } else { "anna" }, "run": id(0), "body": body, "prev": format!("{seq:02x}").repeat(32), "hash": format!("{:02x}", seq + 1).repeat(32)}),
        )
    };
    vec![
        entry(
            3,
            "alias_moved",
            json!({"model": "ranking_model", "alias": "production", "from": 6, "to": 7, "approval": id(900)}),
        ),
        entry(
            2,
            "approval_decided",
            json!({"approval": id(900), "decision": "approve", "comment": "The gain is small but sure.", "evidence": "3a91".repeat(16)}),
        ),
        entry(
            1,
            "alias_moved",
            json!({"model": "ranking_model", "alias": "staging", "from": 6, "to": 7}),
        ),
    ]
}

pub fn report() -> LedgerReport {
    LedgerReport {
        entries: 3,
        head: "04".repeat(32),
        broken: None,
    }
}

pub fn overview() -> overview::Facts {
    overview::Facts {
        approvals: approvals().into_iter().take(2).collect(),
        active: runs().into_iter().take(2).collect(),
        failed: runs()
            .into_iter()
            .filter(|run| matches!(run.state.as_str(), "failed" | "rejected"))
            .collect(),
        schedules: schedules(),
        workers: workers(),
        flows: 2,
    }
}
