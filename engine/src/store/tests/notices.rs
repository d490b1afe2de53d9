//! What people are to be told: with the run's own transaction, once, until it is delivered or given up.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{Bench, FAILS, flow, report, task};
use crate::clock;
use crate::gate::{ApprovalSpec, Evidence};
use crate::graph::{Moment, Notify};
use crate::id::{FlowName, RunId, VersionHash};
use crate::plan::Outcome;
use crate::state::Reason;
use crate::store::advance::Report;
use crate::store::approvals::{Ask, Reached};
use crate::store::flows::NewVersion;
use crate::store::leases::Holder;
use crate::store::notices::{Parcel, TRIES};
use crate::store::{Store, StoreError};

async fn told_of(on: &[Moment]) -> Bench {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let mut flow = flow(vec![task("a", &[], 1)]);
    flow.expected = Some(Duration::from_secs(60));
    let to = |channel: &str| Notify {
        on: on.to_vec(),
        to: channel.to_owned(),
    };
    flow.notify = vec![to("ops"), to("team"), to("ops")];
    let version = NewVersion {
        flow,
        hash: VersionHash(format!("{:064x}", 77)),
        path: "f.toml".to_owned(),
        source: String::new(),
        actor: "test".to_owned(),
    };
    bench.store.apply_version(version, bench.now).await.unwrap();
    bench
}

async fn take(store: &Store, now: Timestamp) -> Vec<Parcel> {
    let mut parcels = store.take_notices(100, now).await.unwrap();
    parcels.sort_by(|a, b| a.channel.cmp(&b.channel));
    parcels
}

fn words(parcels: &[Parcel]) -> Vec<String> {
    parcels
        .iter()
        .map(|p| format!("{} {}", p.channel, p.event))
        .collect()
}

async fn run_to(bench: &Bench, outcome: Outcome) -> RunId {
    let id = bench.run().await;
    let claim = bench.claim(1).await.remove(0);
    assert!(bench.report(&claim, outcome).await);
    id
}

#[tokio::test]
async fn each_channel_is_told_once_how_a_run_ended_and_only_what_it_wants_to_hear() {
    let bench = told_of(&[Moment::Failed]).await;
    let id = run_to(&bench, FAILS).await;
    run_to(&bench, Outcome::Succeeded).await;
    let parcels = take(&bench.store, bench.now).await;
    assert_eq!(words(&parcels), ["ops failed", "team failed"]);
    assert!(parcels.iter().all(|parcel| parcel.run == id && parcel.tries == 1));
    assert_eq!(take(&bench.store, bench.now).await, [], "somebody is at it");
    for parcel in &parcels {
        bench.store.settle_notice(parcel, None, bench.now).await.unwrap();
    }
    let later = bench.now.checked_add(Duration::from_secs(90_000)).unwrap();
    assert_eq!(take(&bench.store, later).await, []);
    bench.audit().await;
}

#[tokio::test]
async fn a_run_that_is_cancelled_says_so() {
    let bench = told_of(&[Moment::Cancelled, Moment::Rejected, Moment::Succeeded]).await;
    let id = bench.run().await;
    assert!(
        bench
            .store
            .cancel_run(id, Reason::Requested, bench.now)
            .await
            .unwrap()
    );
    assert_eq!(
        words(&take(&bench.store, bench.now).await),
        ["ops cancelled", "team cancelled"]
    );
    bench.audit().await;
}

#[tokio::test]
async fn a_try_that_failed_comes_again_later_until_it_is_given_up() {
    let bench = told_of(&[Moment::Failed]).await;
    let id = run_to(&bench, FAILS).await;
    let mut now = bench.now;
    let parcels = take(&bench.store, now).await;
    bench.store.settle_notice(&parcels[1], None, now).await.unwrap();
    let (first, mut parcel, mut pauses) = (parcels[0].id, parcels[0].clone(), Vec::new());
    for _ in 1..TRIES {
        bench
            .store
            .settle_notice(&parcel, Some("nobody home".to_owned()), now)
            .await
            .unwrap();
        let failed_at = now;
        parcel = loop {
            now = now.checked_add(Duration::from_secs(5)).unwrap();
            if let Some(again) = take(&bench.store, now).await.pop() {
                break again;
            }
        };
        pauses.push(now.duration_since(failed_at).as_secs());
        assert_eq!(parcel.id, first, "the receiver can tell a repeat");
    }
    assert_eq!(pauses[..4], [5, 10, 20, 40]);
    assert!(pauses.iter().all(|pause| *pause <= 3600));
    let shown = bench.store.run(id, now).await.unwrap().unwrap().notices;
    assert_eq!(
        (shown[0].state.as_str(), shown[0].error.as_deref()),
        ("pending", Some("nobody home"))
    );
    bench
        .store
        .settle_notice(&parcel, Some("still nobody".to_owned()), now)
        .await
        .unwrap();
    let dead = bench.store.run(id, now).await.unwrap().unwrap().notices;
    assert_eq!(
        (dead[0].state.as_str(), dead[0].channel.as_str(), dead[0].tries),
        ("dead", "ops", TRIES)
    );
    let checks = bench.store.checkup().await.unwrap();
    let told = checks.iter().find(|check| check.name == "channel ops").unwrap();
    assert_eq!(
        told.detail,
        "1 notice was given up within a week, the last one: still nobody"
    );
}

#[tokio::test]
async fn a_courier_that_died_leaves_its_notices_and_what_it_says_later_does_not_count() {
    let bench = told_of(&[Moment::Failed]).await;
    run_to(&bench, FAILS).await;
    let taken = take(&bench.store, bench.now).await;
    let later = bench.now.checked_add(Duration::from_secs(61)).unwrap();
    let again = take(&bench.store, later).await;
    assert_eq!(words(&again), words(&taken));
    bench
        .store
        .settle_notice(&taken[0], Some("late".to_owned()), later)
        .await
        .unwrap();
    bench.store.settle_notice(&again[0], None, later).await.unwrap();
    let states: Vec<String> = sqlx::query_scalar("select state from notice order by channel")
        .fetch_all(bench.store.pool())
        .await
        .unwrap();
    assert_eq!(states, ["delivered", "pending"]);
}

#[tokio::test]
async fn a_run_that_takes_longer_than_expected_is_told_of_once() {
    let mut bench = told_of(&[Moment::Overdue]).await;
    bench.run().await;
    bench.claim(1).await;
    assert_eq!(bench.store.tell_overdue(bench.now).await.unwrap(), 0);
    bench.now = bench.now.checked_add(Duration::from_secs(61)).unwrap();
    assert_eq!(bench.store.tell_overdue(bench.now).await.unwrap(), 1);
    assert_eq!(bench.store.tell_overdue(bench.now).await.unwrap(), 0);
    assert_eq!(
        words(&take(&bench.store, bench.now).await),
        ["ops overdue", "team overdue"]
    );
}

#[tokio::test]
async fn a_question_is_told_when_it_is_asked_and_at_each_reminder() {
    let bench = told_of(&[Moment::Waiting]).await;
    let run = bench.run().await;
    let claim = bench.claim(1).await.remove(0);
    let ask = Ask {
        id: clock::new_id(),
        evidence: Evidence {
            flow: FlowName::new("f").unwrap(),
            version: VersionHash(format!("{:064x}", 77)),
            run,
            task: crate::id::TaskName::new("a").unwrap(),
            rules: Vec::new(),
            outputs: std::collections::BTreeMap::new(),
            action: None,
            world: json!(null),
        },
        spec: ApprovalSpec {
            remind: Some(Duration::from_secs(3600)),
            ..ApprovalSpec::default()
        },
        message: None,
    };
    let asked = Report {
        gate: Some(Box::new(Reached {
            rules: Vec::new(),
            ask: Some(ask.clone()),
        })),
        ..report(&claim, Outcome::Asked)
    };
    bench.store.advance(vec![asked], None, bench.now).await.unwrap();
    let parcels = take(&bench.store, bench.now).await;
    assert_eq!(words(&parcels), ["ops waiting", "team waiting"]);
    assert_eq!(parcels[0].body, json!({"approval": ask.id, "task": "a"}));
    let later = bench.now.checked_add(Duration::from_secs(3601)).unwrap();
    assert_eq!(bench.store.remind_approvals(later).await.unwrap(), 1);
    assert_eq!(bench.store.remind_approvals(later).await.unwrap(), 0);
    let reminders = take(&bench.store, later).await;
    let new: Vec<_> = reminders.iter().filter(|p| p.body["reminder"] == true).collect();
    assert_eq!(new.len(), 2, "{reminders:?}");
    bench.audit().await;
}

#[tokio::test]
async fn a_task_tells_a_channel_that_is_known_once_and_only_while_it_holds_its_lease() {
    let bench = told_of(&[]).await;
    bench.run().await;
    let holder = bench.claim(1).await.remove(0).holder();
    let post = async |holder: Holder, channel: &str| {
        let said = (channel.to_owned(), json!({"text": "hello"}));
        bench.store.post_notice(holder, said, bench.now).await
    };
    let refused = post(holder, "ops").await.unwrap_err();
    assert!(matches!(&refused, StoreError::Host(error) if error.to_string().contains("[channels.ops]")));
    bench
        .store
        .enroll_channels(&[("ops".to_owned(), "slack")])
        .await
        .unwrap();
    let unknown = vec!["ops".to_owned(), "nobody".to_owned()];
    assert_eq!(bench.store.unknown_channels(unknown).await.unwrap(), ["nobody"]);
    let first = post(holder, "ops").await.unwrap();
    assert_eq!(post(holder, "ops").await.unwrap(), first);
    assert_eq!(words(&take(&bench.store, bench.now).await), ["ops message"]);
    let zombie = Holder {
        epoch: holder.epoch - 1,
        ..holder
    };
    assert!(matches!(post(zombie, "ops").await, Err(StoreError::Stale)));
}
