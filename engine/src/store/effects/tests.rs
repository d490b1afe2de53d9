//! What attempts leave behind: who may write, in which order, and how a log ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use serde_json::{Value, json};

use super::{Batch, LOST, Line, MARK, Point, Progress};
use crate::plan::Outcome;
use crate::plugin::{Artifact, HostError};
use crate::store::StoreError;
use crate::store::leases::Holder;
use crate::store::tests::{Bench, task};

fn line(holder: Holder, seq: i64, text: &str) -> Line {
    Line {
        holder,
        seq,
        at: crate::clock::now(),
        level: "info",
        text: text.to_owned(),
    }
}

fn point(holder: Holder, step: i64, value: f64) -> Point {
    Point {
        holder,
        name: "loss".to_owned(),
        step,
        value,
        at: crate::clock::now(),
    }
}

async fn lines(bench: &Bench, holder: Holder) -> Vec<(i64, String, String)> {
    sqlx::query_as("select seq, level, text from log where run = $1 and idx = $2 and epoch = $3 order by seq")
        .bind(holder.run.0)
        .bind(holder.idx as i32)
        .bind(holder.epoch)
        .fetch_all(bench.store.pool())
        .await
        .unwrap()
}

fn said(seq: i64, level: &str, text: &str) -> (i64, String, String) {
    (seq, level.to_owned(), text.to_owned())
}

#[tokio::test]
async fn a_batch_writes_for_those_who_hold_their_lease_and_may_be_repeated() {
    let bench = Bench::with(vec![task("a", &[], 1), task("b", &[], 1)]).await;
    bench.run().await;
    let claims = bench.claim(2).await;
    let (a, b) = (claims[0].holder(), claims[1].holder());
    let batch = Batch {
        lines: vec![line(a, 1, "one"), line(b, 1, "eins"), line(a, 2, "two")],
        points: vec![point(a, 1, 0.5), point(b, 1, 0.25)],
    };
    let held = bench.store.write_batch(batch.clone().into()).await.unwrap();
    assert_eq!(held.into_iter().collect::<Vec<_>>(), [a, b]);
    assert!(bench.report(&claims[1], Outcome::Succeeded).await);
    let mut again = batch;
    again.lines.push(line(b, 2, "zwei"));
    again.points = vec![point(a, 1, 0.75), point(b, 1, 9.0)];
    let held = bench.store.write_batch(again.into()).await.unwrap();
    assert_eq!(held.into_iter().collect::<Vec<_>>(), [a], "b has ended");
    assert_eq!(
        lines(&bench, a).await,
        [said(1, "info", "one"), said(2, "info", "two")]
    );
    assert_eq!(lines(&bench, b).await, [said(1, "info", "eins")]);
    let values: Vec<f64> = sqlx::query_scalar("select value from metric order by idx")
        .fetch_all(bench.store.pool())
        .await
        .unwrap();
    assert_eq!(values, [0.75, 0.25], "the last value of a step wins");
    bench.audit().await;
}

#[tokio::test]
async fn the_log_of_a_lost_attempt_says_so_at_its_end_and_then_no_more() {
    let bench = Bench::with(vec![task("a", &[], 1), task("b", &[], 1)]).await;
    bench.run().await;
    let claims = bench.claim(2).await;
    let (a, b) = (claims[0].holder(), claims[1].holder());
    let batch = Batch {
        lines: vec![line(a, 1, "one"), line(a, 2, "two")],
        points: Vec::new(),
    };
    bench.store.write_batch(batch.into()).await.unwrap();
    bench.expire_leases().await;
    let late = Batch {
        lines: vec![line(a, 3, "three")],
        points: vec![point(a, 1, 1.0)],
    };
    assert!(
        bench
            .store
            .write_batch(late.clone().into())
            .await
            .unwrap()
            .is_empty(),
        "an expired lease"
    );
    assert_eq!(bench.store.reap(bench.now).await.unwrap(), 2);
    assert!(
        bench.store.write_batch(late.into()).await.unwrap().is_empty(),
        "a lost one"
    );
    let expected = [
        said(1, "info", "one"),
        said(2, "info", "two"),
        said(3, MARK, LOST),
    ];
    assert_eq!(lines(&bench, a).await, expected);
    assert_eq!(
        lines(&bench, b).await,
        [said(1, MARK, LOST)],
        "it had said nothing"
    );
    let heir = bench.claim(1).await.remove(0).holder();
    let batch = Batch {
        lines: vec![line(heir, 1, "anew")],
        points: Vec::new(),
    };
    bench.store.write_batch(batch.into()).await.unwrap();
    assert_eq!(lines(&bench, heir).await, [said(1, "info", "anew")]);
    bench.audit().await;
}

#[tokio::test]
async fn a_gap_and_a_foreign_epoch_are_found_by_the_auditor() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    bench.run().await;
    let holder = bench.claim(1).await.remove(0).holder();
    let batch = Batch {
        lines: vec![line(holder, 1, "one"), line(holder, 3, "three")],
        points: Vec::new(),
    };
    bench.store.write_batch(batch.into()).await.unwrap();
    sqlx::query("insert into metric select run, idx, epoch + 1, 'm', 1, 1, now() from lease")
        .execute(bench.store.pool())
        .await
        .unwrap();
    let found: Vec<&str> = bench
        .store
        .audit()
        .await
        .unwrap()
        .iter()
        .map(|f| f.invariant)
        .collect();
    assert_eq!(
        found,
        [
            "the number of a log line has no gap",
            "nothing was written under an epoch that was never given"
        ]
    );
}

#[tokio::test]
async fn progress_lies_on_the_lease_of_its_own_epoch() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    bench.run().await;
    let zombie = bench.claim(1).await.remove(0).holder();
    bench.expire_leases().await;
    bench.store.reap(bench.now).await.unwrap();
    let holder = bench.claim(1).await.remove(0).holder();
    let progress = |holder, done| Progress {
        holder,
        done,
        total: 10,
    };
    bench.store.write_progress(&[progress(holder, 4)]).await.unwrap();
    bench.store.write_progress(&[progress(zombie, 9)]).await.unwrap();
    bench.store.write_progress(&[]).await.unwrap();
    let seen: Value = sqlx::query_scalar("select progress from lease")
        .fetch_one(bench.store.pool())
        .await
        .unwrap();
    assert_eq!(seen, json!({ "done": 4, "total": 10 }));
}

#[tokio::test]
async fn an_artifact_must_be_findable_and_the_auditor_reads_it_again() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    bench.run().await;
    let claim = bench.claim(1).await.remove(0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, "weights").unwrap();
    let (size, sha256) = crate::plugin::digest_file(path.clone()).await.unwrap();
    let good = Artifact {
        name: "model".to_owned(),
        uri: format!("file://{}", path.display()),
        size,
        sha256,
    };
    let record = |artifact| bench.store.record_artifact(claim.holder(), artifact, bench.now);
    for (change, words) in [
        (
            (|a: &mut Artifact| a.uri = "/etc/passwd".to_owned()) as fn(&mut Artifact),
            "file://",
        ),
        (|a| a.name = String::new(), "1 to 255 bytes"),
        (|a| a.sha256 = "ABC".to_owned(), "64 hex digits"),
        (|a| a.size = u64::MAX, "no file has"),
    ] {
        let mut bad = good.clone();
        change(&mut bad);
        match record(bad).await {
            Err(StoreError::Host(HostError::Refused { message })) if message.contains(words) => {}
            other => panic!("{words}: {other:?}"),
        }
    }
    record(good.clone()).await.unwrap();
    record(good).await.unwrap();
    assert!(bench.report(&claim, Outcome::Succeeded).await);
    bench.audit().await;
    std::fs::write(&path, "weighty").unwrap();
    let found = bench.store.audit().await.unwrap();
    assert!(
        found.len() == 1 && found[0].detail.contains("7 bytes"),
        "{found:?}"
    );
    std::fs::remove_file(&path).unwrap();
    let found = bench.store.audit().await.unwrap();
    assert!(
        found.len() == 1 && found[0].detail.contains("No such file"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_ledger_entry_of_a_task_is_written_once_per_call_and_never_as_the_engines() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    bench.run().await;
    let holder = bench.claim(1).await.remove(0).holder();
    let note = |kind: &str, now| {
        let what = ("f/a".to_owned(), kind.to_owned(), json!({ "rows": 3 }));
        bench.store.note_in_ledger(holder, what, now)
    };
    let first = crate::clock::now();
    let second = first.checked_add(std::time::Duration::from_micros(1)).unwrap();
    note("rows_erased", first).await.unwrap();
    note("rows_erased", first).await.unwrap();
    note("rows_erased", second).await.unwrap();
    for kind in [
        "alias_moved",
        "approval_decided",
        "db_pruned",
        "flow_applied",
        "",
        "Bad Kind",
    ] {
        assert!(note(kind, first).await.is_err(), "{kind}");
    }
    let entries: Vec<(String, String)> =
        sqlx::query_as("select actor, body from ledger where kind = 'rows_erased' order by seq")
            .fetch_all(bench.store.pool())
            .await
            .unwrap();
    let entry = (
        "task:f/a".to_owned(),
        "{\"data\":{\"rows\":3},\"epoch\":1}".to_owned(),
    );
    assert_eq!(entries, [entry.clone(), entry]);
    bench.audit().await;
}
