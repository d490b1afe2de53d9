//! Schedulers on a real PostgreSQL: races, overlaps, downtime, pauses, edits, broken schedules, wake-ups.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod others;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::Connection;
use tidegate_test_fixtures::postgres::{self, Database};

use super::*;
use crate::graph::{Flow, Graph, Missed, Overlap, ScheduleSpec};
use crate::id::{FlowName, RunId, ScheduleName, VersionHash};
use crate::plan::Outcome;
use crate::state::Reason;
use crate::state::run::RunState;
use crate::store::claim::{Claim, Claimer};
use crate::store::flows::{Applied, NewVersion};
use crate::store::runs::{NewRun, state_of};
use crate::store::tests::{report, task};
use crate::store::ticks::Fired;

const HOUR: Duration = Duration::from_secs(3_600);

struct Site {
    store: Store,
    flow: Flow,
    url: String,
    _database: Option<Database>,
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn schedule(name: &str, cron: &str) -> ScheduleSpec {
    ScheduleSpec {
        name: ScheduleName::new(name).unwrap(),
        cron: cron.to_owned(),
        timezone: "UTC".to_owned(),
        dom_dow: None,
        missed: Missed::Latest,
        missed_window: 24 * HOUR,
        params: BTreeMap::new(),
    }
}

fn flow(name: &str, cron: &str) -> Flow {
    Flow {
        name: FlowName::new(name).unwrap(),
        description: None,
        owner: None,
        tags: Vec::new(),
        timeout: None,
        expected: None,
        overlap: Overlap::Skip,
        max_active: 1,
        notify: Vec::new(),
        schedules: vec![schedule("s", cron)],
        triggers: Vec::new(),
        webhook: None,
        params: indexmap::IndexMap::new(),
        vars: BTreeMap::new(),
        files: BTreeMap::new(),
        graph: Graph::new(vec![task("a", &[], 1), task("b", &[0], 1)]).unwrap(),
    }
}

impl Site {
    /// A flow `f` that is applied at `now`.
    async fn with(flow: Flow, now: &str) -> Self {
        let database = postgres::database().await;
        let mut site = Self::at(&database.url, flow, now).await;
        site._database = Some(database);
        site
    }

    /// The same on a server of the test's own.
    async fn at(url: &str, flow: Flow, now: &str) -> Self {
        let store = Store::connect(url, 8).await.unwrap();
        store.migrate().await.unwrap();
        let site = Self {
            store,
            flow,
            url: url.to_owned(),
            _database: None,
        };
        assert_eq!(site.apply(&site.flow, at(now)).await, Applied::Created);
        site
    }

    async fn apply(&self, flow: &Flow, now: Timestamp) -> Applied {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let version = NewVersion {
            flow: flow.clone(),
            hash: VersionHash(format!("{:064x}", NUMBER.fetch_add(1, Ordering::Relaxed))),
            path: "f.toml".to_owned(),
            source: String::new(),
            actor: "test".to_owned(),
        };
        self.store.apply_version(version, now).await.unwrap()
    }

    async fn fire(&self, now: &str) -> Fired {
        self.store
            .fire(("f".to_owned(), "s".to_owned()), at(now))
            .await
            .unwrap()
    }

    /// Ticks, as `14:05 run` and `14:10..14:20 3 overlap`.
    async fn ticks(&self) -> Vec<String> {
        sqlx::query_scalar(
            "select to_char(scheduled_for, 'HH24:MI')
                || case when count > 1 then '..' || to_char(last, 'HH24:MI') || ' ' || count else '' end
                || ' ' || coalesce(reason, 'run') from tick order by scheduled_for",
        )
        .fetch_all(self.store.pool())
        .await
        .unwrap()
    }

    /// States of all runs, oldest first.
    async fn states(&self) -> Vec<String> {
        sqlx::query_scalar("select state || coalesce(' ' || reason, '') from run order by id")
            .fetch_all(self.store.pool())
            .await
            .unwrap()
    }

    async fn claim(&self, now: Timestamp) -> Vec<Claim> {
        let claimer = Claimer {
            worker: uuid::Uuid::nil(),
            queues: vec!["default".to_owned()],
            slots: 9,
            crowded: crate::store::claim::Crowded::default(),
            light: 9,
        };
        self.store.claim(claimer, now).await.unwrap()
    }

    /// Lets everything that can move come to its end.
    async fn finish(&self, now: Timestamp) {
        loop {
            let claims = self.claim(now).await;
            if claims.is_empty() {
                return;
            }
            let reports: Vec<_> = claims
                .iter()
                .map(|claim| report(claim, Outcome::Succeeded))
                .collect();
            self.store.advance(reports, None, now).await.unwrap();
        }
    }

    async fn sql(&self, sql: &'static str) {
        sqlx::query(sql).execute(self.store.pool()).await.unwrap();
    }

    async fn run(&self, now: Timestamp) -> RunId {
        let new = NewRun {
            id: clock::new_run_id(),
            flow: "f".to_owned(),
            version: None,
            trigger: "manual".to_owned(),
            requester: "test".to_owned(),
            tick: None,
            params: BTreeMap::new(),
        };
        let id = new.id;
        self.store.create_run(new, now).await.unwrap();
        id
    }

    async fn audit(&self) {
        assert_eq!(self.store.audit().await.unwrap(), []);
    }
}

async fn until(what: &str, limit: Duration, mut done: impl AsyncFnMut() -> bool) -> Duration {
    let begun = clock::monotonic();
    while !done().await {
        assert!(begun.elapsed() < limit, "waited {limit:?} for {what}");
        clock::sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_schedulers_with_different_clocks_make_200_runs_of_200_ticks() {
    let allow = Flow {
        overlap: Overlap::Allow,
        ..flow("f", "* * * * *")
    };
    let site = Site::with(allow, "2026-06-01T00:00:00Z").await;
    let other = Store::connect(&site.url, 4).await.unwrap();
    let which = || ("f".to_owned(), "s".to_owned());
    let mut now = at("2026-06-01T00:00:00Z");
    for _ in 0..200 {
        now += Duration::from_secs(60);
        let skewed = now + Duration::from_secs(3);
        let (one, two) = tokio::join!(site.store.fire(which(), now), other.fire(which(), skewed));
        assert_eq!(one.unwrap().runs + two.unwrap().runs, 1);
    }
    assert_eq!((site.ticks().await.len(), site.states().await.len()), (200, 200));
    site.audit().await;
}

#[tokio::test]
async fn a_tick_that_has_its_run_only_moves_the_cursor() {
    let allow = Flow {
        overlap: Overlap::Allow,
        ..flow("f", "* * * * *")
    };
    let site = Site::with(allow, "2026-06-01T00:00:00Z").await;
    site.fire("2026-06-01T00:01:00Z").await;
    // As after a restored backup of one table, or a version that wrote them one by one.
    site.sql("update schedule set cursor_at = '2026-06-01T00:00:00Z', next_at = null")
        .await;
    site.sql("delete from tick").await;
    assert_eq!(site.fire("2026-06-01T00:01:05Z").await.runs, 0);
    assert_eq!((site.ticks().await.len(), site.states().await.len()), (1, 1));
    // And with the row of the tick left, the run gone to wherever runs go.
    site.sql("update schedule set cursor_at = '2026-06-01T00:00:00Z', next_at = null")
        .await;
    assert_eq!(site.fire("2026-06-01T00:01:05Z").await.runs, 0);
    site.audit().await;
}

#[tokio::test]
async fn a_clock_that_goes_back_repeats_no_tick() {
    let allow = Flow {
        overlap: Overlap::Allow,
        ..flow("f", "* * * * *")
    };
    let site = Site::with(allow, "2026-06-01T00:00:00Z").await;
    site.fire("2026-06-01T01:00:10Z").await;
    assert_eq!(site.fire("2026-06-01T00:00:30Z").await, Fired::default());
    assert_eq!(site.fire("2026-06-01T01:01:00Z").await.runs, 1);
    assert_eq!(
        site.ticks().await,
        ["00:01..00:59 59 missed", "01:00 run", "01:01 run"]
    );
    site.audit().await;
}

#[tokio::test]
async fn an_edit_fires_nothing_of_the_past_and_loses_nothing_that_was_due() {
    let mut site = Site::with(flow("f", "15 1 * * *"), "2026-06-01T00:00:00Z").await;
    assert_eq!(site.fire("2026-06-01T01:15:01Z").await.runs, 1);
    site.finish(at("2026-06-01T01:20:00Z")).await;
    site.flow.schedules = vec![schedule("s", "15 2 * * *")];
    site.apply(&site.flow, at("2026-06-01T03:00:00Z")).await;
    assert_eq!(site.fire("2026-06-01T03:00:30Z").await, Fired::default());
    // The next edit comes in the second between a tick and its scheduler.
    site.flow.schedules = vec![schedule("s", "45 2 * * *")];
    site.apply(&site.flow, at("2026-06-02T02:15:00.5Z")).await;
    assert_eq!(site.ticks().await, ["01:15 run", "02:15 run"]);
    site.finish(at("2026-06-02T02:20:00Z")).await;
    assert_eq!(site.fire("2026-06-02T02:45:00Z").await.runs, 1);
    site.audit().await;
}

#[tokio::test]
async fn a_pause_is_one_row_and_no_run() {
    let site = Site::with(flow("f", "0 * * * *"), "2026-06-01T00:30:00Z").await;
    let pause = |paused, now: &str| site.store.pause_schedule(("f", "s"), paused, at(now));
    assert!(pause(true, "2026-06-01T00:40:00Z").await.unwrap());
    assert!(
        pause(true, "2026-06-02T00:00:00Z").await.unwrap(),
        "once more is no harm"
    );
    assert_eq!(site.fire("2026-06-05T00:00:00Z").await, Fired::default());
    assert!(
        site.store
            .due_schedules(at("2026-06-05T00:00:00Z"))
            .await
            .unwrap()
            .is_empty()
    );
    assert!(pause(false, "2026-06-11T00:40:00Z").await.unwrap());
    assert!(pause(false, "2026-06-11T00:41:00Z").await.unwrap());
    assert_eq!(site.fire("2026-06-11T00:45:00Z").await, Fired::default());
    assert_eq!(site.ticks().await, ["01:00..00:00 240 paused"]);
    assert_eq!(site.fire("2026-06-11T01:00:00Z").await.runs, 1);
    assert!(
        !site
            .store
            .pause_schedule(("f", "none"), true, clock::now())
            .await
            .unwrap()
    );
    site.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broken_schedule_stops_no_other_and_says_so() {
    let site = Site::with(flow("f", "* * * * *"), "2026-06-01T00:00:00Z").await;
    site.apply(&flow("g", "* * * * *"), at("2026-06-01T00:00:00Z"))
        .await;
    site.sql("update schedule set spec = '{\"cron\": 7}' where flow = 'f'")
        .await;
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), site.store.clone());
    scheduler.tick(at("2026-06-01T00:01:00Z")).await;
    let told: Vec<(String, bool)> = sqlx::query_as("select flow, error is not null from schedule order by 1")
        .fetch_all(site.store.pool())
        .await
        .unwrap();
    assert_eq!(told, [("f".to_owned(), true), ("g".to_owned(), false)]);
    assert_eq!(site.states().await, ["running"]);
    assert!(
        site.store
            .due_schedules(at("2026-06-01T00:01:30Z"))
            .await
            .unwrap()
            .is_empty(),
        "no hot loop"
    );
    // An edit mends it.
    site.apply(&site.flow, at("2026-06-01T00:02:30Z")).await;
    assert_eq!(site.fire("2026-06-01T00:03:00Z").await.runs, 1);
    site.audit().await;
}

#[tokio::test]
async fn a_run_that_is_longer_than_its_period_under_each_overlap() {
    let outcome = async |overlap: Overlap| {
        let site = Site::with(
            Flow {
                overlap,
                ..flow("f", "*/5 * * * *")
            },
            "2026-06-01T00:00:00Z",
        )
        .await;
        for now in [
            "2026-06-01T00:05:00Z",
            "2026-06-01T00:10:00Z",
            "2026-06-01T00:15:00Z",
        ] {
            site.fire(now).await;
            // The first task of what runs is held by a worker that is slow to stop.
            site.claim(at(now)).await;
        }
        site.audit().await;
        (site.ticks().await, site.states().await)
    };
    let (ticks, states) = outcome(Overlap::Skip).await;
    assert_eq!(ticks, ["00:05 run", "00:10 overlap", "00:15 overlap"]);
    assert_eq!(states, ["running"]);
    let (ticks, states) = outcome(Overlap::Queue).await;
    assert_eq!(ticks, ["00:05 run", "00:10 run", "00:15 overlap"]);
    assert_eq!(states, ["running", "queued"]);
    let (ticks, states) = outcome(Overlap::Allow).await;
    assert_eq!(ticks, ["00:05 run", "00:10 run", "00:15 run"]);
    assert_eq!(states, ["running"; 3]);
    let (ticks, states) = outcome(Overlap::CancelPrevious).await;
    assert_eq!(ticks, ["00:05 run", "00:10 run", "00:15 run"]);
    assert_eq!(states, ["cancelling overlap", "cancelled overlap", "queued"]);
}

#[tokio::test]
async fn three_hours_of_downtime_under_each_policy() {
    let outcome = async |missed: Missed, window: Duration| {
        let mut flow = flow("f", "*/5 * * * *");
        flow.schedules[0].missed = missed;
        flow.schedules[0].missed_window = window;
        let site = Site::with(flow, "2026-06-01T09:00:00Z").await;
        let fired = site.fire("2026-06-01T12:02:30Z").await;
        site.audit().await;
        let rows = site.ticks().await.len();
        (fired.runs, fired.skipped, rows, site.states().await.len())
    };
    assert_eq!(outcome(Missed::Skip, 24 * HOUR).await, (0, 36, 1, 0));
    assert_eq!(outcome(Missed::Latest, 24 * HOUR).await, (1, 35, 2, 1));
    assert_eq!(outcome(Missed::All, 24 * HOUR).await, (36, 0, 36, 36));
    assert_eq!(outcome(Missed::All, HOUR).await, (12, 24, 13, 12));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_week_of_downtime_of_many_schedules_is_caught_up_within_seconds() {
    let mut many = flow("f", "* * * * *");
    many.overlap = Overlap::Allow;
    many.schedules = (0..100)
        .map(|n| schedule(&format!("s{n}"), "* * * * *"))
        .collect();
    let site = Site::with(many, "2026-06-01T00:00:00Z").await;
    for n in 1..=100 {
        site.apply(&flow(&format!("f{n}"), "* * * * *"), at("2026-06-01T00:00:00Z"))
            .await;
    }
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), site.store.clone());
    let now = at("2026-06-08T00:00:10Z");
    let took = until("all to be caught up", Duration::from_secs(10), async || {
        scheduler.tick(now).await;
        site.store.due_schedules(now).await.unwrap().is_empty()
    })
    .await;
    assert!(took < Duration::from_secs(5), "took {took:?}");
    assert_eq!((site.states().await.len(), site.ticks().await.len()), (200, 600));
    site.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_too_long_fails_and_time_spent_waiting_does_not_count() {
    let site = Site::with(
        Flow {
            timeout: Some(HOUR),
            ..flow("f", "0 0 1 1 *")
        },
        "2026-06-01T00:00:00Z",
    )
    .await;
    let begun = clock::now();
    let run = site.run(begun).await;
    let claim = site.claim(begun).await.remove(0);
    site.sql("update run set waited = interval '30 minutes'").await;
    let mut scheduler = Scheduler::new(SchedulerConfig::default(), site.store.clone());
    scheduler.tick(begun + Duration::from_secs(89 * 60)).await;
    assert_eq!(site.states().await, ["running"]);
    assert_eq!(
        site.store
            .time_out_runs(begun + Duration::from_secs(91 * 60))
            .await
            .unwrap(),
        1
    );
    assert_eq!(site.states().await, ["cancelling timeout"]);
    let stopped = report(&claim, Outcome::Stopped);
    site.store.advance(vec![stopped], None, begun).await.unwrap();
    assert_eq!(state_of(&site.store, run).await.unwrap(), RunState::Failed);
    assert_eq!(site.states().await, ["failed timeout"]);
    site.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_starts_within_a_second_of_the_end_before_it_in_its_order() {
    let site = Site::with(flow("f", "0 0 1 1 *"), "2026-06-01T00:00:00Z").await;
    let (stop, deaf) = (CancellationToken::new(), Arc::new(Notify::new()));
    let looping = run(SchedulerConfig::default(), site.store.clone(), deaf, stop.clone());
    let looping = tokio::spawn(looping);
    let first = site.run(clock::now()).await;
    let (second, third) = (site.run(clock::now()).await, site.run(clock::now()).await);
    assert_eq!(site.states().await, ["running", "queued", "queued"]);
    site.store
        .cancel_run(first, Reason::Requested, clock::now())
        .await
        .unwrap();
    let is = async |run, state| state_of(&site.store, run).await.unwrap() == state;
    let took = until("the second run", Duration::from_secs(5), async || {
        is(second, RunState::Running).await
    })
    .await;
    assert!(
        took < Duration::from_millis(1_300),
        "took {took:?} without any wake-up"
    );
    assert!(is(third, RunState::Queued).await);
    let pulse = site.store.pulse().await.unwrap();
    assert!(pulse.scheduler_age.unwrap() < 10.0, "it is heard of");
    stop.cancel();
    looping.await.unwrap().unwrap();
    assert_eq!(
        site.store.pulse().await.unwrap().scheduler_age,
        None,
        "it took leave"
    );
    site.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_is_taken_away_by_the_scheduler() {
    let site = Site::with(flow("f", "0 0 1 1 *"), "2026-06-01T00:00:00Z").await;
    site.run(clock::now()).await;
    site.claim(clock::now()).await;
    site.sql("update lease set until = clock_timestamp() - interval '1 second'")
        .await;
    Scheduler::new(SchedulerConfig::default(), site.store.clone())
        .tick(clock::now())
        .await;
    assert_eq!(
        site.claim(clock::now()).await.len(),
        1,
        "somebody else may have it"
    );
    site.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bell_rings_here_at_once_and_in_other_processes_soon() {
    let site = Site::with(flow("f", "0 0 1 1 *"), "2026-06-01T00:00:00Z").await;
    let other = Store::connect(&site.url, 4).await.unwrap();
    let stop = CancellationToken::new();
    site.store.link(stop.clone());
    other.link(stop.clone());
    let listening =
        "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%'";
    until("both to listen", Duration::from_secs(5), async || {
        let count: i64 = sqlx::query_scalar(listening)
            .fetch_one(site.store.pool())
            .await
            .unwrap();
        count == 2
    })
    .await;
    let (mut here, mut there) = (site.store.changes(), other.changes());
    let bell = other.workers_bell();
    // Rung by the listener that has just begun.
    let _ = tokio::time::timeout(Duration::from_millis(300), bell.notified()).await;
    here.mark_unchanged();
    there.mark_unchanged();
    site.run(clock::now()).await;
    assert!(here.has_changed().unwrap());
    tokio::time::timeout(Duration::from_secs(2), there.changed())
        .await
        .unwrap()
        .unwrap();
    tokio::time::timeout(Duration::from_secs(2), bell.notified())
        .await
        .unwrap();
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_do_is_asked_about_three_times_a_second_at_most() {
    // On a server of its own, so that nobody else's vacuum is counted.
    let cluster = postgres::Cluster::start();
    let url = cluster.url("postgres");
    let site = Site::at(&url, flow("f", "0 0 1 1 *"), "2026-06-01T00:00:00Z").await;
    site.sql("alter system set autovacuum = off").await;
    site.sql("select pg_reload_conf()").await;
    let stop = CancellationToken::new();
    let home = tidegate_test_fixtures::run::temp_dir();
    let worker = crate::worker::WorkerConfig {
        name: "w".to_owned(),
        queues: vec!["default".to_owned()],
        slots: 2,
        home: home.path().to_owned(),
        env: Arc::default(),
        deployment: crate::plugin::Deployment::default(),
        child: Vec::new(),
        guard: Vec::new(),
        secret_key: crate::secrets::KeySource::Given(String::new()),
        drain: Duration::ZERO,
    };
    let (store, bell) = (site.store.clone(), site.store.workers_bell());
    let services = (store.clone(), crate::plugin::Registry::default());
    let worker = tokio::spawn(crate::worker::run(worker, services, bell, stop.clone()));
    let bell = store.scheduler_bell();
    let scheduler = tokio::spawn(run(SchedulerConfig::default(), store.clone(), bell, stop.clone()));
    store.link(stop.clone());
    let mut outside = sqlx::PgConnection::connect(&site.url).await.unwrap();
    let mut count = async || -> (i64, i64) {
        sqlx::query_as(
            "select xact_commit, xact_rollback from pg_stat_database where datname = current_database()",
        )
        .fetch_one(&mut outside)
        .await
        .unwrap()
    };
    // A session tells its numbers a second after, and those of its last work ten seconds after.
    clock::sleep(Duration::from_secs(12)).await;
    let before = count().await;
    clock::sleep(Duration::from_secs(8)).await;
    let after = count().await;
    let (commits, rollbacks) = (after.0 - before.0, after.1 - before.1);
    println!("{commits} commits and {rollbacks} rollbacks in 8 s");
    assert!(commits <= 3 * 8 + 2, "{commits} transactions in 8 s");
    stop.cancel();
    worker.await.unwrap().unwrap();
    scheduler.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn old_days_go_without_stopping_writers_and_missing_days_are_made() {
    let site = Site::with(flow("f", "0 0 1 1 *"), "2026-06-01T00:00:00Z").await;
    site.sql("select ensure_partitions('2020-01-01', 2)").await;
    let days = async || -> i64 {
        let sql = "select count(*) from pg_class where relkind = 'r' and relname ~ '^(event|log)_2020'";
        sqlx::query_scalar(sql)
            .fetch_one(site.store.pool())
            .await
            .unwrap()
    };
    assert_eq!(days().await, 4);
    let mut reader = site.store.pool().begin().await.unwrap();
    sqlx::query("select count(*) from event")
        .execute(&mut *reader)
        .await
        .unwrap();
    let store = site.store.clone();
    let keep = 90 * 24 * HOUR;
    let dropping = tokio::spawn(async move { store.drop_old_partitions(keep, clock::now()).await });
    for _ in 0..20 {
        let begun = clock::monotonic();
        site.run(clock::now()).await;
        assert!(
            begun.elapsed() < Duration::from_millis(500),
            "a writer waited {:?}",
            begun.elapsed()
        );
        clock::sleep(Duration::from_millis(20)).await;
    }
    let given_up = dropping.await.unwrap().is_err();
    reader.rollback().await.unwrap();
    assert!(given_up, "it does not wait for a reader for ever");
    assert_eq!(
        site.store.drop_old_partitions(keep, clock::now()).await.unwrap(),
        4
    );
    assert_eq!(days().await, 0);
    let today = "select format('drop table %s, %s', 'event_' || d, 'log_' || d) from to_char(now() at time zone 'utc', 'YYYYMMDD') d";
    site.sql("delete from event").await;
    let today: String = sqlx::query_scalar(today)
        .fetch_one(site.store.pool())
        .await
        .unwrap();
    sqlx::query(sqlx::AssertSqlSafe(today))
        .execute(site.store.pool())
        .await
        .unwrap();
    site.run(clock::now()).await;
}

#[tokio::test]
async fn the_auditor_sees_a_tick_without_outcome() {
    let site = Site::with(flow("f", "* * * * *"), "2026-06-01T00:00:00Z").await;
    site.fire("2026-06-01T00:05:10Z").await;
    site.audit().await;
    site.sql("delete from tick where outcome = 'skipped'").await;
    let found = site.store.audit().await.unwrap();
    assert_eq!(found[0].invariant, "every due tick has one outcome", "{found:?}");
}
