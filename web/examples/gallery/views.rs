//! Made-up runs and approvals.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tidegate_engine::view::{Approval, LogLine, MetricSeries, Obstacle, Run, RunSummary, TaskRun, Why};
use tidegate_web::pages::run;
use uuid::Uuid;

pub fn now() -> Timestamp {
    "2026-11-25T02:21:40Z".parse().unwrap()
}

pub(crate) fn before(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

pub(crate) fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

pub(crate) fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x0199_7a10_0000_7000_8000_0000_0000_0000 + n * 0x1357_9bdf)
}

pub(crate) fn summary(n: u128, flow: &str, state: &str, seconds: i64) -> RunSummary {
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

pub(crate) const TASKS: [(&str, &str, &[&str]); 7] = [
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
        "artifacts": [], "gated": i >= 5, "gate": null, "waits": [],
    }))
}

pub(crate) fn interval(value: f64, by: f64) -> Value {
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
            "baseline": {"model": "ranking_model", "version": 6, "learnt_until": "2026-11-24T02:00:00Z",
                "metrics": {"ndcg_at_10": interval(0.2077, 0.0118), "precision_at_10": interval(0.1515, 0.0091), "recall_at_10": interval(0.1422, 0.0102)}},
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
            notices: Vec::new(),
            summary,
            params: json!({"window_days": 30}),
            tasks,
        },
        why: Why::default(),
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
    let mut last = task(6, "waiting", (1000, None));
    last.waits = of(json!([{"from": before(998), "until": null}]));
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

fn obstacles() -> Vec<Obstacle> {
    let wait = |task: &str, waits_for: &str, sentence: &str, until: Option<Timestamp>| Obstacle {
        task: task.to_owned(),
        state: "ready".to_owned(),
        waits_for: waits_for.to_owned(),
        sentence: sentence.to_owned(),
        until,
    };
    vec![
        wait("train-large", "attempt", "runs on gpu-2:4113", None),
        wait(
            "train-wide",
            "retry",
            "tries again after a failure",
            Some(before(-40)),
        ),
        wait(
            "evaluate-small",
            "pool",
            "waits for a slot of the pool `training`: 2 of 2 are held",
            None,
        ),
        wait(
            "choose",
            "needs",
            "waits for evaluate-small, evaluate-large, evaluate-wide",
            None,
        ),
    ]
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
    wide.why.tasks = obstacles();
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
