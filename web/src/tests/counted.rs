//! What `/metrics` says of a run that had everything: a retry, a gate, a pool, and an attempt whose worker was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tidegate_engine::clock;
use tidegate_engine::graph::Flow;
use tidegate_engine::id::{RunId, VersionHash};
use tidegate_engine::plan::Outcome;
use tidegate_engine::store::advance::Report;
use tidegate_engine::store::claim::{Claim, Claimer, Crowded};
use tidegate_engine::store::flows::NewVersion;
use tidegate_engine::store::runs::{NewRun, state_of};

use super::bench::Bench;

/// `measure` succeeds in its second attempt, `publish` asks people, `remote` wants a slot and a worker that is not of the bench.
fn watched() -> Flow {
    let task = |name: &str, needs: &[u32], more: Value| {
        let mut task = json!({
            "name": name, "uses": "give", "description": null, "needs": needs, "gate": null, "with": {"value": {"again": true}},
            "retry": {"attempts": 2, "delay": "10ms", "backoff": 1.0, "max_delay": "10ms", "jitter": 0.0},
            "timeout": null, "env": {}, "on_worker_lost": "retry", "isolation": "inline", "files": [],
        });
        let fields = task.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        task
    };
    let gate = json!({
        "rules": [], "evidence": [],
        "approval": {
            "when": "always", "by": ["role:approver"], "required": 1, "allow_requester": false, "expires": "48h",
            "on_expire": "reject", "remind": null, "message": null,
        },
    });
    let remote = json!({"queue": "elsewhere", "priority": 0, "pool": "gpus"});
    let flow = json!({
        "name": "watched", "description": null, "owner": null, "tags": [], "timeout": null, "expected": null,
        "overlap": "skip", "max_active": 1, "vars": {}, "files": {}, "schedules": [], "params": {},
        "graph": [
            task("measure", &[], json!({})),
            task("publish", &[0], json!({"gate": gate, "with": {"value": 1}})),
            task("remote", &[], json!({"placement": remote})),
        ],
    });
    serde_json::from_value(flow).unwrap()
}

impl Bench {
    async fn start_watched(&self) -> RunId {
        let version = NewVersion {
            flow: watched(),
            hash: VersionHash("1".repeat(64)),
            path: "watched.toml".to_owned(),
            source: String::new(),
            actor: "test".to_owned(),
        };
        let now = clock::now();
        assert!(self.store.set_pool("gpus", 3, ("ada", now)).await.unwrap());
        self.store.apply_version(version, now).await.unwrap();
        let new = NewRun {
            id: clock::new_run_id(),
            flow: "watched".to_owned(),
            version: None,
            trigger: "api".to_owned(),
            requester: "otto".to_owned(),
            tick: None,
            params: BTreeMap::new(),
        };
        self.store.create_run(new.clone(), now).await.unwrap();
        new.id
    }

    /// `remote`, in the hands of a worker that does nothing.
    async fn take_remote(&self) -> Claim {
        let claimer = Claimer {
            worker: clock::new_id(),
            queues: vec!["elsewhere".to_owned()],
            slots: 1,
            light: 1,
            crowded: Crowded::default(),
        };
        let mut claims = self.store.claim(claimer, clock::now()).await.unwrap();
        claims.pop().expect("it is ready")
    }

    /// The numbers, when all that happened is counted.
    async fn numbers(&self) -> String {
        self.store.count_up().await.unwrap();
        self.get("/metrics", None).await.text
    }

    /// All attempts of `remote` lose their worker.
    async fn lose_remote(&self, claim: &Claim) {
        let sql =
            "update lease set until = clock_timestamp() - interval '1 second' where run = $1 and idx = $2";
        let lease = sqlx::query(sql).bind(claim.run.0).bind(claim.idx as i32);
        lease.execute(self.store.pool()).await.unwrap();
        assert_eq!(self.store.reap(clock::now()).await.unwrap(), 1);
    }

    async fn ends(&self, run: RunId) -> String {
        for _ in 0..600 {
            let state = state_of(&self.store, run).await.unwrap();
            if state.is_terminal() {
                return state.as_str().to_owned();
            }
            clock::sleep(Duration::from_millis(50)).await;
        }
        panic!("the run did not end within 30 s");
    }
}

fn success(claim: &Claim) -> Report {
    Report {
        run: claim.run,
        idx: claim.idx,
        epoch: claim.epoch,
        outcome: Outcome::Succeeded,
        outputs: Some(json!(1)),
        message: None,
        items: None,
        gate: None,
        cached: None,
    }
}

fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|l| l == *line), "{line} in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_run_is_counted_once_with_all_that_befell_it() {
    let bench = Bench::new().await;
    let run = bench.start_watched().await;
    let lost = bench.take_remote().await;
    let held = [
        "tidegate_pool_slots{pool=\"gpus\",state=\"held\"} 1",
        "tidegate_pool_slots{pool=\"gpus\",state=\"free\"} 2",
        "tidegate_tasks_reaped_total 0",
        "tidegate_runs_active 1",
    ];
    has(&bench.numbers().await, &held);
    bench.lose_remote(&lost).await;
    let waits = [
        "tidegate_tasks_reaped_total 1",
        "tidegate_tasks_ready{queue=\"elsewhere\"} 1",
        "tidegate_pool_slots{pool=\"gpus\",state=\"held\"} 0",
    ];
    has(&bench.numbers().await, &waits);
    let heir = bench.take_remote().await;
    let done = bench
        .store
        .advance(vec![success(&heir)], None, clock::now())
        .await;
    assert_eq!(done.unwrap().accepted, [true]);

    let approval = bench.asks(run).await;
    let asked = [
        "tidegate_gate_results_total{flow=\"watched\",task=\"publish\",result=\"asks\"} 1",
        "tidegate_approvals_pending 1",
        "tidegate_approval_wait_seconds_count 0",
        // Two of `measure`, two of `remote`; the one that asked did not run.
        "tidegate_task_attempts_total 4",
    ];
    has(&bench.numbers().await, &asked);
    let path = format!("/api/v1/approvals/{}/decision", approval.id);
    let yes = json!({"decision": "approve", "evidence": approval.digest});
    let anna = bench.sign_in("anna").await;
    assert_eq!(bench.post(&path, &anna, yes).await.status, StatusCode::OK);
    assert_eq!(bench.ends(run).await, "succeeded");

    // However many count, and however often.
    let (one, two) = tokio::join!(bench.store.count_up(), bench.store.count_up());
    assert!(one.is_ok() && two.is_ok());
    let over = [
        "tidegate_runs_total{flow=\"watched\",state=\"succeeded\",trigger=\"api\"} 1",
        "tidegate_run_duration_seconds_count{flow=\"watched\"} 1",
        "tidegate_run_duration_seconds_bucket{flow=\"watched\",le=\"+Inf\"} 1",
        "tidegate_runs_active 0",
        "tidegate_task_attempts_total 5",
        "tidegate_task_duration_seconds_count 5",
        "tidegate_tasks_reaped_total 1",
        "tidegate_gate_results_total{flow=\"watched\",task=\"publish\",result=\"asks\"} 1",
        "tidegate_gate_results_total{flow=\"watched\",task=\"publish\",result=\"approved\"} 1",
        "tidegate_approvals_pending 0",
        "tidegate_approval_wait_seconds_count 1",
        "tidegate_pool_slots{pool=\"gpus\",state=\"held\"} 0",
        "tidegate_pool_slots{pool=\"gpus\",state=\"free\"} 3",
    ];
    let text = bench.numbers().await;
    has(&text, &over);
    well_formed(&text, run);
}

/// All metrics of the contract are there, each told of once, none twice, and nothing names a run.
fn well_formed(text: &str, run: RunId) {
    assert!(!text.contains(&run.0.to_string()), "{text}");
    let mut kinds = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        if let Some(told) = line.strip_prefix("# TYPE ") {
            let (name, kind) = told.split_once(' ').unwrap();
            assert_eq!(kinds.insert(name, kind), None, "{name} is told of twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().unwrap().is_finite(), "{line}");
        assert!(seen.insert(series), "{series} is there twice");
        let name = series.split('{').next().unwrap();
        let part = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        let known =
            kinds.contains_key(name) || part.is_some_and(|name| kinds.get(name) == Some(&"histogram"));
        assert!(known, "{line} belongs to no metric");
    }
    let contract = "runs_total run_duration_seconds task_attempts_total task_duration_seconds runs_active tasks_ready \
        pool_slots schedule_lag_seconds schedule_skipped_total schedule_last_success_timestamp_seconds \
        worker_heartbeat_age_seconds tasks_reaped_total approvals_pending approval_wait_seconds gate_results_total \
        promotions_total db_table_bytes build_info";
    for name in contract.split_whitespace() {
        assert!(kinds.contains_key(format!("tidegate_{name}").as_str()), "{name}");
    }
}
