//! Two things at the same instant, many times: whoever comes first, one of them counts, and nothing moves after the end.

use super::*;

/// What a cancellation, a report, a time-out and a reaper may leave of a run of one task that is running.
const ENDS: [RunState; 3] = [RunState::Succeeded, RunState::Cancelled, RunState::Failed];

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_and_the_last_report_at_once_make_one_end_that_stays() {
    let bench = Bench::with(vec![task("a", &[], 1), task("b", &[0], 1)]).await;
    let mut ends = BTreeMap::new();
    for _ in 0..60 {
        let run = bench.run().await;
        let first = bench.claim(1).await.remove(0);
        assert!(bench.report(&first, Outcome::Succeeded).await);
        let last = bench.claim(1).await.remove(0);
        let cancel = bench.store.cancel_run(run, Reason::Requested, bench.now);
        let (_, counted) = tokio::join!(cancel, bench.report(&last, Outcome::Succeeded));
        assert!(counted, "what was done is kept, whatever the run comes to");
        let end = bench.state(run).await;
        assert!(ENDS.contains(&end), "{end:?}");
        assert!(!bench.report(&last, Outcome::Succeeded).await);
        assert!(
            !bench
                .store
                .cancel_run(run, Reason::Requested, bench.now)
                .await
                .unwrap()
        );
        assert_eq!(bench.state(run).await, end, "an end is for ever");
        *ends.entry(end.as_str()).or_insert(0) += 1;
    }
    println!("{ends:?}");
    bench.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_cancellation_no_task_starts() {
    let bench = Bench::with((0..6).map(|n| task(&format!("t{n}"), &[], 3)).collect()).await;
    for _ in 0..40 {
        let run = bench.run().await;
        let (cancelled, claims) = tokio::join!(
            bench.store.cancel_run(run, Reason::Requested, bench.now),
            bench.claim(6)
        );
        assert!(cancelled.unwrap());
        assert!(bench.claim(6).await.is_empty());
        for claim in &claims {
            let fails = Outcome::Failed {
                reason: Reason::Error,
                again: true,
            };
            assert!(bench.report(claim, fails).await);
        }
        assert_eq!(bench.state(run).await, RunState::Cancelled);
    }
    bench.audit().await;
}

#[tokio::test]
async fn a_cancelled_run_whose_worker_is_dead_ends_with_its_lease() {
    let bench = Bench::with(vec![task("a", &[], 3)]).await;
    let run = bench.run().await;
    bench.claim(1).await.remove(0);
    bench
        .store
        .cancel_run(run, Reason::Requested, bench.now)
        .await
        .unwrap();
    assert_eq!(bench.state(run).await, RunState::Cancelling);
    bench.expire_leases().await;
    bench.store.reap(bench.now).await.unwrap();
    assert_eq!(bench.state(run).await, RunState::Cancelled);
    bench.audit().await;
}

#[tokio::test]
async fn what_is_queued_is_cancelled_at_once() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    bench.run().await;
    let queued = bench.run().await;
    assert_eq!(bench.state(queued).await, RunState::Queued);
    bench
        .store
        .cancel_run(queued, Reason::Requested, bench.now)
        .await
        .unwrap();
    assert_eq!(bench.state(queued).await, RunState::Cancelled);
    bench.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_five_reapers_see_is_counted_once() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    for _ in 0..30 {
        let run = bench.run().await;
        bench.claim(1).await.remove(0);
        bench.expire_leases().await;
        let reaped = futures::future::join_all((0..5).map(|_| bench.store.reap(bench.now))).await;
        let counted: usize = reaped.into_iter().map(Result::unwrap).sum();
        let lost: i32 = sqlx::query_scalar("select lost from task_run where run = $1")
            .bind(run.0)
            .fetch_one(bench.store.pool())
            .await
            .unwrap();
        assert_eq!((counted, lost), (1, 1));
        let heir = bench.claim(1).await.remove(0);
        assert!(bench.report(&heir, Outcome::Succeeded).await);
    }
    bench.audit().await;
}

/// The reaper, a report, a cancellation and a run's time-out at one attempt that would be tried again.
#[tokio::test(flavor = "multi_thread")]
async fn of_all_that_may_end_an_attempt_one_does_and_at_most_one_follows() {
    let mut bench = Bench::with(vec![task("a", &[], 5)]).await;
    let limited = Flow {
        timeout: Some(Duration::from_secs(60)),
        ..flow(vec![task("a", &[], 5)])
    };
    let version = NewVersion {
        flow: limited,
        hash: VersionHash("e".repeat(64)),
        path: "f.toml".to_owned(),
        source: String::new(),
        actor: "test".to_owned(),
    };
    bench.store.apply_version(version, bench.now).await.unwrap();
    let mut seen = BTreeMap::new();
    for turn in 0..60 {
        let run = bench.run().await;
        let claim = bench.claim(1).await.remove(0);
        let late = bench.now + Duration::from_secs(if turn % 3 == 0 { 61 } else { 1 });
        if turn % 2 == 0 {
            bench.expire_leases().await;
        }
        let cancel = async {
            if turn % 5 == 0 {
                bench
                    .store
                    .cancel_run(run, Reason::Requested, bench.now)
                    .await
                    .unwrap();
            }
        };
        let (counted, reaped, timed_out, ()) = tokio::join!(
            bench.report(&claim, FAILS),
            bench.store.reap(bench.now),
            bench.store.time_out_runs(late),
            cancel
        );
        reaped.unwrap();
        timed_out.unwrap();
        assert!(!bench.report(&claim, FAILS).await, "the attempt is over");
        let state = bench.task_states(run).await.remove(0);
        *seen.entry(format!("{counted} {state}")).or_insert(0) += 1;
        bench.now += Duration::from_secs(3_600);
        let next = bench.claim(9).await;
        assert!(next.len() <= 1, "{next:?}");
        for claim in next {
            assert_eq!(claim.epoch, 2);
            bench.report(&claim, Outcome::Succeeded).await;
        }
        bench
            .store
            .cancel_run(run, Reason::Requested, bench.now)
            .await
            .unwrap();
        assert!(bench.state(run).await.is_terminal());
    }
    println!("{seen:#?}");
    bench.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_finish_last_together_let_what_needs_them_go_once() {
    let bench = Bench::with(vec![
        task("a", &[], 1),
        task("b", &[], 1),
        task("join", &[0, 1], 1),
    ])
    .await;
    for _ in 0..50 {
        let run = bench.run().await;
        let claims = bench.claim(2).await;
        let (one, two) = tokio::join!(
            bench.report(&claims[0], Outcome::Succeeded),
            bench.report(&claims[1], Outcome::Succeeded)
        );
        assert!(one && two);
        let joins = bench.claim(9).await;
        assert_eq!(joins.len(), 1);
        assert!(bench.report(&joins[0], Outcome::Succeeded).await);
        assert_eq!(bench.state(run).await, RunState::Succeeded);
    }
    bench.audit().await;
}

#[tokio::test]
async fn a_worker_that_stalls_for_less_than_its_lease_loses_nothing() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let run = bench.run().await;
    let claim = bench.claim(1).await.remove(0);
    // As 25 s after its last heartbeat.
    sqlx::query("update lease set until = clock_timestamp() + interval '5 seconds'")
        .execute(bench.store.pool())
        .await
        .unwrap();
    assert_eq!(bench.store.reap(bench.now).await.unwrap(), 0);
    let mut conn = bench.store.pool().acquire().await.unwrap();
    assert_eq!(leases::renew(&mut conn, Uuid::nil()).await.unwrap().len(), 1);
    assert!(bench.report(&claim, Outcome::Succeeded).await);
    // A heartbeat that was on its way meanwhile is no news to anybody.
    assert_eq!(leases::renew(&mut conn, Uuid::nil()).await.unwrap(), []);
    assert_eq!(bench.state(run).await, RunState::Succeeded);
    bench.audit().await;
}

#[tokio::test]
async fn two_workers_of_one_name_are_two() {
    let bench = Bench::with(vec![task("a", &[], 1), task("b", &[], 1)]).await;
    bench.run().await;
    let ids = [clock::new_id(), clock::new_id()];
    for id in ids {
        let worker = crate::store::workers::NewWorker {
            id,
            name: "host:1".to_owned(),
            queues: vec!["default".to_owned()],
            slots: 1,
        };
        bench.store.enroll_worker(&worker).await.unwrap();
        let claimer = Claimer {
            worker: id,
            ..bench.claimer(1)
        };
        assert_eq!(bench.store.claim(claimer, bench.now).await.unwrap().len(), 1);
    }
    let mut conn = bench.store.pool().acquire().await.unwrap();
    let held = leases::renew(&mut conn, ids[0]).await.unwrap();
    assert_eq!(held.len(), 1, "each has what it took");
    bench.store.dismiss_worker(ids[0]).await.unwrap();
    assert_eq!(leases::renew(&mut conn, ids[1]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_run_keeps_the_version_it_began_with() {
    let bench = Bench::with(vec![task("a", &[], 1), task("b", &[0], 1)]).await;
    let run = bench.run().await;
    let first = bench.claim(1).await.remove(0);
    let longer = vec![task("z", &[], 1), task("y", &[0], 1), task("x", &[1], 1)];
    assert_eq!(bench.apply(longer).await, Applied::Changed);
    assert!(bench.report(&first, Outcome::Succeeded).await);
    let second = bench.claim(1).await.remove(0);
    assert_eq!((second.run, second.place().as_str()), (run, "b"));
    assert!(bench.report(&second, Outcome::Succeeded).await);
    assert_eq!(bench.state(run).await, RunState::Succeeded);
    let next = bench.run().await;
    assert_eq!(
        bench.task_states(next).await.len(),
        3,
        "the next one is of the new version"
    );
    bench.audit().await;
}

#[tokio::test]
async fn counters_do_not_end_at_two_billion() {
    let bench = Bench::with(vec![task("a", &[], 2)]).await;
    let run = bench.run().await;
    sqlx::query("update task_run set epoch = 2147483647, attempt = 0 where run = $1")
        .bind(run.0)
        .execute(bench.store.pool())
        .await
        .unwrap();
    let claim = bench.claim(1).await.remove(0);
    assert_eq!(claim.epoch, 2_147_483_648);
    assert!(bench.report(&claim, Outcome::Succeeded).await);
    bench.audit().await;
}

#[tokio::test]
async fn renewals_touch_no_index() {
    let bench = Bench::with((0..20).map(|n| task(&format!("t{n}"), &[], 1)).collect()).await;
    bench.run().await;
    assert_eq!(bench.claim(20).await.len(), 20);
    let mut conn = bench.store.pool().acquire().await.unwrap();
    for _ in 0..50 {
        assert_eq!(leases::renew(&mut conn, Uuid::nil()).await.unwrap().len(), 20);
    }
    let flush = "select pg_stat_force_next_flush()";
    sqlx::query(flush).execute(&mut *conn).await.unwrap();
    let (hot, all): (i64, i64) =
        sqlx::query_as("select n_tup_hot_upd, n_tup_upd from pg_stat_user_tables where relname = 'lease'")
            .fetch_one(&mut *conn)
            .await
            .unwrap();
    println!("{hot} of {all} updates are HOT");
    // The others found their page full; none had to, for an index.
    let indexed: Vec<String> =
        sqlx::query_scalar("select indexdef from pg_indexes where tablename = 'lease'")
            .fetch_all(&mut *conn)
            .await
            .unwrap();
    assert!(
        indexed
            .iter()
            .all(|index| index.ends_with("(run, idx)") || index.ends_with("(worker)")),
        "{indexed:?}"
    );
    assert!(all >= 1_000 && hot * 100 >= all * 70, "{hot} of {all}");
}
