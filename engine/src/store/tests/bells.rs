//! Wake-ups by NOTIFY: what they carry, whom they may cost something, and what is lost when they are.

use sqlx::postgres::{PgListener, PgNotification};
use tokio_util::sync::CancellationToken;

use super::*;

/// Two processes on one database that are linked, and a third that listens to what they say.
struct Pair {
    bench: Bench,
    other: Store,
    stop: CancellationToken,
    ear: PgListener,
}

const LISTENERS: &str = "from pg_stat_activity where datname = current_database() and query ilike 'listen%'
     and application_name = 'tidegate' and pid <> pg_backend_pid()";

impl Pair {
    async fn linked() -> Self {
        let tasks: Vec<Task> = (0..3).map(|n| task(&format!("t{n}"), &[], 1)).collect();
        let bench = Bench::with(tasks).await;
        let roomy = Flow {
            max_active: 1_000,
            overlap: Overlap::Allow,
            ..flow(vec![task("a", &[], 1)])
        };
        let version = NewVersion {
            flow: roomy,
            hash: VersionHash("e".repeat(64)),
            path: "f.toml".to_owned(),
            source: String::new(),
            actor: "test".to_owned(),
        };
        bench.store.apply_version(version, bench.now).await.unwrap();
        let other = Store::connect(bench.url(), 4).await.unwrap();
        let stop = CancellationToken::new();
        bench.store.link(stop.clone());
        other.link(stop.clone());
        let mut ear = PgListener::connect(bench.url()).await.unwrap();
        ear.listen_all(["tidegate_changed", "tidegate_workers", "tidegate_scheduler"])
            .await
            .unwrap();
        let pair = Self {
            bench,
            other,
            stop,
            ear,
        };
        pair.wait_for_listeners(2).await;
        pair
    }

    async fn wait_for_listeners(&self, wanted: i64) {
        let begun = clock::monotonic();
        let listening = || sqlx::AssertSqlSafe(format!("select count(*) {LISTENERS}"));
        while sqlx::query_scalar::<_, i64>(listening())
            .fetch_one(self.bench.store.pool())
            .await
            .unwrap()
            < wanted
        {
            assert!(begun.elapsed() < Duration::from_secs(10), "nobody listens");
            clock::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What was said until nothing more comes for a while.
    async fn heard(&mut self) -> Vec<PgNotification> {
        let mut all = Vec::new();
        while let Ok(said) = tokio::time::timeout(Duration::from_millis(300), self.ear.recv()).await {
            all.push(said.unwrap());
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_up_carries_nothing_and_many_go_together() {
    let mut pair = Pair::linked().await;
    pair.heard().await;
    let begun = clock::monotonic();
    let bench = &pair.bench;
    let writers = (0..20).map(|_| async move {
        for _ in 0..5 {
            let mut new = bench.new_run();
            // More than a payload of NOTIFY may have.
            new.params.insert("x".to_owned(), json!("y".repeat(9_000)));
            bench.store.create_run(new, bench.now).await.unwrap();
        }
    });
    futures::future::join_all(writers).await;
    let took = begun.elapsed();
    let heard = pair.heard().await;
    assert!(!heard.is_empty());
    assert!(heard.iter().all(|said| said.payload().is_empty()));
    for channel in ["tidegate_changed", "tidegate_workers"] {
        let count = heard.iter().filter(|said| said.channel() == channel).count();
        let most = took.as_millis() as usize / 20 + 2;
        println!("{channel}: {count} for 100 runs in {took:?}");
        assert!((1..=most).contains(&count), "{count} of at most {most}");
    }
    pair.stop.cancel();
}

/// A verb beside the database, which ends with its transaction.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_soon_over_calls_out_before_it_goes() {
    let mut pair = Pair::linked().await;
    pair.heard().await;
    let verb = Store::connect(pair.bench.url(), 2).await.unwrap();
    verb.call_out();
    verb.create_run(pair.bench.new_run(), pair.bench.now)
        .await
        .unwrap();
    verb.close().await;
    let heard = pair.heard().await;
    let workers = heard.iter().filter(|said| said.channel() == "tidegate_workers");
    assert_eq!(workers.count(), 1, "{heard:?}");
    pair.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_stands_in_no_transaction_and_holds_no_queue_up() {
    let mut pair = Pair::linked().await;
    for _ in 0..20 {
        pair.bench.run().await;
    }
    pair.heard().await;
    let (idle, usage): (bool, f64) = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "select bool_and(state = 'idle' and xact_start is null), pg_notification_queue_usage() {LISTENERS}"
    )))
    .fetch_one(pair.bench.store.pool())
    .await
    .unwrap();
    assert!(
        idle && usage < 0.01,
        "idle {idle}, the queue is filled by {usage}"
    );
    pair.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_while_a_listener_is_cut_is_noticed_all_the_same() {
    let pair = Pair::linked().await;
    let mut changes = pair.other.changes();
    let kill = || sqlx::AssertSqlSafe(format!("select count(pg_terminate_backend(pid)) {LISTENERS}"));
    let mut longest = Duration::ZERO;
    for _ in 0..25 {
        let killed: i64 = sqlx::query_scalar(kill())
            .fetch_one(pair.bench.store.pool())
            .await
            .unwrap();
        assert!(killed >= 1);
        changes.mark_unchanged();
        let begun = clock::monotonic();
        pair.bench.run().await;
        let noticed = tokio::time::timeout(Duration::from_secs(3), changes.changed()).await;
        noticed.expect("no later than a poll").unwrap();
        longest = longest.max(begun.elapsed());
        pair.wait_for_listeners(2).await;
    }
    println!("noticed after {longest:?} at most");
    pair.stop.cancel();
}
