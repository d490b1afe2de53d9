//! What PostgreSQL does to us on a bad day.

use sqlx::Connection;
use tidegate_test_fixtures::postgres::Cluster;

use super::super::StoreError;
use super::*;

/// Makes a run and brings it to its end.
async fn whole_run(bench: &Bench) {
    let new = bench.new_run();
    let id = new.id;
    bench.store.create_run(new, bench.now).await.unwrap();
    let begun = clock::monotonic();
    while !bench.state(id).await.is_terminal() {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing moves");
        // What was claimed under an answer that got lost is found by the reaper.
        bench.expire_leases().await;
        bench.store.reap(bench.now).await.unwrap();
        let claims = bench.store.claim(bench.claimer(1), bench.now).await.unwrap();
        let reports: Vec<Report> = claims
            .iter()
            .map(|claim| report(claim, Outcome::Succeeded))
            .collect();
        bench.store.advance(reports, None, bench.now).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_killed_costs_a_moment_and_nothing_else() {
    let cluster = Cluster::start();
    let bench = Bench::at(
        &cluster.url("postgres"),
        vec![task("a", &[], 1), task("b", &[0], 1)],
    )
    .await;
    whole_run(&bench).await;
    let victim: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(bench.store.pool())
        .await
        .unwrap();
    let victim = rustix::process::Pid::from_raw(victim).unwrap();
    // The postmaster ends all others and recovers the cluster.
    rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
    let begun = clock::monotonic();
    let made = bench.store.create_run(bench.new_run(), bench.now).await;
    made.unwrap();
    println!("a run was made {:?} after the kill", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_work_than_connections_is_done_in_turn() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let narrow = Store::connect(bench.url(), 2).await.unwrap();
    let all = (0..60).map(|_| narrow.create_run(bench.new_run(), bench.now));
    let begun = clock::monotonic();
    for made in futures::future::join_all(all).await {
        made.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_more_connections_is_waited_for() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let name: String = sqlx::query_scalar("select current_database()::text")
        .fetch_one(bench.store.pool())
        .await
        .unwrap();
    // No superuser, so that the limit counts for it.
    let role = format!("few_{name}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "create role {role} login connection limit 1;
         grant all on all tables in schema public to {role}; grant all on all sequences in schema public to {role}"
    )))
    .execute(bench.store.pool())
    .await
    .unwrap();
    let url = bench.url().replace("postgres@", &format!("{role}@"));
    let mut taken = sqlx::PgConnection::connect(&url).await.unwrap();
    let refused = sqlx::PgConnection::connect(&url).await.unwrap_err();
    assert_eq!(StoreError::from(refused).code().as_deref(), Some("53300"));
    let late = tokio::spawn(async move { Store::connect(&url, 4).await });
    clock::sleep(Duration::from_millis(500)).await;
    sqlx::query("select 1").execute(&mut taken).await.unwrap();
    taken.close().await.unwrap();
    let store = late.await.unwrap().unwrap();
    // One connection is all there is, and four are wanted.
    let all = (0..4).map(|_| store.create_run(bench.new_run(), bench.now));
    for made in futures::future::join_all(all).await {
        made.unwrap();
    }
    store.close().await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "drop owned by {role}; drop role {role}"
    )))
    .execute(bench.store.pool())
    .await
    .unwrap();
}

#[tokio::test]
async fn what_postgres_gives_up_for_want_of_time_is_worth_another_try() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let mut held = bench.store.pool().begin().await.unwrap();
    sqlx::query("lock table pool in access exclusive mode")
        .execute(&mut *held)
        .await
        .unwrap();
    let sql = [
        (
            "57014",
            "set local statement_timeout = '20ms'; select pg_sleep(5)",
        ),
        ("55P03", "set local lock_timeout = '20ms'; select * from pool"),
        ("25P03", "set local idle_in_transaction_session_timeout = '20ms'"),
        ("57P01", "select pg_terminate_backend(pg_backend_pid())"),
        ("40001", "do $$ begin raise serialization_failure; end $$"),
        ("40P01", "do $$ begin raise deadlock_detected; end $$"),
    ];
    for (code, sql) in sql {
        let mut conn = sqlx::PgConnection::connect(bench.url()).await.unwrap();
        sqlx::query("begin").execute(&mut conn).await.unwrap();
        let mut done = sqlx::raw_sql(sql).execute(&mut conn).await;
        if done.is_ok() {
            clock::sleep(Duration::from_millis(200)).await;
            done = sqlx::query("select 1").execute(&mut conn).await;
        }
        let error = StoreError::from(done.unwrap_err());
        // The last word of a session that was ended may be lost with its connection.
        assert!(error.code().is_none_or(|told| told == code), "{code}: {error:?}");
        assert!(error.is_passing(), "{code}");
    }
    let taken = sqlx::query("select 1 / 0")
        .execute(bench.store.pool())
        .await
        .unwrap_err();
    assert!(!StoreError::from(taken).is_passing());
}

fn many_versions(n: usize) -> NewVersion {
    NewVersion {
        flow: Flow {
            max_active: 1_000,
            overlap: Overlap::Allow,
            ..flow(vec![task("a", &[], 2), task("b", &[], 2), task("c", &[0, 1], 2)])
        },
        hash: VersionHash(format!("{n:064x}")),
        path: "f.toml".to_owned(),
        source: n.to_string(),
        actor: "test".to_owned(),
    }
}

/// One thing that takes locks.
async fn turn(bench: &Bench, (n, nth): (usize, usize)) {
    let store = &bench.store;
    match n % 6 {
        0 => drop(bench.run().await),
        1 => {
            let claims = bench.claim(7).await;
            let reports = claims.iter().rev().map(|claim| report(claim, Outcome::Succeeded));
            let reports: Vec<Report> = reports.collect();
            let claimer = Some(bench.claimer(2));
            store.advance(reports, claimer, bench.now).await.unwrap();
        }
        2 => {
            let open = "select id from run where finished_at is null order by random() limit 1";
            let open: Option<Uuid> = sqlx::query_scalar(open)
                .fetch_optional(store.pool())
                .await
                .unwrap();
            if let Some(run) = open {
                let cancelled = store.cancel_run(RunId(run), Reason::Requested, bench.now);
                cancelled.await.unwrap();
            }
        }
        3 => {
            let one = "update lease set until = clock_timestamp() - interval '1 second'
                where (run, idx) = (select run, idx from lease order by random() limit 1)";
            sqlx::query(one).execute(store.pool()).await.unwrap();
            store.reap(bench.now).await.unwrap();
        }
        4 => drop(
            store
                .apply_version(many_versions(100 + nth % 3), bench.now)
                .await
                .unwrap(),
        ),
        _ => {
            let mut conn = store.pool().acquire().await.unwrap();
            leases::renew(&mut conn, Uuid::nil()).await.unwrap();
            drop(conn);
            store.admit_queued(bench.now).await.unwrap();
        }
    }
}

/// All that takes locks, at once, for a while.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_one_another() {
    let bench = Bench::with(vec![task("a", &[], 2), task("b", &[], 2), task("c", &[0, 1], 2)]).await;
    bench
        .store
        .apply_version(many_versions(99), bench.now)
        .await
        .unwrap();
    let until = clock::monotonic() + Duration::from_secs(3);
    let bench = &bench;
    let client = |n: usize| async move {
        let mut turns = 0;
        while clock::monotonic() < until {
            turns += 1;
            turn(bench, (n, turns)).await;
        }
        turns
    };
    let turns = futures::future::join_all((0..18).map(client)).await;
    let mut conn = bench.store.pool().acquire().await.unwrap();
    sqlx::query("select pg_stat_force_next_flush()")
        .execute(&mut *conn)
        .await
        .unwrap();
    let deadlocks: i64 =
        sqlx::query_scalar("select deadlocks from pg_stat_database where datname = current_database()")
            .fetch_one(&mut *conn)
            .await
            .unwrap();
    println!("{} turns", turns.iter().sum::<usize>());
    assert_eq!(deadlocks, 0);
    drop(conn);
    bench.audit().await;
}

/// 32 bits of a hash are the same for these two.
#[tokio::test]
async fn keys_whose_short_hashes_collide_do_not_wait_for_one_another() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let hashed = |key: &str| {
        let name = json!(["test", "anna", key]).to_string();
        sqlx::query_as::<_, (i32, i64)>("select hashtext($1), hashtextextended($1, 0)").bind(name)
    };
    let mut seen: BTreeMap<i32, (String, i64)> = BTreeMap::new();
    let mut pair = None;
    let names =
        "select n, hashtext(format('[\"test\",\"anna\",\"k%s\"]', n)) from generate_series(1, 400000) n";
    let rows: Vec<(i32, i32)> = sqlx::query_as(names).fetch_all(bench.store.pool()).await.unwrap();
    for (n, short) in rows {
        let key = format!("k{n}");
        if let Some((other, _)) = seen.get(&short) {
            pair = Some((other.clone(), key));
            break;
        }
        seen.insert(short, (key, 0));
    }
    let (one, two) = pair.expect("400,000 names collide in 32 bits");
    let first = hashed(&one).fetch_one(bench.store.pool()).await.unwrap();
    let second = hashed(&two).fetch_one(bench.store.pool()).await.unwrap();
    assert_eq!(first.0, second.0);
    assert_ne!(first.1, second.1, "{one} and {two}");
}
