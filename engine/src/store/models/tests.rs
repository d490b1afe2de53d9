//! Versions and aliases: who wins a race, who is deaf, and what a repeat finds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock;
use crate::plan::Outcome;
use crate::plugin::{AliasMove, Artifact, HostError, ModelVersion, NewVersion};
use crate::store::leases::Holder;
use crate::store::ledger::{Entry, append};
use crate::store::tests::{Bench, task};
use crate::store::{Result, StoreError};

fn new_version(model: &str, version: Option<i64>) -> NewVersion {
    NewVersion {
        model: model.to_owned(),
        version,
        source: "s3://bucket/model".to_owned(),
        sha256: None,
        external_run: None,
        facts: json!({ "ndcg": 0.4 }),
    }
}

fn to(version: i64, from: Option<i64>) -> AliasMove {
    AliasMove {
        model: "m".to_owned(),
        alias: "production".to_owned(),
        from,
        to: version,
    }
}

fn refusal<T: std::fmt::Debug>(result: Result<T>) -> HostError {
    match result {
        Err(StoreError::Host(error)) => error,
        Err(StoreError::Stale) => HostError::Stale,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn world_moved(expected: Option<i64>, now: Option<i64>) -> HostError {
    HostError::WorldMoved {
        model: "m".to_owned(),
        alias: "production".to_owned(),
        expected,
        now,
    }
}

/// Tasks that run beside each other, and a model with three versions.
struct Shop {
    bench: Bench,
    holders: Vec<Holder>,
}

impl Shop {
    async fn with(tasks: usize) -> Self {
        let bench = Bench::with((0..tasks + 3).map(|i| task(&format!("t{i}"), &[], 1)).collect()).await;
        bench.run().await;
        let mut claims = bench.claim(tasks + 3).await;
        claims.sort_by_key(|c| c.idx);
        for maker in claims.split_off(tasks) {
            let made = bench
                .store
                .register_version(maker.holder(), new_version("m", None), bench.now);
            made.await.unwrap();
            assert!(bench.report(&maker, Outcome::Succeeded).await);
        }
        Self {
            bench,
            holders: claims.iter().map(|c| c.holder()).collect(),
        }
    }

    async fn begin(&self, holder: Holder, wanted: &AliasMove) -> Result<crate::plugin::MoveTicket> {
        self.bench.store.begin_move(holder, wanted.clone()).await
    }

    async fn finish(&self, holder: Holder, wanted: &AliasMove) -> Result<ModelVersion> {
        self.bench
            .store
            .finish_move(holder, wanted.clone(), clock::now())
            .await
    }

    async fn promote(&self, holder: Holder, wanted: &AliasMove) -> Result<ModelVersion> {
        let ticket = self.begin(holder, wanted).await?;
        self.finish(holder, &ticket.wanted).await
    }

    async fn points_to(&self, alias: &str) -> Option<i64> {
        let found = self.bench.store.model_at("m", alias).await.unwrap();
        found.map(|v| v.version)
    }

    /// `(kind, actor, body)` of all ledger entries but the decisions of people, and that the flow was applied.
    async fn ledger(&self) -> Vec<(String, String, Value)> {
        sqlx::query_as(
            "select kind, actor, body::jsonb from ledger where kind not in ('approval_decided', 'flow_applied') order by seq",
        )
        .fetch_all(self.bench.store.pool())
        .await
        .unwrap()
    }

    async fn execute(&self, sql: &'static str, holder: Holder) {
        sqlx::query(sql)
            .bind(holder.run.0)
            .bind(holder.idx as i32)
            .execute(self.bench.store.pool())
            .await
            .unwrap();
    }

    /// Ends the lease of an attempt and gives its task run to another.
    async fn lose(&self, holder: Holder) -> Holder {
        let ended =
            "update lease set until = clock_timestamp() - interval '1 second' where run = $1 and idx = $2";
        self.execute(ended, holder).await;
        assert_eq!(self.bench.store.reap(self.bench.now).await.unwrap(), 1);
        self.bench.claim(1).await.remove(0).holder()
    }

    /// An approval, given by two people on what production was then, that opened the gate of a task run.
    async fn approved(&self, holder: Holder, production: Option<i64>) -> Uuid {
        let (id, pool) = (clock::new_id(), self.bench.store.pool());
        let evidence = json!({ "world": { "alias": "m@production", "version": production } }).to_string();
        let digest = hex::encode(Sha256::digest(&evidence));
        sqlx::query(
            "insert into approval (id, run, idx, flow, task, state, evidence, digest, requester, by, required,
               allow_requester, asked_at, expires_at, on_expire, closed_at)
             values ($1, $2, $3, 'f', 't', 'approved', $4::text::json, $5, 'test', '{}', 2, false, now(), now(), 'reject', now())",
        )
        .bind(id)
        .bind(holder.run.0)
        .bind(holder.idx as i32)
        .bind(evidence)
        .bind(&digest)
        .execute(pool)
        .await
        .unwrap();
        for (actor, second) in [("berta", 2), ("anna", 1)] {
            sqlx::query(
                "insert into vote values ($1, $2, 'approve', null, $4, now() + $3 * interval '1 second')",
            )
            .bind(id)
            .bind(actor)
            .bind(second)
            .bind(&digest)
            .execute(pool)
            .await
            .unwrap();
        }
        self.bench
            .store
            .transact(move |conn| {
                let entry = Entry {
                    kind: "approval_decided".to_owned(),
                    actor: "anna".to_owned(),
                    run: Some(holder.run),
                    body: json!({ "approval": id }),
                };
                Box::pin(async move { append(conn, entry, clock::now()).await })
            })
            .await
            .unwrap();
        sqlx::query("update task_run set opened_by = $3 where run = $1 and idx = $2")
            .bind(holder.run.0)
            .bind(holder.idx as i32)
            .bind(id)
            .execute(pool)
            .await
            .unwrap();
        id
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_run_registers_one_version_however_often_it_asks() {
    let shop = Shop::with(20).await;
    let store = &shop.bench.store;
    let register = |holder| store.register_version(holder, new_version("m", None), clock::now());
    let made = futures::future::join_all(shop.holders.iter().map(|h| register(*h))).await;
    let mut numbers: Vec<i64> = made.into_iter().map(|v| v.unwrap().version).collect();
    let again = register(shop.holders[7]).await.unwrap();
    assert_eq!(again.version, numbers[7]);
    numbers.sort_unstable();
    assert_eq!(numbers, (4..24).collect::<Vec<_>>(), "three were there");
    let found = store.model_version("m", again.version).await.unwrap();
    assert_eq!(found, Some(again));
    assert_eq!(store.model_version("m", 99).await.unwrap(), None);
    assert_eq!(store.model_version("other", 1).await.unwrap(), None);
}

#[tokio::test]
async fn a_number_given_by_another_registry_means_one_version() {
    let shop = Shop::with(4).await;
    let store = &shop.bench.store;
    let register = |n: usize, version| store.register_version(shop.holders[n], version, clock::now());
    let first = register(0, new_version("m", Some(17))).await.unwrap();
    assert_eq!(first.version, 17);
    assert_eq!(register(1, new_version("m", Some(17))).await.unwrap(), first);
    let mut other = new_version("m", Some(17));
    other.source = "s3://elsewhere".to_owned();
    let why = refusal(register(2, other).await).to_string();
    assert!(why.contains("m v17 is registered already"), "{why}");
    let none = refusal(register(2, new_version("m", Some(0))).await).to_string();
    assert!(none.contains("from 1"), "{none}");
    let unnamed = refusal(register(2, new_version("a@b", None)).await).to_string();
    assert!(unnamed.contains("can't name a model"), "{unnamed}");
    assert_eq!(register(3, new_version("m", None)).await.unwrap().version, 18);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_promotions_from_the_same_version_one_wins() {
    let shop = Shop::with(51).await;
    shop.promote(shop.holders[50], &to(1, None)).await.unwrap();
    let race = shop.holders[..50].iter().enumerate().map(|(n, holder)| {
        let (shop, wanted) = (&shop, to(2 + n as i64 % 2, Some(1)));
        async move {
            loop {
                match shop.promote(*holder, &wanted).await {
                    Ok(_) => return Some((*holder, wanted.to)),
                    Err(StoreError::Host(HostError::Busy { .. })) => tokio::task::yield_now().await,
                    other => {
                        assert_eq!(
                            refusal(other),
                            world_moved(Some(1), shop.points_to("production").await)
                        );
                        return None;
                    }
                }
            }
        }
    });
    let winners: Vec<_> = futures::future::join_all(race)
        .await
        .into_iter()
        .flatten()
        .collect();
    let [(winner, version)] = winners[..] else {
        panic!("{} promotions won", winners.len());
    };
    assert_eq!(shop.points_to("production").await, Some(version));
    assert_eq!(shop.points_to("previous").await, Some(1));
    let entries = shop.ledger().await;
    assert_eq!(entries.len(), 2, "{entries:?}");
    let expected = json!({ "model": "m", "alias": "production", "from": 1, "to": version,
        "task": format!("f/t{}", winner.idx), "approval": null, "evidence": null });
    assert_eq!(
        entries[1],
        ("alias_moved".to_owned(), "test".to_owned(), expected)
    );
    shop.bench.audit().await;
}

#[tokio::test]
async fn a_lock_keeps_others_out_while_its_lease_lives_and_no_longer() {
    let shop = Shop::with(3).await;
    let [a, b, c] = shop.holders[..] else {
        unreachable!()
    };
    let busy = HostError::Busy {
        model: "m".to_owned(),
        alias: "production".to_owned(),
    };
    shop.begin(a, &to(1, None)).await.unwrap();
    shop.begin(a, &to(1, None))
        .await
        .expect("asking again is no harm");
    assert_eq!(refusal(shop.begin(b, &to(2, None)).await), busy);
    shop.bench.store.abandon_move(a, to(1, None)).await.unwrap();
    shop.begin(b, &to(2, None)).await.unwrap();
    let heir = shop.lose(b).await;
    shop.begin(c, &to(3, None)).await.unwrap();
    assert_eq!(refusal(shop.begin(heir, &to(2, None)).await), busy);
    let why = refusal(shop.finish(heir, &to(2, None)).await).to_string();
    assert!(why.contains("does not hold the lock on m@production"), "{why}");
    shop.finish(c, &to(3, None)).await.unwrap();
    assert_eq!(
        refusal(shop.begin(heir, &to(2, None)).await),
        world_moved(None, Some(3))
    );
    assert_eq!(shop.points_to("previous").await, None);
    shop.bench.audit().await;
}

#[tokio::test]
async fn a_zombie_writes_nothing_anywhere() {
    let shop = Shop::with(1).await;
    let (store, zombie) = (&shop.bench.store, shop.holders[0]);
    shop.begin(zombie, &to(1, None)).await.unwrap();
    let ended =
        "update lease set until = clock_timestamp() - interval '1 second' where run = $1 and idx = $2";
    shop.execute(ended, zombie).await;
    for heir in [None, Some(())] {
        if heir.is_some() {
            shop.lose(zombie).await;
        }
        let now = clock::now();
        let artifact = Artifact {
            name: "a".to_owned(),
            uri: "file:///a".to_owned(),
            size: 1,
            sha256: "0".repeat(64),
        };
        let note = ("f/t0".to_owned(), "note".to_owned(), json!(1));
        let mut said = vec![
            refusal(
                store
                    .register_version(zombie, new_version("new", None), now)
                    .await,
            ),
            refusal(shop.begin(zombie, &to(1, None)).await),
            refusal(shop.finish(zombie, &to(1, None)).await),
            refusal(store.abandon_move(zombie, to(1, None)).await),
            refusal(store.record_artifact(zombie, artifact, now).await),
            refusal(store.note_in_ledger(zombie, note, now).await),
        ];
        said.retain(|error| *error != HostError::Stale);
        assert_eq!(said, []);
    }
    let written = "select (select count(*) from model where name = 'new') + (select count(*) from artifact)
                     + (select count(*) from ledger where kind <> 'flow_applied') + (select count(*) from alias_move)";
    let rows: i64 = sqlx::query_scalar(written).fetch_one(store.pool()).await.unwrap();
    assert_eq!(rows, 0);
    assert_eq!(shop.points_to("production").await, None);
    shop.bench.audit().await;
}

#[tokio::test]
async fn what_was_done_before_a_crash_is_not_done_again() {
    let shop = Shop::with(3).await;
    let [first, mover, other] = shop.holders[..] else {
        unreachable!()
    };
    shop.promote(first, &to(1, None)).await.unwrap();
    let answer = shop.promote(mover, &to(2, Some(1))).await.unwrap();
    assert_eq!(
        shop.finish(mover, &to(2, Some(1))).await.unwrap(),
        answer,
        "its reply was lost"
    );
    let heir = shop.lose(mover).await;
    // It reads where the alias points now, and wants to start from there.
    let ticket = shop.begin(heir, &to(2, Some(2))).await.unwrap();
    assert!(ticket.done_before);
    assert_eq!(
        ticket.wanted,
        to(2, Some(1)),
        "what is left to repair outside started from v1"
    );
    assert_eq!(shop.finish(heir, &ticket.wanted).await.unwrap(), answer);
    assert_eq!(shop.ledger().await.len(), 2);
    shop.bench.store.abandon_move(heir, ticket.wanted).await.unwrap();
    shop.promote(other, &to(3, Some(2))).await.unwrap();
    assert_eq!(
        refusal(shop.begin(heir, &to(2, Some(3))).await),
        world_moved(Some(2), Some(3))
    );
    assert_eq!(
        shop.points_to("production").await,
        Some(3),
        "somebody else's move stands"
    );
    shop.bench.audit().await;
}

#[tokio::test]
async fn an_approval_opens_the_way_only_from_what_it_showed() {
    let shop = Shop::with(3).await;
    let [first, mover, other] = shop.holders[..] else {
        unreachable!()
    };
    shop.promote(first, &to(1, None)).await.unwrap();
    shop.approved(mover, Some(1)).await;
    shop.promote(other, &to(2, Some(1))).await.unwrap();
    let stale = refusal(shop.begin(mover, &to(3, Some(2))).await);
    assert_eq!(
        stale,
        world_moved(Some(1), Some(2)),
        "people saw v1 in production"
    );
    let approval = shop.approved(mover, Some(2)).await;
    shop.promote(mover, &to(3, Some(2))).await.unwrap();
    let (kind, actor, body) = shop.ledger().await.remove(2);
    assert_eq!((kind.as_str(), actor.as_str()), ("alias_moved", "anna, berta"));
    let digest: String = sqlx::query_scalar("select digest from approval where id = $1")
        .bind(approval)
        .fetch_one(shop.bench.store.pool())
        .await
        .unwrap();
    assert_eq!(
        (&body["approval"], &body["evidence"]),
        (&json!(approval), &json!(digest))
    );
    let told: (String, Option<Uuid>) =
        sqlx::query_as("select actor, approval from alias_move where alias = 'production' and number = 3")
            .fetch_one(shop.bench.store.pool())
            .await
            .unwrap();
    assert_eq!(told, ("anna, berta".to_owned(), Some(approval)));
    shop.bench.audit().await;
}

#[tokio::test]
async fn a_task_whose_gate_was_asked_anew_may_move_the_alias_once_more() {
    let shop = Shop::with(2).await;
    let [mover, other] = shop.holders[..] else {
        unreachable!()
    };
    shop.approved(mover, None).await;
    shop.promote(mover, &to(1, None)).await.unwrap();
    let heir = shop.lose(mover).await;
    shop.promote(other, &to(2, Some(1))).await.unwrap();
    assert_eq!(
        refusal(shop.begin(heir, &to(1, Some(2))).await),
        world_moved(Some(1), Some(2))
    );
    shop.approved(heir, Some(2)).await;
    shop.promote(heir, &to(1, Some(2))).await.unwrap();
    assert_eq!(shop.points_to("production").await, Some(1));
    shop.bench.audit().await;
}

#[tokio::test]
async fn what_cannot_be_moved_is_refused_in_words() {
    let shop = Shop::with(1).await;
    let holder = shop.holders[0];
    let with = |change: &dyn Fn(&mut AliasMove)| {
        let mut wanted = to(1, None);
        change(&mut wanted);
        wanted
    };
    for (wanted, words) in [
        (with(&|m| m.to = 9), "m has no version 9"),
        (with(&|m| m.model = "none".to_owned()), "no model is called none"),
        (
            with(&|m| m.alias = "previous".to_owned()),
            "follows the others by itself",
        ),
        (with(&|m| m.alias = String::new()), "can't name an alias"),
    ] {
        let why = refusal(shop.begin(holder, &wanted).await).to_string();
        assert!(why.contains(words), "{why}");
    }
    let unbegun = refusal(shop.finish(holder, &to(1, None)).await).to_string();
    assert!(unbegun.contains("begin the move first"), "{unbegun}");
    assert_eq!(
        shop.begin(holder, &to(1, Some(1)))
            .await
            .map_err(|e| refusal::<()>(Err(e)))
            .unwrap_err(),
        world_moved(Some(1), None)
    );
    shop.promote(holder, &to(1, None)).await.unwrap();
    shop.bench.audit().await;
}
