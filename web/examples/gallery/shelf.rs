//! Made-up flows, schedules, models, workers and ledger; and the overview of it all.

use jiff::SignedDuration;
use serde_json::{Value, json};
use tidegate_engine::graph::Flow;
use tidegate_engine::spec::params::ParamProblem;
use tidegate_engine::view::{
    AliasMove, FlowSummary, LedgerEntry, LedgerReport, Model, ModelVersion, Schedule, Token, Worker,
};
use tidegate_web::pages::{flow, model, overview, rollback};

use super::views::{TASKS, approvals, before, id, interval, now, of, runs, summary};

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
        "webhook": {"secret": "mlflow_webhook", "sender": "mlflow", "when": "body.data.name == 'ranking_model'", "params": {}},
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

/// Production of the model, which goes back; `frozen`: while a window is on.
pub fn rollback(frozen: bool) -> rollback::Facts {
    let model::Facts { model, moves, .. } = model();
    let window = json!({"id": id(1), "flow": null, "from_at": before(3600), "until_at": before(-86_400), "created_by": "ada",
        "reason": "quarter's end: the numbers must not move", "created_at": before(7200), "ended_at": null, "ended_by": null, "active": true});
    rollback::Facts {
        alias: model.aliases[0].clone(),
        model,
        moves,
        freeze: frozen.then(|| of(window)),
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

pub fn admin() -> tidegate_web::pages::admin::Facts {
    let person = |name: &str, roles: &[&str], account: Option<&str>, gone: bool| {
        of(
            json!({"name": name, "roles": roles, "os_user": account, "created_at": before(8_000_000),
        "disabled_at": gone.then(|| before(90_000))}),
        )
    };
    let freeze = |n: u128, flow: Option<&str>, active: bool, reason: &str| {
        let from = if active { 3600 } else { -400_000 };
        of(
            json!({"id": id(n), "flow": flow, "from_at": before(from), "until_at": before(from - 86_400), "reason": reason,
        "created_by": "ada", "created_at": before(7200), "ended_at": null, "ended_by": null, "active": active}),
        )
    };
    let holder = json!({"run": id(0), "flow": "train-ranking-model", "task": "train", "since": before(840)});
    let pool = |name: &str, size: u32, holders: Vec<Value>, waiting: i64| {
        of(
            json!({"name": name, "size": size, "holders": holders, "waiting": waiting, "updated_at": before(900_000), "updated_by": "os:root"}),
        )
    };
    let secret = |name: &str| {
        of(
            json!({"name": name, "key": "k", "created_at": before(9_000_000), "updated_at": before(90_000), "updated_by": "ada"}),
        )
    };
    tidegate_web::pages::admin::Facts {
        people: vec![
            person("ada", &["admin"], Some("root"), false),
            person("anna", &["operator", "approver"], None, false),
            person("otto", &["operator"], None, true),
        ],
        tokens: tokens(),
        pools: vec![
            pool("training", 2, vec![holder], 3),
            pool("warehouse", 8, vec![], 0),
        ],
        freezes: vec![
            freeze(1, None, true, "quarter's end: the numbers must not move"),
            freeze(
                2,
                Some("train-retrieval-model"),
                false,
                "the catalogue is rebuilt",
            ),
        ],
        secrets: vec![secret("status_token"), secret("warehouse_password")],
        workers: workers(),
    }
}

pub fn tokens() -> Vec<Token> {
    let token = |n: u128, (name, owner, role): (&str, &str, &str), state: &str| {
        of(
            json!({"id": id(n), "name": name, "owner": owner, "roles": [role], "state": state, "created_at": before(900_000),
        "created_by": "anna", "expires_at": before(if state == "expired" { 400_000 } else { -6_000_000 }),
        "used_at": (n == 1).then(|| before(75)), "revoked_at": (state == "revoked").then(|| before(7000)),
        "revoked_by": (state == "revoked").then_some("anna")}),
        )
    };
    vec![
        token(1, ("laptop", "anna", "approver"), "valid"),
        token(2, ("GitHub: apply on main", "service:ci", "admin"), "valid"),
        token(3, ("an old notebook", "anna", "operator"), "expired"),
        token(4, ("left on a train", "anna", "operator"), "revoked"),
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
