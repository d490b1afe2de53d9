//! Runs that task runs make, on a real PostgreSQL: once each, woken, stopped, bounded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::graph::{Flow, ParamKind, ParamSpec, Task};
use crate::id::FlowName;
use crate::retry::RetryPolicy;
use crate::state::run::RunState;
use crate::store::claim::Claim;
use crate::store::flows::{Applied, NewVersion};
use crate::store::tests::{Bench, flow, task};

const FAILS: Outcome = Outcome::Failed {
    reason: Reason::Error,
    again: false,
};
const WAITS: Outcome = Outcome::Parked {
    reason: Reason::SubRun,
    until: None,
};

fn named(name: &str, tasks: Vec<Task>) -> Flow {
    Flow {
        name: FlowName::new(name).unwrap(),
        max_active: 100,
        ..flow(tasks)
    }
}

/// A task of that name that runs a flow.
fn runs(name: &str, child: &str) -> Task {
    Task {
        uses: crate::graph::SUB_FLOW.to_owned(),
        with: json!({ "flow": child }),
        ..task(name, &[], 1)
    }
}

fn wanted(flow: &str) -> SubFlow {
    SubFlow {
        flow: flow.to_owned(),
        params: Map::new(),
        outputs: None,
    }
}

fn why_refused<T: std::fmt::Debug>(answer: Result<T>) -> String {
    match answer {
        Err(StoreError::Host(HostError::Refused { message })) => message,
        Err(StoreError::Refused { why }) => why,
        other => panic!("{other:?}"),
    }
}

impl Bench {
    async fn add(&self, flow: Flow) -> Result<Applied> {
        let number = clock::new_id().simple().to_string();
        let version = NewVersion {
            path: format!("{}.toml", flow.name),
            hash: VersionHash(format!("{number}{number}")),
            flow,
            source: String::new(),
            actor: "test".to_owned(),
        };
        self.store.apply_version(version, self.now).await
    }

    /// A parent `f` that runs `child`, or one of the `others`; the claim of its task.
    async fn parent(parent: Task, others: Vec<Flow>) -> (Self, RunId, Claim) {
        let bench = Self::with(vec![task("a", &[], 1)]).await;
        bench.add(named("child", vec![task("t", &[], 1)])).await.unwrap();
        for other in others {
            bench.add(other).await.unwrap();
        }
        bench.add(named("f", vec![parent])).await.unwrap();
        let id = bench.run().await;
        let claim = bench.claim(1).await.remove(0);
        (bench, id, claim)
    }

    async fn asks(&self, claim: &Claim, flow: &str) -> Result<SubRun> {
        match self.store.sub_run(claim.holder(), wanted(flow), self.now).await? {
            SubAnswer::Run(run) => Ok(run),
            frozen @ SubAnswer::Frozen { .. } => panic!("{frozen:?}"),
        }
    }

    async fn makes(&self, claim: &Claim, flow: &str) -> RunId {
        let made = self.asks(claim, flow).await.unwrap();
        assert!(self.report(claim, WAITS).await);
        made.run
    }

    /// Claims the one task run that is ready.
    async fn next(&self) -> Claim {
        let mut claims = self.claim(9).await;
        assert_eq!(claims.len(), 1, "{claims:?}");
        claims.remove(0)
    }

    async fn finish(&self, outcome: Outcome) -> Claim {
        let claim = self.next().await;
        assert!(self.report(&claim, outcome).await);
        claim
    }
}

#[tokio::test]
async fn a_task_run_makes_one_run_and_is_woken_by_its_end() {
    let (bench, id, first) = Bench::parent(runs("sub", "child"), Vec::new()).await;
    let made = bench.asks(&first, "child").await.unwrap();
    let again = bench.asks(&first, "child").await.unwrap();
    assert_eq!((made.run, made.made, again.made), (again.run, true, false));
    bench.expire_leases().await;
    bench.store.reap(bench.now).await.unwrap();
    let held = bench.claim(9).await;
    let heir = held.iter().find(|claim| claim.run == id).unwrap();
    assert_eq!(
        bench.makes(heir, "child").await,
        made.run,
        "a lost worker costs no run"
    );
    assert_eq!(bench.task_states(id).await, ["waiting sub_run"]);
    let leases: i64 = sqlx::query_scalar("select count(*) from lease where run = $1")
        .bind(id.0)
        .fetch_one(bench.store.pool())
        .await
        .unwrap();
    assert_eq!(leases, 0, "who waits holds nothing");
    bench.audit().await;
    let inner = held.iter().find(|claim| claim.run == made.run).unwrap();
    assert!(bench.report(inner, Outcome::Succeeded).await);
    assert_eq!(bench.task_states(id).await, ["ready"], "the same commit woke it");
    let last = bench.next().await;
    assert_eq!(
        (last.run, last.attempt),
        (id, 2),
        "waiting spends no attempt, a lost worker one of its own"
    );
    let over = bench.asks(&last, "child").await.unwrap();
    assert_eq!(over.end, Some(EndState::Succeeded));
    assert_eq!(json!(over.outputs), json!({"t": {"by": 0}}));
    assert!(bench.report(&last, Outcome::Succeeded).await);
    assert_eq!(bench.state(id).await, RunState::Succeeded);
    bench.audit().await;
}

#[tokio::test]
async fn a_run_that_ends_before_its_parent_parks_wakes_it_all_the_same() {
    let (bench, id, claim) = Bench::parent(runs("sub", "child"), Vec::new()).await;
    bench.asks(&claim, "child").await.unwrap();
    bench.finish(Outcome::Succeeded).await;
    assert!(bench.report(&claim, WAITS).await);
    assert_eq!(bench.task_states(id).await, ["ready"]);
    bench.audit().await;
}

#[tokio::test]
async fn a_wake_up_that_was_lost_is_found_by_the_scheduler() {
    let (bench, id, claim) = Bench::parent(runs("sub", "child"), Vec::new()).await;
    bench.makes(&claim, "child").await;
    // Somebody holds the parent while the child ends.
    let mut holder = bench.store.pool().begin().await.unwrap();
    sqlx::query("select 1 from run where id = $1 for no key update")
        .bind(id.0)
        .execute(&mut *holder)
        .await
        .unwrap();
    let ends = tokio::time::timeout(Duration::from_secs(5), bench.finish(Outcome::Succeeded));
    ends.await.expect("the child waits for nobody");
    holder.rollback().await.unwrap();
    assert_eq!(bench.task_states(id).await, ["waiting sub_run"]);
    assert_eq!(bench.store.tend_sub_runs(bench.now).await.unwrap(), 1);
    assert_eq!(bench.task_states(id).await, ["ready"]);
    assert_eq!(bench.store.tend_sub_runs(bench.now).await.unwrap(), 0);
    bench.audit().await;
}

#[tokio::test]
async fn another_try_makes_another_run_and_only_after_one_that_went_wrong() {
    let policy = RetryPolicy {
        attempts: 3,
        delay: Duration::ZERO,
        ..RetryPolicy::default()
    };
    let parent = Task {
        retry: policy,
        ..runs("sub", "child")
    };
    let (mut bench, id, claim) = Bench::parent(parent, Vec::new()).await;
    let first = bench.asks(&claim, "child").await.unwrap().run;
    let again = Outcome::Failed {
        reason: Reason::Error,
        again: true,
    };
    assert!(bench.report(&claim, again).await, "PostgreSQL was away, say");
    bench.now = bench.now.checked_add(Duration::from_secs(60)).unwrap();
    let held = bench.claim(9).await;
    let second = held.iter().find(|claim| claim.run == id).unwrap();
    assert_eq!(
        bench.makes(second, "child").await,
        first,
        "it goes on with the run that is there"
    );
    let inner = held.iter().find(|claim| claim.run == first).unwrap();
    assert!(bench.report(inner, FAILS).await);
    let third = bench.next().await;
    let next = bench.asks(&third, "child").await.unwrap();
    assert_ne!(next.run, first, "this try has made none yet");
    bench.audit().await;
}

#[tokio::test]
async fn a_stop_goes_all_the_way_down() {
    let above = named("middle", vec![runs("deep", "child")]);
    let (bench, id, claim) = Bench::parent(runs("sub", "middle"), vec![above]).await;
    let middle = bench.makes(&claim, "middle").await;
    let deep = bench.next().await;
    let child = bench.makes(&deep, "child").await;
    let inner = bench.next().await;
    assert!(
        bench
            .store
            .cancel_run(id, Reason::Requested, bench.now)
            .await
            .unwrap()
    );
    assert_eq!(bench.state(middle).await, RunState::Cancelled);
    assert_eq!(
        bench.state(child).await,
        RunState::Cancelling,
        "an attempt is told to stop"
    );
    assert!(bench.report(&inner, Outcome::Stopped).await);
    assert_eq!(bench.task_states(child).await, ["cancelled parent_ended"]);
    bench.audit().await;
}

#[tokio::test]
async fn a_run_that_took_its_time_stops_what_it_made() {
    let (mut bench, _, claim) = Bench::parent(runs("sub", "child"), Vec::new()).await;
    drop(claim);
    let timed = Flow {
        timeout: Some(Duration::from_secs(60)),
        ..named("timed", vec![runs("sub", "child")])
    };
    bench.add(timed).await.unwrap();
    let mut new = bench.new_run();
    new.flow = "timed".to_owned();
    let id = new.id;
    bench.store.create_run(new, bench.now).await.unwrap();
    let claim = bench.next().await;
    let child = bench.makes(&claim, "child").await;
    bench.now = bench.now.checked_add(Duration::from_secs(61)).unwrap();
    assert_eq!(bench.store.time_out_runs(bench.now).await.unwrap(), 1);
    assert_eq!(bench.state(id).await, RunState::Failed);
    assert_eq!(bench.store.tend_sub_runs(bench.now).await.unwrap(), 1);
    assert_eq!(bench.state(child).await, RunState::Cancelled);
    bench.audit().await;
}

#[tokio::test]
async fn no_flow_comes_to_run_itself() {
    let (bench, _, claim) = Bench::parent(runs("sub", "child"), Vec::new()).await;
    let circle = bench.add(named("child", vec![runs("back", "f")])).await;
    let why = why_refused(circle);
    assert!(why.contains("child → f → child"), "{why}");
    let missing = why_refused(bench.add(named("other", vec![runs("x", "nowhere")])).await);
    assert!(
        missing.contains("task `x` runs flow `nowhere`, and there is none"),
        "{missing}"
    );
    // Names that only a run knows are judged when the run would be made.
    let itself = why_refused(bench.asks(&claim, "f").await);
    assert_eq!(itself, "flow `f` would run itself: f → f");
    let unknown = why_refused(bench.asks(&claim, "chidl").await);
    assert!(
        unknown.contains("there is no flow `chidl`") && unknown.contains("child"),
        "{unknown}"
    );
}

#[tokio::test]
async fn runs_within_runs_are_bounded() {
    let (bench, _, mut claim) = Bench::parent(runs("sub", "child"), Vec::new()).await;
    let dynamic = |name: &str| {
        let mut task = runs("sub", "{{ params.next }}");
        task.name = crate::id::TaskName::new("sub").unwrap();
        named(name, vec![task])
    };
    let mut depth = 1;
    let why = loop {
        let name = format!("level-{depth}");
        bench.add(dynamic(&name)).await.unwrap();
        match bench.asks(&claim, &name).await {
            Ok(_) => assert!(bench.report(&claim, WAITS).await),
            refused => break why_refused(refused),
        }
        claim = bench.next().await;
        depth += 1;
    };
    assert_eq!(depth, crate::graph::MOST_NESTED, "{why}");
    assert!(
        why.starts_with("at most 10 runs stand above one another: f → level-1"),
        "{why}"
    );
}

#[tokio::test]
async fn params_are_judged_when_applied_and_when_made() {
    let (bench, _, claim) = Bench::parent(runs("sub", "child"), Vec::new()).await;
    let days = ParamSpec {
        kind: ParamKind::Integer {
            min: Some(1),
            max: Some(365),
        },
        default: None,
        description: None,
    };
    let mut strict = named("strict", vec![task("t", &[], 1)]);
    strict.params.insert("days".to_owned(), days);
    bench.add(strict).await.unwrap();
    let with = |params: Value| Task {
        with: json!({ "flow": "strict", "params": params }),
        ..runs("sub", "strict")
    };
    for (params, said) in [
        (json!({}), "`days` has no default"),
        (json!({"days": 0}), "must be at least 1"),
        (json!({"days": 7, "dyas": 7}), "is no param of flow `strict`"),
    ] {
        let why = why_refused(bench.add(named("g", vec![with(params)])).await);
        assert!(why.contains(said), "{why}");
    }
    bench
        .add(named("g", vec![with(json!({"days": "{{ params.d }}"}))]))
        .await
        .unwrap();
    let why = why_refused(bench.asks(&claim, "strict").await);
    assert!(
        why.contains("do not fit flow `strict`") && why.contains("`days`"),
        "{why}"
    );
}

#[tokio::test]
async fn a_frozen_flow_is_not_run_before_its_window_ends() {
    let (bench, _, claim) = Bench::parent(runs("sub", "child"), Vec::new()).await;
    let freeze = crate::store::freezes::NewFreeze {
        flow: Some("child".to_owned()),
        from: clock::now(),
        until: clock::now().checked_add(Duration::from_secs(3600)).unwrap(),
        reason: "books are closed".to_owned(),
    };
    let freeze = bench.store.add_freeze(freeze, ("ada", bench.now)).await.unwrap();
    let answer = bench
        .store
        .sub_run(claim.holder(), wanted("child"), bench.now)
        .await;
    assert!(matches!(answer.unwrap(), SubAnswer::Frozen { freeze: id, .. } if id == freeze.id));
    // An emergency takes what it makes along.
    sqlx::query(
        "insert into emergency (run, reason, confirmed_by, confirmed_at) values ($1, 'fire', 'ada', now())",
    )
    .bind(claim.run.0)
    .execute(bench.store.pool())
    .await
    .unwrap();
    sqlx::query("update run set urgent = true where id = $1")
        .bind(claim.run.0)
        .execute(bench.store.pool())
        .await
        .unwrap();
    let made = bench.asks(&claim, "child").await.unwrap().run;
    let known = bench.store.emergency(made).await.unwrap().unwrap();
    assert_eq!(
        (known.reason.as_str(), known.confirmed_by.as_deref()),
        ("fire", Some("ada"))
    );
}

#[tokio::test]
async fn why_follows_the_runs_down() {
    let busy = Flow {
        max_active: 1,
        ..named("busy", vec![task("t", &[], 1)])
    };
    let (bench, id, claim) = Bench::parent(runs("sub", "busy"), vec![busy]).await;
    let mut other = bench.new_run();
    other.flow = "busy".to_owned();
    let before = other.id;
    bench.store.create_run(other, bench.now).await.unwrap();
    let child = bench.makes(&claim, "busy").await;
    let run = bench.store.run(id, bench.now).await.unwrap().unwrap();
    assert_eq!(run.tasks[0].sub_runs[0].run, child.0);
    let why = bench.store.why(&run).await.unwrap();
    let short = crate::store::read::short_id;
    let said = format!(
        "it waits for run {} of busy, which is queued: it waits behind {}",
        short(child.0),
        short(before.0)
    );
    assert!(
        why.tasks[0].sentence.starts_with(&said),
        "{}",
        why.tasks[0].sentence
    );
    assert_eq!(why.tasks[0].waits_for, "sub_run");
    let made = bench.store.run(child, bench.now).await.unwrap().unwrap();
    let parent = made.summary.parent.unwrap();
    assert_eq!(
        (parent.run, parent.flow.as_str(), parent.task.as_str()),
        (id.0, "f", "sub")
    );
    assert_eq!(
        (made.summary.trigger.as_str(), made.summary.requester.as_str()),
        ("flow", "test")
    );
}

#[tokio::test]
async fn who_asked_for_a_run_asked_for_all_that_it_made() {
    let (bench, id, claim) = Bench::parent(runs("sub", "child"), Vec::new()).await;
    let child = bench.makes(&claim, "child").await;
    let mut retried = bench.new_run();
    retried.requester = "olga".to_owned();
    let first = retried.id;
    retried.flow = "child".to_owned();
    bench.store.create_run(retried, bench.now).await.unwrap();
    sqlx::query("update run set retry_of = $2 where id = $1")
        .bind(id.0)
        .bind(first.0)
        .execute(bench.store.pool())
        .await
        .unwrap();
    for (who, asked) in [("test", true), ("olga", true), ("anna", false)] {
        let told: bool = sqlx::query_scalar("select has_asked_for($1, $2)")
            .bind(child.0)
            .bind(who)
            .fetch_one(bench.store.pool())
            .await
            .unwrap();
        assert_eq!(told, asked, "{who}");
    }
}
