//! What people are shown, against what happened.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde_json::json;

use super::{LogCursor, RunFilter, short_id};
use crate::id::RunId;
use crate::plan::Outcome;
use crate::state::Reason;
use crate::store::StoreError;
use crate::store::tests::{Bench, report, task};

async fn bench() -> Bench {
    Bench::with(vec![
        task("pull", &[], 2),
        task("train", &[0], 1),
        task("log", &[1], 1),
    ])
    .await
}

#[tokio::test]
async fn a_run_is_shown_with_its_tasks_their_outputs_and_what_went_wrong() {
    let bench = bench().await;
    let id = bench.run().await;
    let claim = bench.claim(1).await.remove(0);
    assert!(bench.report(&claim, Outcome::Succeeded).await);
    let claim = bench.claim(1).await.remove(0);
    let mut failed = report(
        &claim,
        Outcome::Failed {
            reason: Reason::Error,
            again: false,
        },
    );
    failed.message = Some("no GPU".to_owned());
    bench.store.advance(vec![failed], None, bench.now).await.unwrap();
    let run = bench.store.run(id, bench.now).await.unwrap().unwrap();
    assert_eq!(
        (run.summary.state.as_str(), run.summary.tasks_done),
        ("failed", 3)
    );
    let told: Vec<_> = run
        .tasks
        .iter()
        .map(|t| {
            (
                t.name.as_str(),
                t.state.as_str(),
                t.message.as_deref(),
                t.outputs.clone(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("pull", "succeeded", None, Some(json!({ "by": 0 }))),
            ("train", "failed", Some("no GPU"), None),
            ("log", "skipped", None, None),
        ]
    );
    assert_eq!(run.tasks[2].needs, ["train"]);
    let events = bench.store.events(id, 0).await.unwrap();
    assert_eq!(events.last().unwrap().kind, "run_failed");
    assert_eq!(bench.store.events(id, events.len() as i64).await.unwrap(), []);
    assert_eq!(
        bench
            .store
            .run(RunId(uuid::Uuid::nil()), bench.now)
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn runs_come_in_pages_newest_first_and_by_state() {
    let bench = bench().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(bench.run().await.0);
    }
    ids.reverse();
    let mut filter = RunFilter {
        limit: 2,
        ..RunFilter::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = bench.store.runs(&filter, bench.now).await.unwrap();
        seen.extend(page.items.iter().map(|run| run.id));
        let Some(next) = page.next else { break };
        filter.before = Some(next.parse().unwrap());
    }
    assert_eq!(seen, ids);
    let queued = RunFilter {
        states: vec!["queued".to_owned()],
        limit: 50,
        ..RunFilter::default()
    };
    let page = bench.store.runs(&queued, bench.now).await.unwrap();
    assert_eq!(page.items.len(), 4, "one is active, the others wait for room");
}

#[tokio::test]
async fn a_run_is_found_by_what_people_type() {
    let bench = bench().await;
    let id = bench.run().await;
    let text = id.to_string();
    assert_eq!(bench.store.find_run(&text).await.unwrap(), id);
    assert_eq!(bench.store.find_run(&short_id(id.0)).await.unwrap(), id);
    assert_eq!(bench.store.find_run(&text[..13]).await.unwrap(), id);
    for wrong in ["", "12345", "zzzzzzzz", "' or true", "00000000"] {
        let found = bench.store.find_run(wrong).await;
        assert!(
            matches!(found, Err(StoreError::NotFound { .. })),
            "{wrong}: {found:?}"
        );
    }
}

#[tokio::test]
async fn flows_show_their_newest_runs() {
    let bench = bench().await;
    let id = bench.run().await;
    let flows = bench.store.flows(bench.now).await.unwrap();
    assert_eq!(flows.len(), 1);
    assert_eq!((flows[0].name.as_str(), flows[0].number), ("f", 1));
    assert_eq!(flows[0].recent[0].id, id.0);
    assert!(bench.store.flow("g", bench.now).await.unwrap().is_none());
    assert_eq!(bench.store.schedules(bench.now).await.unwrap(), []);
    assert_eq!(bench.store.models().await.unwrap(), []);
    assert_eq!(bench.store.approvals(true, (None, 10)).await.unwrap().items, []);
}

#[tokio::test]
async fn a_reader_of_a_log_passes_over_no_line_that_comes_late() {
    let bench = bench().await;
    let id = bench.run().await;
    let write = |idx: i32, seq: i64| {
        sqlx::query(
            "insert into log (day, run, idx, epoch, seq, at, level, text)
             values ($1, $2, $3, 1, $4, clock_timestamp(), 'info', 'line ' || $4)",
        )
        .bind(crate::store::day_of(id))
        .bind(id.0)
        .bind(idx)
        .bind(seq)
        .execute(bench.store.pool())
    };
    write(1, 1).await.unwrap();
    let mut cursor = LogCursor::default();
    let read = bench.store.log_lines(id, None, (&mut cursor, 10)).await.unwrap();
    assert_eq!(read.len(), 1);
    write(0, 1).await.unwrap();
    write(1, 2).await.unwrap();
    let mut cursor: LogCursor = cursor.to_string().parse().unwrap();
    let read = bench.store.log_lines(id, None, (&mut cursor, 10)).await.unwrap();
    let told: Vec<_> = read.iter().map(|l| (l.task.as_str(), l.seq)).collect();
    assert_eq!(told, [("pull", 1), ("train", 2)]);
    assert_eq!(
        bench.store.log_lines(id, None, (&mut cursor, 10)).await.unwrap(),
        []
    );
    let none = bench.store.log_lines(id, Some("nope"), (&mut cursor, 10)).await;
    assert!(matches!(none, Err(StoreError::NotFound { .. })));
    assert!("1.2".parse::<LogCursor>().is_err());
}
