//! Every operation broken off at every statement: the process dies, or only its connection, before the statement or,
//! where that makes a difference, after it. Then it is asked for again, as its client would, and all comes to the end it comes to undisturbed.
//!
//! Nothing is counted beforehand: the n-th statement is struck until an operation has fewer.

use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::BoxFuture;
use serde_json::{Map, Value};
use tidegate_test_fixtures::proxy::{Fault, Proxy, Upstream};

use super::super::StoreError;
use super::super::approvals::Reached;
use super::super::approvals::tests::{add, approver, asking, gated, yes};
use super::super::leases::Holder;
use super::super::orders::{Again, Key, Order, Placed, Rollback, What};
use super::super::votes::Ruling;
use super::*;
use crate::command::Role;
use crate::gate::ApprovalSpec;
use crate::graph::{Missed, ParamKind, ParamSpec, ScheduleSpec};
use crate::id::ScheduleName;
use crate::plugin::{AliasMove, NewVersion as NewModel};

/// How an operation breaks off at a statement.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    DiesBefore,
    CutBefore,
    DiesAfter,
    CutAfter,
}

const MISHAPS: [Mishap; 4] = [
    Mishap::DiesBefore,
    Mishap::CutBefore,
    Mishap::DiesAfter,
    Mishap::CutAfter,
];

impl Mishap {
    fn is_after(self) -> bool {
        matches!(self, Self::DiesAfter | Self::CutAfter)
    }

    fn fault(self) -> Fault {
        match self {
            Self::DiesBefore | Self::CutBefore => Fault::LoseRequest,
            Self::DiesAfter | Self::CutAfter => Fault::LoseReply { after: 0 },
        }
    }
}

type Act<S> = fn(Store, S) -> BoxFuture<'static, crate::store::Result<()>>;

/// A database that can be reached by a way that breaks.
struct Scene {
    bench: Bench,
    proxy: Proxy,
    url: String,
    nth: AtomicU32,
}

impl Scene {
    async fn with(tasks: Vec<Task>) -> Self {
        let bench = Bench::with(tasks).await;
        let database = bench._database.as_ref().unwrap();
        let proxy = Proxy::start(Upstream::Socket(database.socket()));
        let url = database.through(proxy.port());
        Self {
            bench,
            proxy,
            url,
            nth: AtomicU32::new(0),
        }
    }

    /// Breaks `act` off everywhere; `before` brings about what it needs, `end` asks again, lets all come to rest and says how.
    async fn everywhere<S: Clone + Send + 'static>(
        &self,
        before: impl AsyncFn() -> S,
        act: Act<S>,
        end: impl AsyncFn(S) -> String,
    ) {
        let subject = before().await;
        act(self.bench.store.clone(), subject.clone()).await.unwrap();
        let undisturbed = end(subject).await;
        let (mut statements, mut broken): (Vec<String>, usize) = (Vec::new(), 0);
        'statements: for skip in 0.. {
            for mishap in MISHAPS {
                // After any other statement is before the next one.
                if mishap.is_after() && statements.last().is_some_and(|text| text != "COMMIT") {
                    continue;
                }
                let subject = before().await;
                let struck = self.break_off((mishap, skip), act, subject.clone()).await;
                let came_to = end(subject).await;
                let Some(statement) = struck else {
                    break 'statements;
                };
                broken += 1;
                assert_eq!(came_to, undisturbed, "{mishap:?} statement {skip}: {statement}");
                if statements.len() == skip {
                    statements.push(statement);
                }
            }
        }
        assert_eq!(self.bench.store.audit().await.unwrap(), []);
        assert!(statements.iter().any(|text| text == "COMMIT"), "{statements:#?}");
        println!("{} statements, broken off {broken} times", statements.len());
    }

    /// Answers the statement that was struck.
    async fn break_off<S: Clone + Send + 'static>(
        &self,
        (mishap, skip): (Mishap, usize),
        act: Act<S>,
        subject: S,
    ) -> Option<String> {
        match mishap {
            Mishap::DiesBefore | Mishap::DiesAfter => std::thread::scope(|scope| {
                let process = move || self.process((mishap, skip), act, subject);
                scope.spawn(process).join().unwrap()
            }),
            Mishap::CutBefore | Mishap::CutAfter => {
                let store = Store::connect(&self.url, 2).await.unwrap();
                self.proxy.at_statement(skip, mishap.fault());
                let mut done = act(store.clone(), subject.clone()).await;
                // What is no transaction is left to whoever comes round again.
                if done.as_ref().is_err_and(StoreError::is_passing) {
                    done = act(store.clone(), subject).await;
                }
                let struck = self.proxy.stricken();
                assert!(done.is_ok(), "{mishap:?} {struck:?}: {done:?}");
                store.pool().close().await;
                struck
            }
        }
    }

    /// Does it as a process that is gone, with all it knows, when the fault strikes.
    fn process<S: Send + 'static>(
        &self,
        (mishap, skip): (Mishap, usize),
        act: Act<S>,
        subject: S,
    ) -> Option<String> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let store = runtime.block_on(Store::connect(&self.url, 2)).unwrap();
        let before = self.proxy.struck();
        self.proxy.at_statement(skip, mishap.fault());
        let doing = runtime.spawn(act(store, subject));
        runtime.block_on(async {
            while !doing.is_finished() && self.proxy.struck() == before {
                clock::sleep(Duration::from_millis(1)).await;
            }
        });
        runtime.shutdown_background();
        self.proxy.stricken()
    }

    fn next(&self) -> u32 {
        self.nth.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn order(&self, what: What, key: &str) -> Order {
        Order {
            id: clock::new_run_id(),
            actor: "anna".to_owned(),
            key: Some(Key::new("test", "anna", (key, &json!({})))),
            what,
        }
    }

    /// The same request once more, as its sender would after an answer that never came.
    async fn place_again(&self, order: &Order) -> RunId {
        let again = Order {
            id: clock::new_run_id(),
            ..order.clone()
        };
        match self.bench.store.place(again, self.bench.now).await.unwrap() {
            Placed::Run { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    /// Lets workers and a reaper do what is left, and says what it came to.
    async fn settle(&self, run: RunId) -> String {
        let begun = clock::monotonic();
        while !self.bench.state(run).await.is_terminal() {
            assert!(begun.elapsed() < Duration::from_secs(20), "nothing moves");
            self.bench.expire_leases().await;
            self.bench.store.reap(self.bench.now).await.unwrap();
            // What broke off may have made ready what is due at its own instant.
            let claims = self
                .bench
                .store
                .claim(self.bench.claimer(9), clock::now())
                .await
                .unwrap();
            for claim in claims {
                self.bench.report(&claim, Outcome::Succeeded).await;
            }
        }
        self.standing(run).await
    }

    async fn standing(&self, run: RunId) -> String {
        let outputs: Vec<Value> =
            sqlx::query_scalar("select outputs from handed_on where run = $1 order by idx")
                .bind(run.0)
                .fetch_all(self.bench.store.pool())
                .await
                .unwrap();
        let tasks = self.bench.task_states(run).await;
        format!("{}: {tasks:?}, {outputs:?}", self.bench.state(run).await.as_str())
    }

    async fn count(&self, sql: &'static str, of: Uuid) -> i64 {
        let count = sqlx::query_scalar(sql).bind(of);
        count.fetch_one(self.bench.store.pool()).await.unwrap()
    }

    /// A run, and its first claims.
    async fn claimed(&self) -> (RunId, Vec<Claim>) {
        let run = self.bench.run().await;
        let mut claims = self.bench.claim(9).await;
        claims.sort_by_key(|claim| claim.idx);
        (run, claims)
    }
}

fn diamond() -> Vec<Task> {
    vec![
        task("a", &[], 2),
        task("b", &[0], 1),
        task("c", &[0], 1),
        task("d", &[1, 2], 1),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_asked_for_is_made_once_wherever_that_breaks_off() {
    let scene = Scene::with(diamond()).await;
    let what = || What::Flow {
        name: "f".to_owned(),
        params: Map::new(),
        trigger: "api",
        no_cache: false,
        emergency: None,
    };
    let end = async |order: Order| {
        let run = scene.place_again(&order).await;
        assert_eq!(scene.place_again(&order).await, run);
        let one = "select count(*) from run r where r.finished_at is null or r.id = $1";
        format!("{} {}", scene.count(one, run.0).await, scene.settle(run).await)
    };
    let before = async || scene.order(what(), &scene.next().to_string());
    let act: Act<Order> =
        |store, order| Box::pin(async move { store.place(order, clock::now()).await.map(drop) });
    scene.everywhere(before, act, end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_is_asked_for_is_made_once_wherever_that_breaks_off() {
    let scene = Scene::with(diamond()).await;
    for statement in [
        "insert into model (name, created_at) values ('m', now())",
        "insert into model_version (model, version, source, facts, created_at) values ('m', 1, 's', '{}', now()), ('m', 2, 's', '{}', now())",
        "insert into model_alias (model, alias, version) values ('m', 'a', 2)",
        "insert into alias_move (model, alias, number, version, before, at, actor)
         values ('m', 'a', 1, 1, null, now(), 'x'), ('m', 'a', 2, 2, 1, now(), 'x')",
    ] {
        sqlx::query(statement)
            .execute(scene.bench.store.pool())
            .await
            .unwrap();
    }
    let before = async || {
        let flow = Flow {
            name: FlowName::new(crate::rollback::FLOW).unwrap(),
            params: ["model", "alias", "reason", "from", "version"]
                .map(|name| (name.to_owned(), param(name)))
                .into_iter()
                .collect(),
            ..flow(vec![task("move", &[], 1)])
        };
        let back = Rollback {
            model: "m".to_owned(),
            alias: "a".to_owned(),
            from: 2,
            to: None,
            reason: "slow".to_owned(),
            trigger: "api",
            flow: NewVersion {
                flow,
                hash: VersionHash("d".repeat(64)),
                path: "built-in".to_owned(),
                source: String::new(),
                actor: "test".to_owned(),
            },
        };
        let key = format!("back {}", scene.next());
        scene.order(What::RollBack(Box::new(back)), &key)
    };
    let act: Act<Order> =
        |store, order| Box::pin(async move { store.place(order, clock::now()).await.map(drop) });
    let end = async |order: Order| {
        let run = scene.place_again(&order).await;
        assert_eq!(scene.place_again(&order).await, run);
        let open = "select count(*) from run r where r.finished_at is null or r.id = $1";
        let told = "select count(*) from ledger where kind = 'rollback_requested' and run = $1";
        let counts = (scene.count(open, run.0).await, scene.count(told, run.0).await);
        format!("{counts:?} {}", scene.settle(run).await)
    };
    scene.everywhere(before, act, end).await;
}

fn param(name: &str) -> ParamSpec {
    ParamSpec {
        kind: match name {
            "from" | "version" => ParamKind::Integer { min: None, max: None },
            _ => ParamKind::String,
        },
        default: None,
        description: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_that_breaks_off_anywhere_is_made_once() {
    let scene = Scene::with(diamond()).await;
    let schedule = ScheduleSpec {
        name: ScheduleName::new("s").unwrap(),
        cron: "* * * * *".to_owned(),
        timezone: "UTC".to_owned(),
        dom_dow: None,
        missed: Missed::Latest,
        missed_window: Duration::from_secs(86_400),
        params: BTreeMap::new(),
    };
    let flow = Flow {
        schedules: vec![schedule],
        ..flow(diamond())
    };
    let version = NewVersion {
        flow,
        hash: VersionHash("c".repeat(64)),
        path: "f.toml".to_owned(),
        source: String::new(),
        actor: "test".to_owned(),
    };
    let start: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
    scene.bench.store.apply_version(version, start).await.unwrap();
    let fire =
        |store: Store, now: Timestamp| async move { store.fire(("f".to_owned(), "s".to_owned()), now).await };
    let made = "select run from tick where scheduled_for = $1 and outcome = 'run' and count = 1";
    let end = async |now: Timestamp| {
        let begun = clock::monotonic();
        loop {
            // The row of the flow may still be locked by who has just died.
            fire(scene.bench.store.clone(), now).await.unwrap();
            let made = sqlx::query_scalar::<_, Uuid>(made).bind(super::super::pg(now));
            let runs = made.fetch_all(scene.bench.store.pool()).await.unwrap();
            if let [run] = runs[..] {
                break scene.settle(RunId(run)).await;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{} runs", runs.len());
        }
    };
    let before = async || start + Duration::from_secs(60) * scene.next();
    let act: Act<Timestamp> = |store, now| {
        Box::pin(async move { store.fire(("f".to_owned(), "s".to_owned()), now).await.map(drop) })
    };
    scene.everywhere(before, act, end).await;
    let (ticks, runs): (i64, i64) =
        sqlx::query_as("select (select count(*) from tick), (select count(*) from run)")
            .fetch_one(scene.bench.store.pool())
            .await
            .unwrap();
    let made = i64::from(scene.nth.load(Ordering::Relaxed));
    assert_eq!((ticks, runs), (made, made));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_breaks_off_anywhere_leaves_its_work_to_others() {
    let scene = Scene::with(diamond()).await;
    let before = async || scene.bench.run().await;
    let act: Act<RunId> = |store, _| {
        Box::pin(async move {
            let claimer = Claimer {
                worker: clock::new_id(),
                queues: vec!["default".to_owned()],
                slots: 9,
                crowded: crate::store::claim::Crowded::default(),
                light: 9,
            };
            store.claim(claimer, clock::now()).await.map(drop)
        })
    };
    scene
        .everywhere(before, act, async |run| scene.settle(run).await)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_breaks_off_anywhere_counts_once() {
    let scene = Scene::with(diamond()).await;
    let before = async || {
        let (run, claims) = scene.claimed().await;
        let claimer = scene.bench.claimer(1);
        (
            run,
            claims
                .iter()
                .map(|c| report(c, Outcome::Succeeded))
                .collect::<Vec<_>>(),
            claimer,
        )
    };
    let act: Act<(RunId, Vec<Report>, Claimer)> = |store, (_, reports, claimer)| {
        Box::pin(async move {
            store
                .advance(reports, Some(claimer), clock::now())
                .await
                .map(drop)
        })
    };
    let end = async |(run, reports, _): (RunId, Vec<Report>, Claimer)| {
        let again = scene
            .bench
            .store
            .advance(reports, None, scene.bench.now)
            .await
            .unwrap();
        assert!(again.accepted.len() == 1);
        let once = "select count(*) from event where run = $1 and kind = 'succeeded' and 0 = any(idx)";
        format!("{} {}", scene.count(once, run.0).await, scene.settle(run).await)
    };
    scene.everywhere(before, act, end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reaper_that_dies_anywhere_counts_a_loss_once() {
    let scene = Scene::with(diamond()).await;
    let before = async || {
        let run = scene.bench.run().await;
        assert_eq!(scene.bench.claim(1).await.len(), 1);
        scene.bench.expire_leases().await;
        run
    };
    let act: Act<RunId> = |store, _| Box::pin(async move { store.reap(clock::now()).await.map(drop) });
    let end = async |run: RunId| {
        scene.bench.store.reap(scene.bench.now).await.unwrap();
        let lost = "select lost::bigint from task_run where run = $1 and idx = 0";
        format!("{} {}", scene.count(lost, run.0).await, scene.settle(run).await)
    };
    scene.everywhere(before, act, end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_asked_for_is_made_once_wherever_that_breaks_off() {
    let scene = Scene::with(diamond()).await;
    let before = async || {
        let (run, claims) = scene.claimed().await;
        assert!(scene.bench.report(&claims[0], Outcome::Succeeded).await);
        let fails = Outcome::Failed {
            reason: Reason::Error,
            again: false,
        };
        for claim in scene.bench.claim(9).await {
            assert!(scene.bench.report(&claim, fails).await);
        }
        let again = Again {
            run,
            from: None,
            params: Map::new(),
        };
        (run, scene.order(What::Retry(again), &run.to_string()))
    };
    let act: Act<(RunId, Order)> =
        |store, (_, order)| Box::pin(async move { store.place(order, clock::now()).await.map(drop) });
    let end = async |(of, order): (RunId, Order)| {
        let run = scene.place_again(&order).await;
        let one = "select count(*) from run where retry_of = $1";
        format!("{} {}", scene.count(one, of.0).await, scene.settle(run).await)
    };
    scene.everywhere(before, act, end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_breaks_off_anywhere_is_made_once() {
    let scene = Scene::with(vec![gated("t"), task("after", &[0], 1)]).await;
    add(&scene.bench, "anna", &[Role::Approver]).await;
    let before = async || {
        let (run, claims) = scene.claimed().await;
        let (id, reached): (Uuid, Reached) = asking(run, &ApprovalSpec::default());
        let asked = Report {
            gate: Some(Box::new(reached)),
            ..report(&claims[0], Outcome::Asked)
        };
        scene
            .bench
            .store
            .advance(vec![asked], None, scene.bench.now)
            .await
            .unwrap();
        let digest = scene.bench.store.approval(id).await.unwrap().unwrap().digest;
        (run, id, digest)
    };
    type Asked = (RunId, Uuid, String);
    let act: Act<Asked> = |store, (_, id, digest)| {
        Box::pin(async move {
            let ruling = store
                .vote(&approver("anna"), (id, yes(&digest)), clock::now())
                .await?;
            assert_eq!(ruling, Ruling::Counted);
            Ok(())
        })
    };
    let end = async |asked: Asked| {
        act(scene.bench.store.clone(), asked.clone()).await.unwrap();
        let once = "select count(*) from ledger where kind = 'approval_decided' and run = $1";
        format!(
            "{} {}",
            scene.count(once, asked.0.0).await,
            scene.settle(asked.0).await
        )
    };
    scene.everywhere(before, act, end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_that_breaks_off_anywhere_holds() {
    let scene = Scene::with(vec![task("a", &[], 2), task("b", &[0], 1), task("c", &[], 1)]).await;
    let before = async || {
        let run = scene.bench.run().await;
        (run, scene.bench.claim(1).await.remove(0))
    };
    let act: Act<(RunId, Claim)> = |store, (run, _)| {
        Box::pin(async move {
            store
                .cancel_run(run, Reason::Requested, clock::now())
                .await
                .map(drop)
        })
    };
    let end = async |(run, claim): (RunId, Claim)| {
        act(scene.bench.store.clone(), (run, claim.clone()))
            .await
            .unwrap();
        scene.bench.report(&claim, Outcome::Stopped).await;
        let once = "select count(*) from event where run = $1 and kind = 'run_cancelling'";
        format!("{} {}", scene.count(once, run.0).await, scene.settle(run).await)
    };
    scene.everywhere(before, act, end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_breaks_off_anywhere_moves_the_alias_once() {
    let scene = Scene::with(vec![task("train", &[], 1), task("promote", &[0], 1)]).await;
    let before = async || {
        let (run, claims) = scene.claimed().await;
        let store = &scene.bench.store;
        let wanted = AliasMove {
            model: "m".to_owned(),
            alias: "production".to_owned(),
            from: store
                .model_at("m", "production")
                .await
                .unwrap()
                .map(|model| model.version),
            to: store
                .register_version(claims[0].holder(), model(), scene.bench.now)
                .await
                .unwrap()
                .version,
        };
        assert!(scene.bench.report(&claims[0], Outcome::Succeeded).await);
        (run, scene.bench.claim(1).await.remove(0).holder(), wanted)
    };
    type Move = (RunId, Holder, AliasMove);
    let act: Act<Move> = |store, (_, holder, wanted)| {
        Box::pin(async move {
            let ticket = store.begin_move(holder, wanted).await?;
            store
                .finish_move(holder, ticket.wanted, clock::now())
                .await
                .map(drop)
        })
    };
    let end = async |(run, _, wanted): Move| {
        // Its worker is gone: the next attempt does it all again.
        scene.bench.expire_leases().await;
        scene.bench.store.reap(scene.bench.now).await.unwrap();
        let heir = scene.bench.claim(1).await.remove(0);
        act(scene.bench.store.clone(), (run, heir.holder(), wanted.clone()))
            .await
            .unwrap();
        assert!(scene.bench.report(&heir, Outcome::Succeeded).await);
        let at = scene
            .bench
            .store
            .model_at("m", "production")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(at.version, wanted.to);
        let moves = scene
            .count("select count(*) from alias_move where run = $1", run.0)
            .await;
        let told = scene
            .count(
                "select count(*) from ledger where kind = 'alias_moved' and run = $1",
                run.0,
            )
            .await;
        format!("{moves} {told} {}", scene.settle(run).await)
    };
    scene.everywhere(before, act, end).await;
}

/// All that a worker does for a claim before it reports.
async fn act_out(bench: &Bench, claim: &Claim) {
    let store = &bench.store;
    match claim.task().name.as_str() {
        "train" => drop(
            store
                .register_version(claim.holder(), model(), bench.now)
                .await
                .unwrap(),
        ),
        "promote" => {
            let wanted = AliasMove {
                model: "m".to_owned(),
                alias: "production".to_owned(),
                from: None,
                to: 1,
            };
            let ticket = store.begin_move(claim.holder(), wanted).await.unwrap();
            store
                .finish_move(claim.holder(), ticket.wanted, bench.now)
                .await
                .unwrap();
        }
        _ => {}
    }
}

/// What a run comes to in which every task does its work once, or twice: its worker dies before the report, and reports all the same.
async fn worked(twice: bool) -> String {
    let tasks = vec![
        task("train", &[], 1),
        task("check", &[0], 1),
        task("promote", &[1], 1),
        task("tell", &[0, 2], 1),
    ];
    let scene = Scene::with(tasks).await;
    let bench = &scene.bench;
    let run = bench.run().await;
    let mut executed = 0;
    while !bench.state(run).await.is_terminal() {
        let mut claim = bench.claim(1).await.remove(0);
        act_out(bench, &claim).await;
        executed += 1;
        if twice {
            bench.expire_leases().await;
            assert_eq!(bench.store.reap(bench.now).await.unwrap(), 1);
            let zombie = std::mem::replace(&mut claim, bench.claim(1).await.remove(0));
            act_out(bench, &claim).await;
            assert!(!bench.report(&zombie, Outcome::Succeeded).await);
            executed += 1;
        }
        assert!(bench.report(&claim, Outcome::Succeeded).await);
        assert!(
            !bench.report(&claim, Outcome::Succeeded).await,
            "a report counts once"
        );
    }
    bench.audit().await;
    let effects: (i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from model_version), (select count(*) from alias_move), (select count(*) from ledger)",
    )
    .fetch_one(bench.store.pool())
    .await
    .unwrap();
    println!("executed {executed} times");
    format!("{} {effects:?}", scene.standing(run).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_every_task_is_executed_twice_comes_to_the_same_end() {
    assert_eq!(worked(true).await, worked(false).await);
}

fn model() -> NewModel {
    NewModel {
        model: "m".to_owned(),
        version: None,
        source: "s3://bucket/model".to_owned(),
        sha256: None,
        external_run: None,
        facts: json!({}),
    }
}
