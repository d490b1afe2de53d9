//! Tampering, as somebody with all rights could.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use serde_json::json;
use sqlx::{AssertSqlSafe, Executor};
use tidegate_test_fixtures::postgres::{self, Database};

use super::{Entry, append};
use crate::clock;
use crate::store::Store;
use crate::view::LedgerEntry;

struct Book {
    store: Store,
    _database: Database,
}

impl Book {
    async fn with(entries: i64) -> Self {
        let database = postgres::database().await;
        let store = Store::connect(&database.url, 8).await.unwrap();
        store.migrate().await.unwrap();
        let book = Self {
            store,
            _database: database,
        };
        for n in 1..=entries {
            book.append(n).await;
        }
        book
    }

    async fn append(&self, n: i64) -> LedgerEntry {
        let now = clock::now();
        self.store
            .transact(move |conn| {
                let entry = Entry {
                    kind: "approval_decided".to_owned(),
                    actor: format!("person {n}"),
                    run: (n % 2 == 0).then(clock::new_run_id),
                    body: json!({ "n": n, "b": 1.50, "a": "x\u{0}y" }),
                };
                Box::pin(async move { append(conn, entry, now).await })
            })
            .await
            .unwrap()
    }

    /// Does what only somebody who owns the database can.
    async fn tamper(&self, sql: &str) {
        let mut conn = self.store.pool().acquire().await.unwrap();
        let forced = format!("set session_replication_role = replica; {sql}; reset session_replication_role");
        conn.execute(AssertSqlSafe(forced)).await.unwrap();
    }

    async fn verdict(&self) -> Option<(i64, String)> {
        let report = self.store.verify_ledger().await.unwrap();
        report.broken.map(|b| (b.seq, b.why))
    }

    async fn expect(&self, seq: i64, words: &str) {
        match self.verdict().await {
            Some((at, why)) if at == seq && why.contains(words) => {}
            other => panic!("expected entry {seq}: … {words} …, got {other:?}"),
        }
        let findings = self.store.audit().await.unwrap();
        assert!(
            findings
                .iter()
                .any(|f| f.invariant == "the ledger's chain verifies"),
            "{findings:?}"
        );
    }
}

#[tokio::test]
async fn an_untouched_ledger_verifies_page_after_page() {
    let book = Book::with(0).await;
    let empty = book.store.verify_ledger().await.unwrap();
    assert_eq!(
        (empty.entries, empty.head, empty.broken),
        (0, "0".repeat(64), None)
    );
    let mut last = None;
    for n in 1..=super::PAGE + 1 {
        last = Some(book.append(n).await);
    }
    let last = last.unwrap();
    let report = book.store.verify_ledger().await.unwrap();
    assert_eq!((report.entries, report.broken), (super::PAGE + 1, None));
    assert_eq!(report.head, last.hash);
    assert_eq!(
        last.body,
        json!({ "n": super::PAGE + 1, "b": 1.5, "a": "x\\u0000y" })
    );
    assert_eq!(book.store.audit().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appenders_at_once_make_one_chain() {
    let book = Book::with(0).await;
    futures::future::join_all((0..40).map(|n| book.append(n))).await;
    let report = book.store.verify_ledger().await.unwrap();
    assert_eq!((report.entries, report.broken), (40, None));
}

#[tokio::test]
async fn an_entry_that_was_not_committed_leaves_no_hole() {
    let book = Book::with(2).await;
    let given_up: Result<(), _> = book
        .store
        .transact(|conn| {
            Box::pin(async move {
                let entry = Entry {
                    kind: "k".to_owned(),
                    actor: "a".to_owned(),
                    run: None,
                    body: json!(null),
                };
                append(conn, entry, clock::now()).await?;
                Err(crate::store::StoreError::Stale)
            })
        })
        .await;
    assert!(given_up.is_err());
    book.append(3).await;
    assert_eq!(book.verdict().await, None);
}

#[tokio::test]
async fn nobody_changes_it_in_passing() {
    let book = Book::with(2).await;
    for sql in [
        "update ledger set actor = 'x'",
        "delete from ledger",
        "truncate ledger",
    ] {
        let refused = book.store.pool().execute(sql).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{sql}: {refused}");
    }
}

#[tokio::test]
async fn the_first_bad_row_is_named_with_what_is_wrong_with_it() {
    for (sql, seq, words) in [
        (
            "update ledger set body = '{\"n\":9}' where seq = 3",
            3,
            "was changed",
        ),
        (
            "update ledger set actor = 'mallory' where seq = 1",
            1,
            "was changed",
        ),
        ("update ledger set run = null where seq = 2", 2, "was changed"),
        (
            "update ledger set at = at - interval '1 microsecond' where seq = 5",
            5,
            "was changed",
        ),
        (
            "delete from ledger where seq = 3",
            3,
            "missing: the entry found next is 4",
        ),
        ("delete from ledger where seq = 1", 1, "missing"),
        (
            "delete from ledger where seq > 3",
            4,
            "cut off: the head names entry 5",
        ),
        ("delete from ledger", 1, "cut off"),
        ("update ledger_head set seq = 4", 5, "after the head"),
        ("update ledger_head set hash = repeat('f', 64)", 5, "another hash"),
        ("delete from ledger_head", 5, "gone"),
    ] {
        let book = Book::with(5).await;
        book.tamper(sql).await;
        book.expect(seq, words).await;
    }
}

#[tokio::test]
async fn an_entry_that_was_rehashed_gives_itself_away_at_the_next() {
    let book = Book::with(3).await;
    let mut forged = super::Entered::read(
        &sqlx::query("select * from ledger where seq = 2")
            .fetch_one(book.store.pool())
            .await
            .unwrap(),
    )
    .unwrap();
    forged.actor = "mallory".to_owned();
    let sql = format!(
        "update ledger set actor = 'mallory', hash = '{}' where seq = 2",
        forged.digest()
    );
    book.tamper(&sql).await;
    book.expect(3, "does not follow entry 2").await;
}
