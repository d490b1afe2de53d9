//! Sums against a real PostgreSQL: nothing is missed, nothing is counted twice.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::time::Duration;

use sqlx::AssertSqlSafe;
use uuid::{Timestamp, Uuid};

use super::runs::{FIND, SPANS};
use super::{APPROVAL_WAIT, ATTEMPTS, GATES, LAST_SUCCESS, PROMOTIONS, REAPED, RUN_DURATION, RUNS, SKIPPED};
use super::{TASK_DURATION, Tally};
use crate::id::RunId;
use crate::plan::Outcome;
use crate::store::read::Counted;
use crate::store::tests::{Bench, task};

impl Bench {
    async fn counted(&self) -> Counted {
        self.store.count_up().await.unwrap();
        self.store.numbers().await.unwrap().counted
    }

    async fn sql(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(self.store.pool()).await.unwrap();
    }

    async fn rows(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql)
            .fetch_one(self.store.pool())
            .await
            .unwrap()
    }

    /// A run whose id was made some time before it was committed.
    async fn late(&self, age: Duration) -> RunId {
        let made = self.now.checked_sub(age).unwrap();
        let made = Timestamp::from_unix_time(made.as_second().unsigned_abs(), 0, 0, 0);
        let mut new = self.new_run();
        new.id = RunId(Uuid::new_v7(made));
        self.store.create_run(new.clone(), self.now).await.unwrap();
        new.id
    }

    async fn succeed(&self) {
        for claim in self.claim(9).await {
            assert!(self.report(&claim, Outcome::Succeeded).await);
        }
    }
}

fn sums(counted: &Counted, name: &str) -> Vec<(String, f64)> {
    let sums = counted.of(name).iter();
    sums.map(|sum| (sum.labels.join(" "), sum.value)).collect()
}

fn one(labels: &str, value: f64) -> Vec<(String, f64)> {
    vec![(labels.to_owned(), value)]
}

/// Beyond the head runs are known by their rows, whatever the order in which they come; later the rows are gone and the sums stand.
#[tokio::test]
async fn a_run_counts_once_before_and_after_the_head_has_passed_it() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    bench.run().await;
    bench.succeed().await;
    assert_eq!(sums(&bench.counted().await, RUNS), one("f succeeded manual", 1.0));
    // Its id lies before that of the run which is counted already.
    bench.late(Duration::from_secs(60)).await;
    bench.succeed().await;
    for _ in 0..2 {
        let counted = bench.counted().await;
        assert_eq!(sums(&counted, RUNS), one("f succeeded manual", 2.0));
        assert_eq!(counted.total(ATTEMPTS), 2.0);
        assert_eq!(counted.histograms(&RUN_DURATION)[0].buckets[0].1, 2.0);
    }
    assert_eq!(bench.rows("select count(*) from counting").await, 2);
    // So far behind that it is found only because it is not over.
    bench
        .sql("update counting_head set run = 'ffffffff-ffff-7fff-bfff-ffffffffffff'")
        .await;
    bench.late(Duration::from_secs(3600)).await;
    assert_eq!(bench.counted().await.total(ATTEMPTS), 2.0);
    bench.succeed().await;
    for _ in 0..2 {
        let counted = bench.counted().await;
        assert_eq!(sums(&counted, RUNS), one("f succeeded manual", 3.0));
        assert_eq!(counted.total(ATTEMPTS), 3.0);
    }
    assert_eq!(bench.rows("select count(*) from counting").await, 0);
    assert_eq!(bench.rows("select count(*) from counting_attempt").await, 0);
    bench.audit().await;
}

#[tokio::test]
async fn attempts_that_were_lost_given_back_or_parked_are_told_apart() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    bench.run().await;
    let given_back = bench.claim(1).await.remove(0);
    assert_eq!(bench.counted().await.total(ATTEMPTS), 0.0, "it is not over");
    assert!(bench.report(&given_back, Outcome::Released).await);
    assert_eq!(bench.counted().await.total(ATTEMPTS), 0.0);
    for lost in 1..=4 {
        assert_eq!(bench.claim(1).await.len(), 1);
        bench.expire_leases().await;
        bench.store.reap(bench.now).await.unwrap();
        let counted = bench.counted().await;
        let sums = (counted.total(REAPED), counted.total(ATTEMPTS));
        assert_eq!(sums, (f64::from(lost), f64::from(lost)));
        assert_eq!(
            counted.histograms(&TASK_DURATION)[0].buckets[0].1,
            f64::from(lost)
        );
    }
    assert_eq!(sums(&bench.counted().await, RUNS), one("f failed manual", 1.0));
    bench.audit().await;
}

/// What happened before there were sums, and runs whose events are dropped already.
#[tokio::test]
async fn a_history_is_counted_from_its_beginning() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    bench.sql(
        "insert into run (id, flow, version, state, trigger, requester, params, created_at, started_at, finished_at, open, active, next_seq)
           select ('019' || lpad(to_hex(n), 5, '0') || '-0000-7000-8000-000000000000')::uuid, 'f', v.hash, 'succeeded', 'schedule', 'system',
             '{}', '2025-06-01T00:00Z', '2025-06-01T00:00Z', timestamptz '2025-06-01T00:00:30Z' + n * interval '1 second', 0, 0, 5
           from generate_series(1, 2500) as n, flow_version v;
         insert into tick (flow, schedule, scheduled_for, last, count, outcome, reason, at)
           select 'f', 's', timestamptz '2025-06-01T00:00Z' + n * interval '1 hour', timestamptz '2025-06-01T00:00Z' + n * interval '1 hour',
             2, 'skipped', 'overlap', now() from generate_series(1, 1200) as n;
         insert into alias_move (model, alias, number, version, before, at, actor)
           values ('m', 'production', 1, 6, null, now(), 'ada'), ('m', 'production', 2, 7, 6, now(), 'ada'),
             ('m', 'production', 3, 6, 7, now(), 'ada');",
    )
    .await;
    for _ in 0..2 {
        let counted = bench.counted().await;
        assert_eq!(sums(&counted, RUNS), one("f succeeded schedule", 2500.0));
        let last = "select extract(epoch from max(finished_at))::bigint from run";
        assert_eq!(
            sums(&counted, LAST_SUCCESS),
            one("f", bench.rows(last).await as f64)
        );
        assert_eq!(sums(&counted, SKIPPED), one("f overlap", 2400.0));
        let moves = [("m promoted".to_owned(), 2.0), ("m rolled_back".to_owned(), 1.0)];
        assert_eq!(sums(&counted, PROMOTIONS), moves);
    }
    assert_eq!(bench.rows("select count(*) from counting").await, 0);
}

/// A gate that asks of a world that moved is reached twice; what ends with its run came to nothing.
#[tokio::test]
async fn approvals_say_what_came_of_gates_and_of_promotions() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    bench.run().await;
    bench.sql(
        "insert into approval (id, run, idx, flow, task, state, evidence, digest, requester, by, required, allow_requester,
             asked_at, expires_at, on_expire, closed_at)
           select gen_random_uuid(), r.id, 0, 'f', 'a', u.state::approval_state, u.evidence::json, repeat('0', 64), 'ada', '{}', 1, false,
             now() - interval '2 minutes', now(), 'reject', case when u.state <> 'open' then now() end
           from run r, (values ('approved', '{\"world\": {\"alias\": \"m@production\"}}'), ('rejected', '{\"world\": {\"alias\": \"m@production\"}}'),
             ('expired', '{}'), ('void', '{\"world\": {\"alias\": \"m@production\"}}'), ('open', '{}')) as u(state, evidence);
         insert into gate_result (run, idx, epoch, opening, rules, at) select id, 0, 1, 'opens', '[]', now() from run;",
    )
    .await;
    bench.counted().await;
    bench
        .sql("update gate_result set opening = 'asks', counted = false")
        .await;
    let counted = bench.counted().await;
    let gates: Vec<(String, f64)> = ["approved", "asks", "declined", "expired", "opens"]
        .map(|result| (format!("f a {result}"), 1.0))
        .into();
    assert_eq!(sums(&counted, GATES), gates);
    assert_eq!(sums(&counted, PROMOTIONS), one("m declined", 1.0));
    let waits = &counted.histograms(&APPROVAL_WAIT)[0];
    let counts: Vec<f64> = waits.buckets.iter().take(2).map(|(_, count)| *count).collect();
    assert_eq!((counts, waits.sum), (vec![0.0, 2.0], 240.0));
}

/// However many runs there were, those are looked at that are new, and those that are being counted.
#[tokio::test]
async fn who_counts_walks_no_history() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    bench.run().await;
    bench.sql(
        "insert into run (id, flow, version, state, trigger, requester, params, created_at, open, active, finished_at)
           select gen_random_uuid(), flow, version, 'succeeded', trigger, requester, params, created_at, 0, 0, created_at
           from run, generate_series(1, 3000);
         analyze run;",
    )
    .await;
    let explain = |sql: &str| AssertSqlSafe(format!("explain (costs off) {sql}"));
    let find = sqlx::query_scalar(explain(FIND))
        .bind(1000_i64)
        .bind(super::BEHIND);
    let spans = sqlx::query_scalar(explain(SPANS)).bind(1000_i64);
    for query in [find, spans] {
        let plan: Vec<String> = query.fetch_all(bench.store.pool()).await.unwrap();
        let walks = |line: &&String| line.contains(" on run");
        let found: Vec<usize> = (0..plan.len()).filter(|&i| walks(&&plan[i])).collect();
        assert_eq!(found.len(), 1, "{plan:#?}");
        let bounded = plan[found[0]].contains("run_pkey") && plan[found[0] + 1].contains("Index Cond: (id ");
        assert!(bounded, "{plan:#?}");
    }
}

#[test]
fn a_bound_belongs_to_its_bucket() {
    let mut tally = Tally::default();
    for seconds in [-1.0, 1.0, 1.01, 90_000.0] {
        tally.observe(&RUN_DURATION, &["f"], seconds);
    }
    let mut expected = Tally::default();
    for (bound, count) in [("1", 2.0), ("5", 1.0), ("+Inf", 1.0), ("sum", 90_002.01)] {
        expected.add(RUN_DURATION.name, &["f", bound], count);
    }
    assert_eq!(tally, expected);
}
