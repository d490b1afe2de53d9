//! What an attempt said is there, in order and within bounds, whatever PostgreSQL did meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_test_fixtures::postgres::Cluster;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::pages::LOG_CAP;
use super::{EVERY, Scribe, write};
use crate::clock;
use crate::plan::Outcome;
use crate::plugin::{Emission, Level};
use crate::store::claim::Claim;
use crate::store::leases::Holder;
use crate::store::tests::{Bench, task};

/// Attempts that are running, and a scribe who listens to them.
struct Desk {
    bench: Bench,
    claims: Vec<Claim>,
    scribe: Arc<Scribe>,
    over: CancellationToken,
    writer: JoinHandle<()>,
}

impl Desk {
    async fn with(attempts: usize) -> Self {
        Self::on(Bench::with(tasks(attempts)).await).await
    }

    async fn on(bench: Bench) -> Self {
        bench.run().await;
        let mut claims = bench.claim(9).await;
        claims.sort_by_key(|claim| claim.idx);
        let (scribe, over) = (Arc::<Scribe>::default(), CancellationToken::new());
        claims.iter().for_each(|claim| scribe.open(claim.holder()));
        let writer = tokio::spawn(write(Arc::clone(&scribe), bench.store.clone(), over.clone()));
        Self {
            bench,
            claims,
            scribe,
            over,
            writer,
        }
    }

    fn holder(&self, attempt: usize) -> Holder {
        self.claims[attempt].holder()
    }

    fn say(&self, attempt: usize, text: impl Into<String>) {
        let (level, text) = (Level::Info, text.into());
        self.emit(attempt, Emission::Log { level, text });
    }

    fn emit(&self, attempt: usize, emission: Emission) {
        self.scribe.take_in(self.holder(attempt), emission, clock::now());
    }

    async fn close(&self, attempt: usize) {
        self.scribe.close(self.holder(attempt), clock::now()).await;
    }

    /// `(level, text)` in order.
    async fn log(&self, attempt: usize) -> Vec<(String, String)> {
        sqlx::query_as("select level, text from log where idx = $1 order by seq")
            .bind(attempt as i32)
            .fetch_all(self.bench.store.pool())
            .await
            .unwrap()
    }

    async fn texts(&self, attempt: usize) -> Vec<String> {
        self.log(attempt)
            .await
            .into_iter()
            .map(|(_, text)| text)
            .collect()
    }

    async fn wait_for(&self, what: &str, sql: &'static str) {
        for _ in 0..200 {
            let there: Result<bool, _> = sqlx::query_scalar(sql).fetch_one(self.bench.store.pool()).await;
            if there.is_ok_and(|there| there) {
                return;
            }
            clock::sleep(Duration::from_millis(50)).await;
        }
        panic!("waited 10 s for {what}");
    }

    async fn end(self) {
        self.over.cancel();
        self.writer.await.unwrap();
        self.bench.audit().await;
    }
}

fn tasks(attempts: usize) -> Vec<crate::graph::Task> {
    (0..attempts).map(|n| task(&format!("t{n}"), &[], 1)).collect()
}

#[tokio::test]
async fn lines_are_cut_cleaned_and_numbered() {
    let desk = Desk::with(1).await;
    desk.say(0, "one\r\ntwo\n");
    desk.say(0, "");
    desk.say(0, "nul\u{0}l");
    desk.say(0, "ö".repeat(9_000));
    desk.emit(
        0,
        Emission::Log {
            level: Level::Error,
            text: "oh".to_owned(),
        },
    );
    desk.close(0).await;
    desk.say(0, "after the end");
    let texts = desk.texts(0).await;
    assert_eq!(texts[..4], ["one", "two", "", "nul\\u0000l"]);
    assert_eq!([texts[4].len(), texts[5].len()], [16 << 10, 18_000 - (16 << 10)]);
    assert_eq!(desk.log(0).await[6..], [("error".to_owned(), "oh".to_owned())]);
    desk.end().await;
}

#[tokio::test]
async fn what_is_said_is_there_while_the_attempt_goes_on() {
    let desk = Desk::with(1).await;
    desk.say(0, "hello");
    desk.emit(0, Emission::Progress { done: 3, total: 4 });
    let metric = |step, value| Emission::Metric {
        name: "loss".to_owned(),
        value,
        step,
    };
    for (step, value) in [(1, 0.5), (2, 0.25), (2, 0.125), (3, f64::NAN)] {
        desk.emit(0, metric(step, value));
    }
    desk.wait_for("the line", "select exists (select from log where text = 'hello')")
        .await;
    desk.wait_for(
        "progress",
        "select exists (select from lease where progress is not null)",
    )
    .await;
    let progress: Value = sqlx::query_scalar("select progress from lease")
        .fetch_one(desk.bench.store.pool())
        .await
        .unwrap();
    assert_eq!(progress, json!({ "done": 3, "total": 4 }));
    desk.close(0).await;
    let values: Vec<(i64, f64)> = sqlx::query_as("select step, value from metric order by step")
        .fetch_all(desk.bench.store.pool())
        .await
        .unwrap();
    assert_eq!(values, [(1, 0.5), (2, 0.125)]);
    desk.end().await;
}

#[tokio::test]
async fn of_a_flood_the_beginning_and_the_end_are_kept_and_the_gap_is_told() {
    let desk = Desk::with(2).await;
    let padding = "x".repeat(1 << 10);
    let lines = 3 * LOG_CAP / (1 << 10);
    for n in 0..lines {
        desk.say(0, format!("{n} {padding}"));
    }
    desk.say(1, "a quiet one");
    desk.close(0).await;
    desk.close(1).await;
    assert_eq!(desk.texts(1).await, ["a quiet one"]);
    let log = desk.log(0).await;
    let marks: Vec<usize> = (0..log.len()).filter(|n| log[*n].0 == "mark").collect();
    let [notice, gap] = marks[..] else {
        panic!("{} marks", marks.len());
    };
    assert_eq!(gap, notice + 1, "nothing lies between the head and the tail");
    assert!(log[notice].1.contains("has reached 10 MB"), "{}", log[notice].1);
    let number = |at: usize| log[at].1.split(' ').next().unwrap().parse::<usize>().unwrap();
    assert!((0..notice).all(|n| number(n) == n), "the head is whole");
    let first = number(gap + 1);
    assert!(
        (gap + 1..log.len()).all(|n| number(n) == first + n - gap - 1),
        "the tail is whole"
    );
    assert_eq!(number(log.len() - 1), lines - 1);
    let missing: usize = (notice..first).map(|n| format!("{n} {padding}\n").len()).sum();
    assert_eq!(log[gap].1, format!("… {missing} bytes left out"));
    let written: usize = log.iter().map(|(_, text)| text.len()).sum();
    assert!((19 << 20..=20 << 20).contains(&written), "{written} bytes");
    desk.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgres_is_away_nothing_waits_and_what_had_no_room_is_told() {
    let mut cluster = Cluster::start();
    let desk = Desk::on(Bench::at(&cluster.url("postgres"), tasks(4)).await).await;
    (0..4).for_each(|n| desk.say(n, "before"));
    desk.wait_for("the lines", "select count(*) = 4 from log").await;
    cluster.stop_immediately();
    let padding = "x".repeat(10_000);
    let began = clock::monotonic();
    for line in 0..1_000 {
        (0..4).for_each(|n| desk.say(n, format!("{line} {padding}")));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "taking in never waits");
    cluster.start_again();
    desk.wait_for("room", "select count(*) > 3000 from log").await;
    for n in 0..4 {
        desk.say(n, "after");
        desk.close(n).await;
        let texts = desk.texts(n).await;
        assert_eq!(
            (texts[0].as_str(), texts[texts.len() - 1].as_str()),
            ("before", "after")
        );
        let told = &texts[texts.len() - 2];
        let kept = texts.len() - 3;
        let missing: usize = (kept..1_000)
            .map(|line| format!("{line} {padding}\n").len())
            .sum();
        assert_eq!(
            *told,
            format!("… {missing} bytes left out: the database did not take them")
        );
    }
    desk.end().await;
}

#[tokio::test]
async fn what_postgres_refuses_for_good_costs_only_itself() {
    let desk = Desk::with(1).await;
    sqlx::query("alter table log add constraint taste check (text <> 'poison')")
        .execute(desk.bench.store.pool())
        .await
        .unwrap();
    desk.say(0, "before");
    desk.wait_for("the line", "select exists (select from log)").await;
    desk.say(0, "poison");
    clock::sleep(EVERY * 4).await;
    desk.say(0, "after");
    desk.close(0).await;
    let told = "… 7 bytes left out: the database did not take them";
    assert_eq!(desk.texts(0).await, ["before", told, "after"]);
    desk.end().await;
}

#[tokio::test]
async fn an_attempt_that_lost_its_lease_is_no_longer_heard() {
    let desk = Desk::with(2).await;
    assert!(desk.bench.report(&desk.claims[0], Outcome::Succeeded).await);
    desk.say(0, "too late");
    desk.say(1, "in time");
    desk.wait_for("the line", "select exists (select from log)").await;
    let closing = clock::monotonic();
    desk.say(0, "still here");
    desk.close(0).await;
    desk.close(1).await;
    assert!(
        closing.elapsed() < Duration::from_secs(5),
        "nobody waits for what will not be written"
    );
    assert!(desk.log(0).await.is_empty());
    assert_eq!(desk.texts(1).await, ["in time"]);
    desk.end().await;
}
