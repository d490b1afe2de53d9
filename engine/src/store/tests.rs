//! The store against a real PostgreSQL: claims, fences, cascades, cancellation, and the auditor after each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod bells;
mod crashes;
mod maps;
mod notices;
mod parking;
mod races;
mod secrets;
mod trouble;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tidegate_test_fixtures::postgres::{self, Database};
use uuid::Uuid;

use super::advance::Report;
use super::claim::{Claim, Claimer};
use super::flows::{Applied, NewVersion};
use super::migrate::Standing;
use super::runs::{Created, NewRun, state_of};
use super::surroundings::Known;
use super::{Store, leases};
use crate::clock;
use crate::graph::{Flow, Graph, Overlap, Task};
use crate::id::{FlowName, RunId, TaskIdx, TaskName, VersionHash};
use crate::plan::Outcome;
use crate::retry::RetryPolicy;
use crate::state::Reason;
use crate::state::run::RunState;

pub(crate) struct Bench {
    pub store: Store,
    pub now: Timestamp,
    _database: Option<Database>,
}

pub(crate) fn task(name: &str, needs: &[TaskIdx], attempts: u32) -> Task {
    Task {
        name: TaskName::new(name).unwrap(),
        uses: "noop".to_owned(),
        description: None,
        with: json!({}),
        needs: needs.to_vec(),
        when: None,
        for_each: None,
        max_parallel: None,
        run_if: crate::graph::RunIf::default(),
        continue_on_failure: false,
        retry: RetryPolicy {
            attempts,
            ..RetryPolicy::default()
        },
        timeout: None,
        gate: None,
        env: BTreeMap::new(),
        on_worker_lost: crate::graph::OnWorkerLost::Retry,
        placement: crate::graph::Placement::default(),
        cache: None,
        isolation: crate::plugin::Isolation::Inline,
        files: Vec::new(),
    }
}

pub(crate) fn flow(tasks: Vec<Task>) -> Flow {
    Flow {
        name: FlowName::new("f").unwrap(),
        description: None,
        owner: None,
        tags: Vec::new(),
        timeout: None,
        expected: None,
        overlap: Overlap::Skip,
        max_active: 1,
        notify: Vec::new(),
        schedules: Vec::new(),
        triggers: Vec::new(),
        webhook: None,
        params: indexmap::IndexMap::new(),
        vars: BTreeMap::new(),
        files: BTreeMap::new(),
        graph: Graph::new(tasks).unwrap(),
    }
}

impl Bench {
    pub async fn with(tasks: Vec<Task>) -> Self {
        let database = postgres::database().await;
        let mut bench = Self::at(&database.url, tasks).await;
        bench._database = Some(database);
        bench
    }

    /// On a server of the test's own.
    pub async fn at(url: &str, tasks: Vec<Task>) -> Self {
        let store = Store::connect(url, 8).await.unwrap();
        store.migrate().await.unwrap();
        let bench = Self {
            store,
            now: clock::now(),
            _database: None,
        };
        assert_eq!(bench.apply(tasks).await, Applied::Created);
        bench
    }

    pub async fn apply(&self, tasks: Vec<Task>) -> Applied {
        self.try_apply(tasks).await.unwrap()
    }

    pub async fn try_apply(&self, tasks: Vec<Task>) -> super::Result<Applied> {
        let flow = flow(tasks);
        let hash = VersionHash(format!("{:064x}", flow.graph.tasks().len()));
        let version = NewVersion {
            flow,
            hash,
            path: "f.toml".to_owned(),
            source: String::new(),
            actor: "test".to_owned(),
        };
        self.store.apply_version(version, self.now).await
    }

    /// Of its own database.
    pub fn url(&self) -> &str {
        self._database.as_ref().map_or("", |database| &database.url)
    }

    pub fn new_run(&self) -> NewRun {
        NewRun {
            id: clock::new_run_id(),
            flow: "f".to_owned(),
            version: None,
            trigger: "manual".to_owned(),
            requester: "test".to_owned(),
            tick: None,
            params: BTreeMap::new(),
        }
    }

    pub async fn run(&self) -> RunId {
        let new = self.new_run();
        let id = new.id;
        self.store.create_run(new, self.now).await.unwrap();
        id
    }

    pub async fn claim(&self, slots: usize) -> Vec<Claim> {
        self.store.claim(self.claimer(slots), self.now).await.unwrap()
    }

    pub fn claimer(&self, slots: usize) -> Claimer {
        Claimer {
            worker: Uuid::nil(),
            queues: vec!["default".to_owned()],
            slots,
            crowded: crate::store::claim::Crowded::default(),
            light: slots,
        }
    }

    pub async fn report(&self, claim: &Claim, outcome: Outcome) -> bool {
        let done = self
            .store
            .advance(vec![report(claim, outcome)], None, self.now)
            .await
            .unwrap();
        done.accepted == [true]
    }

    pub async fn expire_leases(&self) {
        sqlx::query("update lease set until = clock_timestamp() - interval '1 second'")
            .execute(self.store.pool())
            .await
            .unwrap();
    }

    pub async fn state(&self, id: RunId) -> RunState {
        state_of(&self.store, id).await.unwrap()
    }

    pub async fn task_states(&self, id: RunId) -> Vec<String> {
        sqlx::query_scalar(
            "select state || coalesce(' ' || reason, '') from task_run where run = $1 order by idx",
        )
        .bind(id.0)
        .fetch_all(self.store.pool())
        .await
        .unwrap()
    }

    pub async fn audit(&self) {
        assert_eq!(self.store.audit().await.unwrap(), []);
    }
}

pub(crate) fn report(claim: &Claim, outcome: Outcome) -> Report {
    Report {
        run: claim.run,
        idx: claim.idx,
        epoch: claim.epoch,
        outcome,
        outputs: (outcome == Outcome::Succeeded).then(|| json!({ "by": claim.idx })),
        message: None,
        items: None,
        gate: None,
        cached: None,
    }
}

const FAILS: Outcome = Outcome::Failed {
    reason: Reason::Error,
    again: true,
};

#[tokio::test]
async fn a_chain_is_handed_over_task_by_task_and_succeeds() {
    let bench = Bench::with(vec![task("a", &[], 1), task("b", &[0], 1), task("c", &[1], 1)]).await;
    let id = bench.run().await;
    let mut held = bench.claim(4).await;
    assert_eq!(held.len(), 1, "only the root may run");
    for _ in 0..3 {
        let reports: Vec<_> = held.iter().map(|c| report(c, Outcome::Succeeded)).collect();
        let done = bench
            .store
            .advance(reports, Some(bench.claimer(1)), bench.now)
            .await
            .unwrap();
        held = done.handed;
    }
    assert_eq!(bench.state(id).await, RunState::Succeeded);
    bench.audit().await;
}

#[tokio::test]
async fn an_attempt_sees_the_outputs_of_what_it_refers_to() {
    let refers = Task {
        with: json!({ "by": "{{ tasks.a.by }}" }),
        ..task("b", &[0], 1)
    };
    let bench = Bench::with(vec![task("a", &[], 1), refers, task("c", &[0], 1)]).await;
    bench.run().await;
    let first = bench.claim(1).await.remove(0);
    assert!(bench.report(&first, Outcome::Succeeded).await);
    let rest = bench.claim(2).await;
    let around = bench
        .store
        .surroundings_of(&rest, Known::default())
        .await
        .unwrap();
    let outputs = |claim: &Claim| around[&claim.holder()].outputs.clone();
    assert_eq!(outputs(&rest[0]).get("a"), Some(&json!({ "by": 0 })));
    assert!(outputs(&rest[1]).is_empty(), "`c` only waits for it");
    bench.audit().await;
}

#[tokio::test]
async fn a_lost_lease_means_a_new_epoch_and_a_deaf_ear_for_the_old_one() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let id = bench.run().await;
    let zombie = bench.claim(1).await.remove(0);
    bench.expire_leases().await;
    assert_eq!(bench.store.reap(bench.now).await.unwrap(), 1);
    assert_eq!(
        bench.store.reap(bench.now).await.unwrap(),
        0,
        "one loss is counted once"
    );
    let heir = bench.claim(1).await.remove(0);
    assert!(heir.epoch > zombie.epoch);
    assert!(
        !bench.report(&zombie, Outcome::Succeeded).await,
        "the zombie is not heard"
    );
    assert!(
        bench.report(&heir, Outcome::Succeeded).await,
        "a lost worker costs no user attempt"
    );
    assert!(!bench.report(&heir, FAILS).await, "a result is for ever");
    assert_eq!(bench.state(id).await, RunState::Succeeded);
    bench.audit().await;
}

/// A report that waits for the run's lock finds what was committed meanwhile, though its statement began before.
#[tokio::test(flavor = "multi_thread")]
async fn who_waited_for_a_run_sees_its_task_runs_as_they_are_now() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    bench.run().await;
    let claim = bench.claim(1).await.remove(0);
    let mut other = bench.store.pool().begin().await.unwrap();
    sqlx::raw_sql(
        "select from run for no key update; update task_run set epoch = epoch + 1; update run set next_seq = next_seq + 1",
    )
    .execute(&mut *other)
    .await
    .unwrap();
    let store = bench.store.clone();
    let (late, now) = (report(&claim, Outcome::Succeeded), bench.now);
    let reporting = tokio::spawn(async move { store.advance(vec![late], None, now).await.unwrap() });
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waits)
        .fetch_one(bench.store.pool())
        .await
        .unwrap()
        == 0
    {
        clock::sleep(Duration::from_millis(5)).await;
    }
    other.commit().await.unwrap();
    assert_eq!(reporting.await.unwrap().accepted, [false]);
}

#[tokio::test]
async fn the_fourth_lost_worker_fails_the_task() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let id = bench.run().await;
    for _ in 0..4 {
        assert_eq!(bench.claim(1).await.len(), 1);
        bench.expire_leases().await;
        bench.store.reap(bench.now).await.unwrap();
    }
    assert_eq!(bench.task_states(id).await, ["failed worker_lost"]);
    assert_eq!(bench.state(id).await, RunState::Failed);
    bench.audit().await;
}

#[tokio::test]
async fn a_failed_need_skips_what_stands_on_it_however_deep() {
    let tasks = vec![
        task("a", &[], 1),
        task("b", &[0], 1),
        task("c", &[1], 1),
        task("d", &[], 1),
    ];
    let bench = Bench::with(tasks).await;
    let id = bench.run().await;
    for claim in bench.claim(4).await {
        let outcome = if claim.idx == 0 { FAILS } else { Outcome::Succeeded };
        assert!(bench.report(&claim, outcome).await);
    }
    let expected = [
        "failed error",
        "skipped needs_failed",
        "skipped needs_failed",
        "succeeded",
    ];
    assert_eq!(bench.task_states(id).await, expected);
    assert_eq!(bench.state(id).await, RunState::Failed);
    bench.audit().await;
}

#[tokio::test]
async fn a_retry_is_due_after_its_pause_and_not_before() {
    let mut bench = Bench::with(vec![task("a", &[], 2)]).await;
    let id = bench.run().await;
    let first = bench.claim(1).await.remove(0);
    assert!(bench.report(&first, FAILS).await);
    assert_eq!(bench.task_states(id).await, ["backoff"]);
    assert!(bench.claim(1).await.is_empty(), "the pause is not over");
    bench.now = bench.now.checked_add(Duration::from_secs(60)).unwrap();
    let second = bench.claim(1).await.remove(0);
    assert_eq!(second.attempt, 2);
    assert!(bench.report(&second, FAILS).await);
    assert_eq!(bench.state(id).await, RunState::Failed);
    bench.audit().await;
}

#[tokio::test]
async fn a_cancelled_run_ends_when_its_last_attempt_does() {
    let bench = Bench::with(vec![task("a", &[], 3), task("b", &[0], 1), task("c", &[], 1)]).await;
    let id = bench.run().await;
    let running = bench.claim(1).await.remove(0);
    assert!(
        bench
            .store
            .cancel_run(id, Reason::Requested, bench.now)
            .await
            .unwrap()
    );
    assert_eq!(bench.state(id).await, RunState::Cancelling);
    assert!(bench.claim(4).await.is_empty(), "nothing new starts");
    assert!(bench.report(&running, FAILS).await);
    assert_eq!(bench.state(id).await, RunState::Cancelled);
    assert!(
        !bench
            .store
            .cancel_run(id, Reason::Requested, bench.now)
            .await
            .unwrap()
    );
    bench.audit().await;
}

#[tokio::test]
async fn a_second_run_queues_and_starts_when_the_first_is_over() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let first = bench.run().await;
    let second = bench.new_run();
    let id = second.id;
    assert_eq!(
        bench.store.create_run(second.clone(), bench.now).await.unwrap(),
        Created::Queued
    );
    assert_eq!(
        bench.store.create_run(second, bench.now).await.unwrap(),
        Created::Existed
    );
    assert_eq!(bench.store.admit_queued(bench.now).await.unwrap(), 0);
    let claim = bench.claim(9).await.remove(0);
    assert_eq!(claim.run, first);
    assert!(bench.report(&claim, Outcome::Succeeded).await);
    assert_eq!(bench.store.admit_queued(bench.now).await.unwrap(), 1);
    assert_eq!(bench.state(id).await, RunState::Running);
    bench.audit().await;
}

#[tokio::test]
async fn two_schedulers_make_one_run_of_a_tick() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let at = bench.now;
    let tick = |bench: &Bench| NewRun {
        tick: Some(("nightly".to_owned(), at)),
        ..bench.new_run()
    };
    let (one, two) = tokio::join!(
        bench.store.create_run(tick(&bench), bench.now),
        bench.store.create_run(tick(&bench), bench.now)
    );
    let made = [one.unwrap(), two.unwrap()];
    assert_eq!(
        made.iter().filter(|c| **c == Created::Existed).count(),
        1,
        "{made:?}"
    );
    bench.audit().await;
}

#[tokio::test]
async fn twenty_claimers_never_hold_the_same_task_run() {
    let bench = Bench::with((0..400).map(|i| task(&format!("t{i}"), &[], 1)).collect()).await;
    bench.run().await;
    let claims = (0..20).map(|_| bench.claim(20));
    let mut taken: Vec<TaskIdx> = futures::future::join_all(claims)
        .await
        .into_iter()
        .flatten()
        .map(|c| c.idx)
        .collect();
    while taken.len() < 400 {
        let more = bench.claim(50).await;
        assert!(!more.is_empty(), "{} of 400 could be claimed", taken.len());
        taken.extend(more.iter().map(|c| c.idx));
    }
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), 400);
    bench.audit().await;
}

/// A renewal that commits while a report waits for the row leaves no lease behind: nobody could claim beside it.
#[tokio::test]
async fn a_report_ends_a_lease_that_is_just_being_renewed() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    bench.run().await;
    let claim = bench.claim(1).await.remove(0);
    let mut renewing = bench.store.pool().begin().await.unwrap();
    let renew = "update lease set until = until + interval '1 second'";
    sqlx::query(renew).execute(&mut *renewing).await.unwrap();
    let reporting = async { bench.report(&claim, Outcome::Succeeded).await };
    let committing = async {
        let waits = "select exists (select from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock')";
        while !sqlx::query_scalar::<_, bool>(waits)
            .fetch_one(bench.store.pool())
            .await
            .unwrap()
        {
            clock::sleep(Duration::from_millis(5)).await;
        }
        renewing.commit().await.unwrap();
    };
    let (counted, ()) = tokio::join!(reporting, committing);
    assert!(counted);
    let left: i64 = sqlx::query_scalar("select count(*) from lease")
        .fetch_one(bench.store.pool())
        .await
        .unwrap();
    assert_eq!(left, 0);
    bench.audit().await;
}

#[tokio::test]
async fn a_renewal_tells_what_is_held_and_what_was_told_to_stop() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let id = bench.run().await;
    let claim = bench.claim(1).await.remove(0);
    let mut conn = bench.store.pool().acquire().await.unwrap();
    let held = leases::renew(&mut conn, Uuid::nil()).await.unwrap();
    assert_eq!(
        held.iter()
            .map(|h| (h.idx, h.epoch, h.cancelling))
            .collect::<Vec<_>>(),
        [(0, claim.epoch, false)]
    );
    bench
        .store
        .cancel_run(id, Reason::Requested, bench.now)
        .await
        .unwrap();
    assert!(leases::renew(&mut conn, Uuid::nil()).await.unwrap()[0].cancelling);
    bench.expire_leases().await;
    assert_eq!(
        leases::renew(&mut conn, Uuid::nil()).await.unwrap(),
        [],
        "what expired is not renewed"
    );
}

#[tokio::test]
async fn a_dropped_begin_never_swallows_the_next_write() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    for _ in 0..200 {
        let begun = tokio::time::timeout(Duration::from_micros(50), bench.store.pool().begin()).await;
        drop(begun);
    }
    bench.run().await;
    let stuck: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity where state like 'idle in transaction%' and datname = current_database()",
    )
    .fetch_one(bench.store.pool())
    .await
    .unwrap();
    assert_eq!(stuck, 0);
    let seen: i64 = sqlx::query_scalar("select count(*) from run")
        .fetch_one(bench.store.pool())
        .await
        .unwrap();
    assert_eq!(seen, 1);
}

#[tokio::test]
async fn text_that_postgres_refuses_is_stored_escaped() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let mut new = bench.new_run();
    new.params.insert("x".to_owned(), json!("a\u{0}b"));
    bench.store.create_run(new, bench.now).await.unwrap();
    let claim = bench.claim(1).await.remove(0);
    let around = bench.store.surroundings(&claim).await.unwrap();
    assert_eq!(around.facts.params.get("x"), Some(&json!("a\\u0000b")));
}

#[tokio::test]
async fn migrations_run_once_and_applying_again_changes_nothing() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    assert_eq!(bench.store.migrate().await.unwrap(), 0);
    assert_eq!(bench.store.standing().await.unwrap(), Standing::Current);
    assert_eq!(bench.apply(vec![task("a", &[], 1)]).await, Applied::Unchanged);
    assert_eq!(
        bench.apply(vec![task("a", &[], 1), task("b", &[], 1)]).await,
        Applied::Changed
    );
}

#[tokio::test]
async fn a_migration_that_came_in_below_a_newer_one_runs_and_an_unknown_one_is_refused() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    sqlx::raw_sql("drop table parking; delete from schema_migration where name = 'create_parking'")
        .execute(bench.store.pool())
        .await
        .unwrap();
    assert_eq!(bench.store.standing().await.unwrap(), Standing::Behind(1));
    assert_eq!(bench.store.migrate().await.unwrap(), 1);
    sqlx::query("insert into schema_migration values (9999, 'of_tomorrow', now())")
        .execute(bench.store.pool())
        .await
        .unwrap();
    assert_eq!(bench.store.standing().await.unwrap(), Standing::Ahead(9999));
    assert!(bench.store.migrate().await.is_err());
}
