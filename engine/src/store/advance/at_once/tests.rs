#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use super::*;
use crate::plan::Outcome;
use crate::state::Reason;
use crate::state::run::RunState;
use crate::store::claim::Claim;
use crate::store::tests::{Bench, report, task};

/// Reports a success by the short way alone.
async fn at_once(bench: &Bench, claim: &Claim) -> Option<Advanced> {
    let reports = [report(claim, Outcome::Succeeded)];
    advance(&bench.store, (&reports, &bench.claimer(1)), bench.now).await
}

/// a → b → c → d
async fn chain() -> Bench {
    let needs: [&[TaskIdx]; 4] = [&[], &[0], &[1], &[2]];
    let tasks = ["a", "b", "c", "d"].iter().zip(needs);
    Bench::with(tasks.map(|(name, needs)| task(name, needs, 1)).collect()).await
}

#[tokio::test]
async fn a_chain_goes_on_by_one_statement_a_step() {
    let bench = chain().await;
    let id = bench.run().await;
    let mut claim = bench.claim(1).await.remove(0);
    for step in 0..3 {
        let done = at_once(&bench, &claim).await;
        let mut done = done.unwrap_or_else(|| panic!("step {step} went the long way"));
        assert_eq!((done.accepted, done.handed.len()), (vec![true], 1));
        claim = done.handed.remove(0);
        assert_eq!((claim.idx, claim.attempt, claim.epoch), (step + 1, 1, 1));
        bench.audit().await;
    }
    assert!(
        at_once(&bench, &claim).await.is_none(),
        "the end of a run tells many"
    );
    let reports = vec![report(&claim, Outcome::Succeeded)];
    let done = bench
        .store
        .advance(reports, Some(bench.claimer(1)), bench.now)
        .await;
    assert_eq!(done.unwrap().ended, [id]);
    assert_eq!(bench.state(id).await, RunState::Succeeded);
    let outputs: Vec<serde_json::Value> =
        sqlx::query_scalar("select outputs -> 'by' from task_output where run = $1 order by idx")
            .bind(id.0)
            .fetch_all(bench.store.pool())
            .await
            .unwrap();
    assert_eq!(outputs, [0, 1, 2, 3].map(serde_json::Value::from));
    bench.audit().await;
}

/// Another process, which remembers nothing of this one.
async fn another(bench: &Bench) -> Store {
    Store::connect(bench.url(), 4).await.unwrap()
}

#[tokio::test]
async fn a_run_that_somebody_else_has_moved_goes_the_long_way_and_nothing_is_done_before() {
    let bench = chain().await;
    let id = bench.run().await;
    let claim = bench.claim(1).await.remove(0);
    let other = another(&bench).await;
    let stopped = other.cancel_run(id, Reason::Requested, bench.now).await;
    assert!(stopped.unwrap());
    let before = bench.task_states(id).await;
    assert!(at_once(&bench, &claim).await.is_none());
    assert_eq!(bench.task_states(id).await, before);
    bench.audit().await;
    let reports = vec![report(&claim, Outcome::Succeeded)];
    let done = bench
        .store
        .advance(reports, Some(bench.claimer(1)), bench.now)
        .await;
    assert!(done.unwrap().handed.is_empty(), "the run is told to stop");
    assert_eq!(bench.state(id).await, RunState::Cancelled);
    bench.audit().await;
}

#[tokio::test]
async fn an_attempt_that_lost_its_lease_cannot_speak_by_the_short_way() {
    let bench = chain().await;
    let id = bench.run().await;
    let zombie = bench.claim(1).await.remove(0);
    bench.expire_leases().await;
    let other = another(&bench).await;
    assert_eq!(other.reap(bench.now).await.unwrap(), 1);
    let later = bench.now + std::time::Duration::from_secs(60);
    let again = other.claim(bench.claimer(1), later).await.unwrap();
    assert_eq!(again.len(), 1);
    assert!(at_once(&bench, &zombie).await.is_none());
    let reports = vec![report(&zombie, Outcome::Succeeded)];
    let done = bench
        .store
        .advance(reports, Some(bench.claimer(1)), bench.now)
        .await
        .unwrap();
    assert_eq!(done.accepted, [false]);
    assert_eq!(bench.task_states(id).await[0], "running");
    bench.audit().await;
}

#[tokio::test]
async fn of_two_that_report_at_once_both_count_once() {
    let tasks = vec![
        task("a", &[], 1),
        task("b", &[], 1),
        task("c", &[0], 1),
        task("d", &[1], 1),
    ];
    let bench = Bench::with(tasks).await;
    let id = bench.run().await;
    let claims = bench.claim(2).await;
    let other = another(&bench).await;
    let mine = bench.store.advance(
        vec![report(&claims[0], Outcome::Succeeded)],
        Some(bench.claimer(1)),
        bench.now,
    );
    let theirs = other.advance(
        vec![report(&claims[1], Outcome::Succeeded)],
        Some(bench.claimer(1)),
        bench.now,
    );
    let (mine, theirs) = tokio::join!(mine, theirs);
    let (mine, theirs) = (mine.unwrap(), theirs.unwrap());
    assert_eq!((mine.accepted, theirs.accepted), (vec![true], vec![true]));
    assert_eq!(mine.handed.len() + theirs.handed.len(), 2);
    assert_eq!(
        bench.task_states(id).await,
        ["succeeded", "succeeded", "running", "running"]
    );
    bench.audit().await;
}
