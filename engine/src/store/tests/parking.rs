//! Task runs that wait by themselves: parked until an instant or until they are woken, with what they remember.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Bench, FAILS, report, task};
use crate::plan::Outcome;
use crate::state::Reason;
use crate::state::run::RunState;
use crate::store::claim::Claim;

impl Bench {
    async fn park(&self, claim: &Claim, (reason, until): (Reason, Option<Timestamp>), memory: Value) {
        let mut report = report(claim, Outcome::Parked { reason, until });
        report.outputs = Some(memory);
        let done = self.store.advance(vec![report], None, self.now).await.unwrap();
        assert_eq!(done.accepted, [true]);
    }

    fn later(&mut self, seconds: u64) -> Timestamp {
        self.now = self.now.checked_add(Duration::from_secs(seconds)).unwrap();
        self.now
    }

    async fn memory(&self, claim: &Claim) -> Value {
        self.store.surroundings(claim).await.unwrap().memory
    }
}

#[tokio::test]
async fn a_parked_task_run_holds_nothing_and_comes_back_with_what_it_remembers() {
    let mut bench = Bench::with(vec![task("a", &[], 1)]).await;
    let id = bench.run().await;
    let first = bench.claim(1).await.remove(0);
    assert_eq!(bench.memory(&first).await, Value::Null);
    let until = bench.now.checked_add(Duration::from_secs(60)).unwrap();
    bench
        .park(&first, (Reason::Poll, Some(until)), json!({"looks": 1}))
        .await;
    assert_eq!(bench.task_states(id).await, ["waiting poll"]);
    assert_eq!(bench.state(id).await, RunState::Running, "it goes on by itself");
    assert!(bench.claim(1).await.is_empty(), "it is not due yet");
    bench.audit().await;
    bench.later(61);
    let second = bench.claim(1).await.remove(0);
    assert_eq!(second.attempt, 1, "waiting spends no attempt");
    assert_eq!(bench.memory(&second).await, json!({"looks": 1}));
    assert!(bench.report(&second, Outcome::Succeeded).await);
    assert_eq!(bench.state(id).await, RunState::Succeeded);
    bench.audit().await;
}

#[tokio::test]
async fn the_loss_of_a_worker_keeps_the_memory_and_a_new_try_begins_without() {
    let mut bench = Bench::with(vec![task("a", &[], 2)]).await;
    bench.run().await;
    let first = bench.claim(1).await.remove(0);
    let now = bench.now;
    bench
        .park(&first, (Reason::Timer, Some(now)), json!("kept"))
        .await;
    let lost = bench.claim(1).await.remove(0);
    bench.expire_leases().await;
    bench.store.reap(bench.now).await.unwrap();
    let heir = bench.claim(1).await.remove(0);
    assert!(heir.epoch > lost.epoch);
    assert_eq!(bench.memory(&heir).await, json!("kept"));
    assert!(bench.report(&heir, FAILS).await);
    bench.later(3600);
    let anew = bench.claim(1).await.remove(0);
    assert_eq!(bench.memory(&anew).await, Value::Null);
    assert!(bench.report(&anew, Outcome::Succeeded).await);
    bench.audit().await;
}

#[tokio::test]
async fn a_cancelled_run_ends_what_is_parked_at_once() {
    let bench = Bench::with(vec![task("a", &[], 1), task("b", &[], 1)]).await;
    let id = bench.run().await;
    let claims = bench.claim(2).await;
    bench
        .park(&claims[0], (Reason::Timer, Some(bench.now)), Value::Null)
        .await;
    bench.park(&claims[1], (Reason::SubRun, None), Value::Null).await;
    bench.audit().await;
    let cancelled = bench.store.cancel_run(id, Reason::Requested, bench.now).await;
    assert!(cancelled.unwrap());
    assert_eq!(bench.state(id).await, RunState::Cancelled);
    assert!(bench.claim(2).await.is_empty());
    bench.audit().await;
}
