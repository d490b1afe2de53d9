//! Queues, priorities and pools against a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::time::Duration;

use jiff::Timestamp;

use crate::clock;
use crate::graph::{EVERY_QUEUE, Placement, Task};
use crate::id::TaskIdx;
use crate::plan::Outcome;
use crate::state::Reason;
use crate::store::claim::{Claim, Claimer, Crowded};
use crate::store::tests::{Bench, report, task};
use crate::store::{Store, StoreError};

fn placed(name: &str, needs: &[TaskIdx], place: (&str, i32, Option<&str>)) -> Task {
    Task {
        placement: Placement {
            queue: place.0.to_owned(),
            priority: place.1,
            pool: place.2.map(str::to_owned),
        },
        ..task(name, needs, 2)
    }
}

fn pooled(name: &str, priority: i32) -> Task {
    placed(name, &[], ("default", priority, Some("p")))
}

fn plain(name: &str, priority: i32) -> Task {
    placed(name, &[], ("default", priority, None))
}

impl Bench {
    /// A database with a pool `p`.
    async fn pooled(size: u32, tasks: Vec<Task>) -> Self {
        // A version is known here by the number of its tasks.
        let bench = Self::with((0..13).map(|i| task(&format!("seed{i}"), &[], 1)).collect()).await;
        assert!(bench.store.set_pool("p", size, ("ada", bench.now)).await.unwrap());
        bench.apply(tasks).await;
        bench
    }

    async fn names(&self, slots: usize) -> Vec<String> {
        let mut claims = self.claim(slots).await;
        claims.sort_by_key(|claim| claim.idx);
        claims.iter().map(|claim| claim.task().name.to_string()).collect()
    }

    fn after(&self, seconds: u64) -> Timestamp {
        self.now.checked_add(Duration::from_secs(seconds)).unwrap()
    }

    async fn held(&self) -> i64 {
        sqlx::query_scalar("select count(*) from slot where run is not null")
            .fetch_one(self.store.pool())
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn the_most_urgent_goes_first() {
    let tasks = vec![
        plain("usual", 0),
        plain("urgent", 5),
        plain("late", -5),
        plain("usual2", 0),
    ];
    let bench = Bench::with(tasks).await;
    bench.run().await;
    let mut order = Vec::new();
    for _ in 0..4 {
        order.extend(bench.names(1).await);
    }
    assert_eq!(order, ["urgent", "usual", "usual2", "late"]);
    bench.audit().await;
}

#[tokio::test]
async fn a_point_is_worth_a_minute_of_waiting() {
    for (minutes, first) in [(2, "urgent"), (4, "patient")] {
        let urgent = placed("urgent", &[1], ("default", 3, None));
        let mut bench = Bench::with(vec![plain("patient", 0), plain("opens", 50), urgent]).await;
        bench.run().await;
        let opens = bench.claim(1).await.remove(0);
        bench.now = bench.after(minutes * 60);
        assert!(bench.report(&opens, Outcome::Succeeded).await);
        assert_eq!(bench.names(1).await, [first], "after {minutes} minutes");
    }
}

#[tokio::test]
async fn a_worker_takes_what_is_in_its_queues_only() {
    let gpu = |name: &str| placed(name, &[], ("gpu", 0, None));
    let bench = Bench::with(vec![plain("a", 0), gpu("b"), gpu("c")]).await;
    bench.run().await;
    assert_eq!(bench.names(9).await, ["a"]);
    let of = |queues: &[&str]| Claimer {
        queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
        ..bench.claimer(1)
    };
    assert!(
        bench
            .store
            .claim(of(&["cpu"]), bench.now)
            .await
            .unwrap()
            .is_empty()
    );
    let both = bench
        .store
        .claim(of(&["cpu", "gpu", "gpu"]), bench.now)
        .await
        .unwrap();
    assert_eq!(both.len(), 1);
    assert_eq!(
        bench
            .store
            .claim(of(&[EVERY_QUEUE]), bench.now)
            .await
            .unwrap()
            .len(),
        1
    );
    bench.audit().await;
}

#[tokio::test]
async fn a_chain_gives_way_to_what_is_more_urgent_when_slots_are_short() {
    let chain = placed("next", &[0], ("default", 0, None));
    let bench = Bench::with(vec![plain("first", 9), chain, plain("urgent", 2)]).await;
    bench.run().await;
    let first = bench.claim(1).await.remove(0);
    let claimer = Claimer {
        crowded: Crowded {
            slots: true,
            light: true,
            cut_short: false,
        },
        ..bench.claimer(1)
    };
    let reports = vec![report(&first, Outcome::Succeeded)];
    let done = bench
        .store
        .advance(reports, Some(claimer), bench.now)
        .await
        .unwrap();
    assert_eq!((done.handed.len(), done.readied), (0, true));
    assert_eq!(bench.names(1).await, ["urgent"]);
    bench.audit().await;
}

#[tokio::test]
async fn a_full_pool_stops_nobody_else_and_serves_who_waits_longest() {
    let tasks = vec![
        pooled("a", 50),
        pooled("b", 50),
        pooled("c", 50),
        plain("d", 0),
        plain("e", 0),
    ];
    let bench = Bench::pooled(1, tasks).await;
    let id = bench.run().await;
    let mut claims = bench.claim(2).await;
    claims.sort_by_key(|claim| claim.idx);
    assert_eq!(
        claims.iter().map(|c| c.idx).collect::<Vec<_>>(),
        [0, 3],
        "a holds the slot, d goes beside it"
    );
    assert_eq!(bench.names(9).await, ["e"]);
    assert!(bench.claim(9).await.is_empty());
    bench.audit().await;
    assert!(bench.report(&claims[0], Outcome::Succeeded).await);
    let b = bench.claim(9).await.remove(0);
    assert_eq!(b.task().name.as_str(), "b");
    bench
        .store
        .cancel_run(id, Reason::Requested, bench.now)
        .await
        .unwrap();
    assert_eq!(bench.held().await, 1, "what runs holds its slot until it ended");
    assert!(bench.report(&b, Outcome::Stopped).await);
    assert_eq!(bench.held().await, 0);
    bench.audit().await;
}

#[tokio::test]
async fn a_slot_is_free_whichever_way_its_attempt_ends() {
    let mut bench = Bench::pooled(1, vec![pooled("a", 0)]).await;
    bench.run().await;
    let lost = bench.claim(1).await.remove(0);
    bench.audit().await;
    // It died before it began anything.
    bench.expire_leases().await;
    bench.store.reap(bench.now).await.unwrap();
    assert_eq!(bench.held().await, 0);
    let failing = bench.claim(1).await.remove(0);
    assert_eq!(bench.held().await, 1);
    assert!(
        !bench.report(&lost, Outcome::Succeeded).await,
        "the lost one gives nothing away"
    );
    assert_eq!(bench.held().await, 1);
    let failed = Outcome::Failed {
        reason: Reason::Error,
        again: true,
    };
    assert!(bench.report(&failing, failed).await);
    assert_eq!(bench.held().await, 0, "who waits for a retry holds nothing");
    bench.now = bench.after(3_600);
    let released = bench.claim(1).await.remove(0);
    assert!(bench.report(&released, Outcome::Released).await);
    let last = bench.claim(1).await.remove(0);
    assert!(bench.report(&last, Outcome::Succeeded).await);
    assert_eq!(bench.held().await, 0);
    bench.audit().await;
}

#[tokio::test]
async fn twenty_claimers_never_hold_more_than_there_are_slots() {
    let bench = Bench::pooled(3, (0..40).map(|i| pooled(&format!("t{i}"), i % 3)).collect()).await;
    bench.run().await;
    let mut done = 0;
    for _ in 0..200 {
        let taken = futures::future::join_all((0..20).map(|_| bench.claim(2))).await;
        let taken: Vec<Claim> = taken.into_iter().flatten().collect();
        assert!(taken.len() <= 3, "{} at once", taken.len());
        bench.audit().await;
        let reports: Vec<_> = taken
            .iter()
            .map(|claim| report(claim, Outcome::Succeeded))
            .collect();
        bench.store.advance(reports, None, bench.now).await.unwrap();
        done += taken.len();
        if done == 40 {
            break;
        }
    }
    assert_eq!(done, 40);
    bench.audit().await;
}

#[tokio::test]
async fn no_plan_of_postgres_claims_more_than_was_asked_for() {
    let tasks = (0..60).map(|i| {
        if i % 2 == 0 {
            plain(&format!("t{i}"), 0)
        } else {
            pooled(&format!("t{i}"), 0)
        }
    });
    let bench = Bench::pooled(20, tasks.collect()).await;
    bench.run().await;
    let (url, name): (String, String) = {
        let name = sqlx::query_scalar("select current_database()").fetch_one(bench.store.pool());
        (bench.url().to_owned(), name.await.unwrap())
    };
    for off in ["hashjoin", "mergejoin", "material", "hashagg", "sort"] {
        let sql = format!("alter database \"{name}\" set enable_{off} = off");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(bench.store.pool())
            .await
            .unwrap();
    }
    let store = Store::connect(&url, 4).await.unwrap();
    let mut total = 0;
    for slots in [1, 2, 5, 7, 11] {
        let claims = store.claim(bench.claimer(slots), bench.now).await.unwrap();
        assert_eq!(claims.len(), slots);
        total += slots;
    }
    assert_eq!(total, 26);
    bench.audit().await;
}

#[tokio::test]
async fn a_pool_is_resized_at_once_and_takes_nothing_away() {
    let bench = Bench::pooled(2, (0..5).map(|i| pooled(&format!("t{i}"), 0)).collect()).await;
    bench.run().await;
    let held = bench.claim(9).await;
    assert_eq!(held.len(), 2);
    assert!(bench.store.set_pool("p", 1, ("ada", bench.now)).await.unwrap());
    assert!(!bench.store.set_pool("p", 1, ("ada", bench.now)).await.unwrap());
    assert!(bench.report(&held[0], Outcome::Succeeded).await);
    assert!(
        bench.claim(9).await.is_empty(),
        "the other still holds the one slot there is"
    );
    assert!(bench.store.set_pool("p", 3, ("ada", bench.now)).await.unwrap());
    bench.claim(9).await;
    assert_eq!(bench.held().await, 3);
    let refused = bench.store.remove_pool("p", ("ada", bench.now)).await;
    assert!(matches!(refused, Err(StoreError::Refused { why }) if why.contains('f')));
    assert!(!bench.store.remove_pool("q", ("ada", bench.now)).await.unwrap());
    bench.audit().await;
}

#[tokio::test]
async fn a_flow_that_names_no_pool_there_is_is_told_how_to_make_it() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let refused = bench.try_apply(vec![pooled("a", 0), pooled("b", 0)]).await;
    let Err(StoreError::Refused { why }) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        why.contains("`p`") && why.contains("tidegate pool set p 1"),
        "{why}"
    );
}

#[tokio::test]
async fn who_waits_is_told_for_what() {
    let gpu = placed("gpu", &[], ("gpu", 0, None));
    let after = placed("after", &[0, 1], ("default", 0, None));
    let bench = Bench::pooled(1, vec![pooled("a", 1), pooled("b", 0), gpu, after]).await;
    let id = bench.run().await;
    let queued = bench.run().await;
    assert_eq!(bench.waits(id).await[0].0, "queue", "no worker at all");
    bench.enroll(&["default"]).await;
    bench.claim(1).await;
    let waits = bench.waits(id).await;
    let words: Vec<&str> = waits.iter().map(|wait| wait.0.as_str()).collect();
    assert_eq!(words, ["attempt", "pool", "queue", "needs"]);
    assert!(
        waits[1].1.contains("a of f") && waits[1].1.contains("it is the next"),
        "{}",
        waits[1].1
    );
    assert!(
        waits[2]
            .1
            .contains("queue `gpu`; those that are alive serve default"),
        "{}",
        waits[2].1
    );
    assert!(waits[3].1.contains("a (running), b (ready)"), "{}", waits[3].1);
    let run = bench.store.run(queued, clock::now()).await.unwrap().unwrap();
    let why = bench.store.why(&run).await.unwrap();
    assert!(why.sentence.unwrap().contains("max_active"));
    assert!(why.tasks.iter().all(|wait| wait.waits_for == "start"));
}

impl Bench {
    async fn waits(&self, id: crate::id::RunId) -> Vec<(String, String)> {
        let run = self.store.run(id, clock::now()).await.unwrap().unwrap();
        let why = self.store.why(&run).await.unwrap();
        why.tasks
            .into_iter()
            .map(|wait| (wait.waits_for, wait.sentence))
            .collect()
    }

    async fn enroll(&self, queues: &[&str]) {
        let worker = crate::store::workers::NewWorker {
            id: uuid::Uuid::nil(),
            name: "w".to_owned(),
            queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
            slots: 4,
        };
        self.store.enroll_worker(&worker).await.unwrap();
    }
}

fn person(name: &str, role: crate::command::Role) -> crate::command::Actor {
    crate::command::Actor::person(name, [role])
}

#[tokio::test]
async fn an_emergency_waits_for_a_second_person_and_then_goes_before_everything_else() {
    use crate::command::{self, CommandError, Request, Role};
    let bench = Bench::pooled(1, vec![pooled("a", 100), pooled("b", 0)]).await;
    for name in ["anna", "ben"] {
        let new = crate::store::people::NewPerson {
            name: name.to_owned(),
            password: None,
            roles: vec![Role::Approver, Role::Operator],
            os_user: None,
        };
        bench.store.enroll(new, None, bench.now).await.unwrap();
    }
    let anna = crate::command::Actor::person("anna", [Role::Approver, Role::Operator]);
    let usual = bench.run().await;
    let held = bench.claim(1).await.remove(0);
    assert_eq!((held.run, held.idx), (usual, 0));
    let request = Request {
        emergency: Some("prices are wrong".to_owned()),
        ..Request::default()
    };
    let made = command::trigger(&bench.store, &anna, ("f", request, "manual", None), bench.now)
        .await
        .unwrap();
    let urgent = crate::id::RunId(made.run.summary.id);
    bench.store.admit_queued(bench.now).await.unwrap();
    let why = bench.store.why(&made.run).await.unwrap();
    assert!(why.sentence.unwrap().contains("a second person, not anna"));
    let own = command::confirm(&bench.store, &anna, urgent, bench.now).await;
    assert!(matches!(own, Err(CommandError::Forbidden { why }) if why.contains("somebody else")));
    let nobody = command::confirm(&bench.store, &person("otto", Role::Approver), urgent, bench.now).await;
    assert!(matches!(nobody, Err(CommandError::Forbidden { .. })));
    let decline = |actor: crate::command::Actor| {
        let asked = (urgent, command::Decline::default());
        let store = bench.store.clone();
        async move { command::decline(&store, &actor, asked, bench.now).await }
    };
    for (who, role) in [("vera", Role::Viewer), ("otto", Role::Approver)] {
        let no = decline(person(who, role)).await;
        assert!(matches!(no, Err(CommandError::Forbidden { .. })), "{who}");
    }
    let ben = person("ben", Role::Approver);
    let going = command::confirm(&bench.store, &ben, urgent, bench.now)
        .await
        .unwrap();
    assert_eq!(going.summary.state, "running", "whatever max_active says");
    command::confirm(&bench.store, &ben, urgent, bench.now)
        .await
        .unwrap();
    assert!(
        bench.claim(9).await.is_empty(),
        "nothing that runs is stopped for it"
    );
    assert!(bench.report(&held, Outcome::Succeeded).await);
    let next = bench.claim(1).await.remove(0);
    assert_eq!(next.run, urgent, "it is before b, which waited longer");
    let kinds: Vec<String> = sqlx::query_scalar("select kind from ledger where run = $1 order by seq")
        .bind(urgent.0)
        .fetch_all(bench.store.pool())
        .await
        .unwrap();
    assert_eq!(kinds, ["emergency_declared", "emergency_confirmed"]);
    bench.audit().await;
}
