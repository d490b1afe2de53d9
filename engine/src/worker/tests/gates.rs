//! Gates by the way a task run really takes: outputs of one task, the gate of the next, people, a world that moves.

use std::path::PathBuf;

use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::command::{Actor, Choice, Decision, Role, decide};
use crate::gate::{ApprovalSpec, Bound, Gate, Judged, Rule, Subject, WithoutBaseline};
use crate::plugin::Preview;
use crate::store::people::NewPerson;
use crate::view::Approval;

/// Hands on what it is given, or what only a program can compute.
pub(super) struct Give;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    #[serde(default)]
    value: Value,
    #[serde(default)]
    computed: Option<String>,
}

#[derive(Serialize)]
struct Measured {
    metric: f64,
}

#[async_trait]
impl Plugin for Give {
    type Input = Given;
    type Output = Value;
    const NAME: &'static str = "give";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str = "gives what it got";
    const ISOLATION: Isolation = Isolation::Inline;
    async fn run(&self, _: &Ctx, input: Given) -> Result<Value, TaskError> {
        let metric = match input.computed.as_deref() {
            None => return Ok(input.value),
            Some("NaN") => f64::NAN,
            Some("inf") => f64::INFINITY,
            Some(_) => f64::NEG_INFINITY,
        };
        serde_json::to_value(Measured { metric }).map_err(TaskError::fail)
    }
}

/// Acts on a file as its world; in the worker, or in a process of its own.
pub(super) struct Mover<const APART: bool>;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Move {
    world: PathBuf,
    /// The first preview fails.
    #[serde(default)]
    coy: bool,
}

#[async_trait]
impl<const APART: bool> Plugin for Mover<APART> {
    type Input = Move;
    type Output = Value;
    const NAME: &'static str = if APART { "mover_apart" } else { "mover" };
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str = "moves what is in a file";
    const ISOLATION: Isolation = if APART {
        Isolation::Process
    } else {
        Isolation::Inline
    };

    async fn run(&self, _: &Ctx, input: Move) -> Result<Value, TaskError> {
        let found = std::fs::read_to_string(&input.world).map_err(TaskError::fail)?;
        if found == "quicksand" {
            std::fs::write(&input.world, "rock").map_err(TaskError::fail)?;
            let message = "it is no longer quicksand".to_owned();
            return Err(TaskError::WorldMoved { message });
        }
        Ok(json!({ "moved": found, "pid": std::process::id() }))
    }

    async fn preview(&self, ctx: &Ctx, input: Move) -> Result<Preview, TaskError> {
        if input.coy && ctx.attempt.attempt == 1 {
            return Err(TaskError::retry("cannot look now"));
        }
        let found = std::fs::read_to_string(&input.world).map_err(TaskError::fail)?;
        Ok(Preview {
            sentence: Some(format!("moves {found}")),
            world: json!({ "found": found, "height": 1.0 }),
        })
    }
}

fn rule(bound: Bound) -> Rule {
    Rule {
        subject: Subject::Metric {
            metric: "{{ tasks.a.metric }}".to_owned(),
        },
        bound,
        borderline: None,
        judged: Judged::Interval,
        without_baseline: WithoutBaseline::Ask,
    }
}

fn behind(gate: Gate, task: Task) -> Task {
    Task {
        gate: Some(gate),
        ..task
    }
}

/// Opens above 0.25, asks within 0.01 of it; shows `z` besides.
fn asking_gate() -> Gate {
    let rule = Rule {
        borderline: Some(0.01),
        ..rule(Bound::Above(0.25))
    };
    Gate {
        rules: vec![rule],
        approval: Some(ApprovalSpec {
            message: Some("Move it at {{ tasks.a.metric }}?".to_owned()),
            ..ApprovalSpec::default()
        }),
        evidence: vec![TaskName::new("z").unwrap()],
    }
}

/// `z` → `a`, which measures 0.255 → `b`, a mover behind a gate that asks.
struct Range {
    site: Site,
    world: tempfile::TempDir,
}

impl Range {
    async fn with(uses: &str, world: &str, coy: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("world");
        let give = |value: Value| ("give", json!({ "value": value }));
        let mover = Task {
            isolation: if uses == "mover" {
                Isolation::Inline
            } else {
                Isolation::Process
            },
            ..task("b", &[1], (uses, json!({ "world": path, "coy": coy })))
        };
        let site = Site::with(vec![
            task("z", &[], give(json!({ "seen": "from afar" }))),
            task("a", &[0], give(json!({ "metric": 0.255 }))),
            behind(asking_gate(), mover),
        ])
        .await;
        let anna = NewPerson {
            name: "anna".to_owned(),
            roles: vec![Role::Approver],
            ..NewPerson::default()
        };
        site.store.add_person(anna, clock::now()).await.unwrap();
        let range = Self { site, world: folder };
        range.becomes(world);
        range
    }

    fn becomes(&self, world: &str) {
        std::fs::write(self.world.path().join("world"), world).unwrap();
    }

    /// The open approval of a run, once there is one.
    async fn asks(&self, run: RunId) -> Approval {
        let mut found = None;
        self.site
            .wait("an open approval", async || {
                let newest = self.site.store.approval_of(run, "b").await.unwrap();
                found = newest.filter(|approval| approval.state == "open");
                found.is_some()
            })
            .await;
        found.unwrap()
    }

    async fn approve(&self, approval: &Approval) {
        let anna = Actor::person("anna", [Role::Approver]);
        let decision = Decision {
            decision: Choice::Approve,
            comment: None,
            evidence: approval.digest.clone(),
        };
        let decided = decide(&self.site.store, &anna, (approval.id, decision), clock::now()).await;
        assert_eq!(decided.unwrap().state, "approved");
    }

    async fn opened_by(&self, run: RunId) -> Option<Uuid> {
        sqlx::query_scalar("select opened_by from task_run where run = $1 and idx = 2")
            .bind(run.0)
            .fetch_one(self.site.store.pool())
            .await
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_stays_closed_on_whatever_is_no_number_and_says_why() {
    let value = |value: Value| json!({ "value": { "metric": value } });
    let closed = [
        (value(json!(null)), "is null"),
        (json!({ "computed": "NaN" }), "NaN"),
        (json!({ "computed": "inf" }), "infinite numbers arrive as null"),
        (json!({ "computed": "-inf" }), "infinite numbers arrive as null"),
        (json!({ "value": { "metrics": 0.4 } }), "is missing"),
        (json!({ "value": null }), "is missing"),
        (value(json!("0.4")), "is the text \"0.4\""),
        (value(json!("1e400")), "is the text \"1e400\""),
        (value(json!("NaN")), "is the text \"NaN\""),
        (value(json!([0.4])), "is a list"),
        (value(json!(true)), "is true, not a number"),
        (value(json!({})), "is an object without"),
        (value(json!({ "absent": "timeout" })), "is absent: timeout"),
        (
            value(json!({ "value": 0.4, "low": null, "high": 0.5 })),
            "has a `low` that is null",
        ),
    ];
    let open = [
        (value(json!(0.4)), "passes"),
        (value(json!({ "value": 0.4, "low": 0.3, "high": 0.45 })), "passes"),
    ];
    let mut tasks = Vec::new();
    for (n, (with, _)) in (0..).zip(closed.iter().chain(&open)) {
        let name = format!("a{n}");
        tasks.push(task(&name, &[], ("give", with.clone())));
        for bound in [Bound::Above(0.25), Bound::Below(0.5)] {
            let mut rule = rule(bound);
            let metric = format!("{{{{ tasks.{name}.metric }}}}");
            rule.subject = Subject::Metric { metric };
            let gate = Gate {
                rules: vec![rule],
                approval: None,
                evidence: Vec::new(),
            };
            let gated = task(&format!("b{}", tasks.len()), &[n * 3], ("give", json!({})));
            tasks.push(behind(gate, gated));
        }
    }
    let site = Site::with(tasks).await;
    let run = site.start().await;
    assert_eq!(site.end(run).await, RunState::Rejected);
    let told: Vec<(i32, String, String, String)> = sqlx::query_as(
        "select t.idx, t.state || coalesce(' ' || t.reason, ''), g.opening, g.rules -> 0 -> 'judgement' ->> 'why'
         from task_run t join gate_result g on g.run = t.run and g.idx = t.idx order by t.idx",
    )
    .fetch_all(site.store.pool())
    .await
    .unwrap();
    assert_eq!(told.len(), (closed.len() + open.len()) * 2);
    for (idx, state, opening, why) in told {
        let n = idx as usize / 3;
        let (expected, words) = match closed.get(n) {
            Some((_, words)) => (("rejected rule_failed", "rejected"), *words),
            None => (("succeeded", "opens"), open[n - closed.len()].1),
        };
        assert_eq!((state.as_str(), opening.as_str()), expected, "{n}: {why}");
        assert!(why.contains(words), "{why:?} does not say {words:?}");
        if expected.1 == "rejected" {
            assert!(site.message(run).await.contains(&json!(why).to_string()), "{why}");
        }
    }
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_asked_on_frozen_evidence_and_their_yes_lets_the_task_run() {
    for uses in ["mover", "mover_apart"] {
        let range = Range::with(uses, "a hill", false).await;
        let run = range.site.start().await;
        let asked = range.asks(run).await;
        assert_eq!(asked.message.as_deref(), Some("Move it at 0.255?"));
        assert_eq!(asked.action.as_deref(), Some("moves a hill"));
        assert_eq!(asked.requester, "test");
        let evidence = &asked.evidence;
        assert_eq!(
            evidence["outputs"],
            json!({ "a": { "metric": 0.255 }, "z": { "seen": "from afar" } })
        );
        assert_eq!(evidence["world"]["found"], "a hill");
        assert_eq!(evidence["rules"][0]["judgement"]["verdict"], "borderline");
        let held: i64 =
            sqlx::query_scalar("select (select count(*) from lease) + (select count(*) from ready)")
                .fetch_one(range.site.store.pool())
                .await
                .unwrap();
        assert_eq!(held, 0, "no slot, no lease, no place in a queue");
        // People take their time; what the task takes is told without it.
        clock::sleep(Duration::from_millis(700)).await;
        range.approve(&asked).await;
        assert_eq!(
            range.site.end(run).await,
            RunState::Succeeded,
            "{}",
            range.site.message(run).await
        );
        let moved = range.site.outputs(run, 2).await;
        assert_eq!(moved["moved"], "a hill");
        assert_eq!(moved["pid"] == std::process::id(), uses == "mover");
        assert_eq!(range.opened_by(run).await, Some(asked.id));
        let seen = range.site.store.run(run, clock::now()).await.unwrap().unwrap();
        let (now, mover) = (clock::now(), &seen.tasks[2]);
        assert!(mover.waited(now).as_millis() >= 700, "{mover:?}");
        let whole = mover
            .finished_at
            .unwrap()
            .duration_since(mover.started_at.unwrap());
        assert_eq!(mover.took(now).unwrap() + mover.waited(now), whole);
        range.site.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_yes_to_a_world_that_moved_since_asks_anew() {
    let range = Range::with("mover", "a hill", false).await;
    let run = range.site.start().await;
    let first = range.asks(run).await;
    range.becomes("a valley");
    range.approve(&first).await;
    let second = range.asks(run).await;
    assert_ne!(first.digest, second.digest);
    assert_eq!(second.action.as_deref(), Some("moves a valley"));
    assert_eq!(range.opened_by(run).await, None);
    let stands = range.site.store.approval(first.id).await.unwrap().unwrap();
    assert_eq!(stands.state, "approved", "what was decided stays decided");
    range.approve(&second).await;
    assert_eq!(range.site.end(run).await, RunState::Succeeded);
    assert_eq!(range.opened_by(run).await, Some(second.id));
    range.site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_finds_the_world_moved_asks_anew() {
    let range = Range::with("mover_apart", "quicksand", false).await;
    let run = range.site.start().await;
    let first = range.asks(run).await;
    range.approve(&first).await;
    let second = range.asks(run).await;
    assert_eq!(second.action.as_deref(), Some("moves rock"));
    assert!(
        range
            .site
            .message(run)
            .await
            .contains("it is no longer quicksand")
    );
    range.approve(&second).await;
    assert_eq!(range.site.end(run).await, RunState::Succeeded);
    range.site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_world_that_moved_by_the_tasks_own_doing_is_not_asked_about_again() {
    let range = Range::with("mover", "a hill", false).await;
    let run = range.site.start().await;
    let asked = range.asks(run).await;
    // As after a crash between the move of an alias and the report of it.
    sqlx::query(
        "insert into alias_move (model, alias, number, version, at, actor, run, idx, approval)
         values ('m', 'production', 1, 7, now(), 'anna', $1, 2, $2)",
    )
    .bind(run.0)
    .bind(asked.id)
    .execute(range.site.store.pool())
    .await
    .unwrap();
    range.becomes("a valley");
    range.approve(&asked).await;
    assert_eq!(range.site.end(run).await, RunState::Succeeded);
    sqlx::query("delete from alias_move")
        .execute(range.site.store.pool())
        .await
        .unwrap();
    range.site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_gate_a_world_that_moved_is_a_failure_worth_another_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("world");
    std::fs::write(&path, "quicksand").unwrap();
    let site = Site::with(vec![task("b", &[], ("mover", json!({ "world": path })))]).await;
    let run = site.start().await;
    assert_eq!(
        site.end(run).await,
        RunState::Succeeded,
        "{}",
        site.message(run).await
    );
    assert_eq!(site.outputs(run, 0).await["moved"], "rock");
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_that_fails_is_tried_again_as_the_task_says() {
    let range = Range::with("mover", "a hill", true).await;
    let run = range.site.start().await;
    let asked = range.asks(run).await;
    assert_eq!(asked.action.as_deref(), Some("moves a hill"));
    assert!(range.site.message(run).await.contains("cannot look now"));
    range
        .site
        .store
        .cancel_run(run, Reason::Requested, clock::now())
        .await
        .unwrap();
    assert_eq!(range.site.end(run).await, RunState::Cancelled);
    let closed = range.site.store.approval(asked.id).await.unwrap().unwrap();
    assert_eq!(closed.state, "void");
    range.site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_run_takes_the_place_of_the_older_at_once() {
    let range = Range::with("mover", "a hill", false).await;
    let older = range.site.start().await;
    let asked = range.asks(older).await;
    let newer = range.site.start().await;
    range.asks(newer).await;
    assert_eq!(range.site.end(older).await, RunState::Rejected);
    let closed = range.site.store.approval(asked.id).await.unwrap().unwrap();
    assert_eq!(closed.state, "superseded");
    range.asks(newer).await;
    range.site.close().await;
}
