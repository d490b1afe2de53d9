//! After the storm: what people saw is in the database, what is there happened once, and how often each thing happened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use super::fleet::Fleet;
use super::people::Town;

/// Fails unless all is as it should be; prints what happened.
pub async fn settle(fleet: &Fleet, town: &Town, long: bool) {
    let findings = fleet.store.audit().await.unwrap();
    assert!(findings.is_empty(), "{findings:#?}\n{}", fleet.output());
    fleet.verify_ledger().await;
    every_acknowledged_run_is_there_once(fleet, town).await;
    every_acknowledged_decision_stands(fleet, town).await;
    effects_follow_a_yes(fleet).await;
    let happened = counts(fleet, town).await;
    for (what, count) in &happened {
        eprintln!("{count:>8}  {what}");
    }
    if long {
        let never: Vec<_> = happened.iter().filter(|(_, count)| **count == 0).collect();
        assert!(never.is_empty(), "did not happen in a long storm: {never:?}");
    }
    assert_eq!(
        fleet.faults.get("processes that gave up"),
        None,
        "{:?}",
        fleet.faults
    );
}

async fn every_acknowledged_run_is_there_once(fleet: &Fleet, town: &Town) {
    let made: Vec<String> = sqlx::query_scalar("select id::text from run where flow in ('storm', 'drizzle')")
        .fetch_all(fleet.store.pool())
        .await
        .unwrap();
    let made: BTreeSet<String> = made.into_iter().collect();
    let runs = &town.seen.lock().unwrap().runs;
    let acknowledged: BTreeSet<String> = runs.values().cloned().collect();
    assert_eq!(acknowledged.len(), runs.len(), "two keys never share a run");
    assert_eq!(
        made, acknowledged,
        "each was insisted on until it was acknowledged"
    );
}

async fn every_acknowledged_decision_stands(fleet: &Fleet, town: &Town) {
    let stands: Vec<(String, String)> = sqlx::query_as("select approval::text, decision from vote")
        .fetch_all(fleet.store.pool())
        .await
        .unwrap();
    let mut by_approval: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (approval, word) in stands {
        by_approval.entry(approval).or_default().push(word);
    }
    for (approval, word) in &town.seen.lock().unwrap().decided {
        let said = by_approval.get(approval);
        assert!(
            said.is_some_and(|said| said.contains(word)),
            "{word} on {approval}: {said:?}"
        );
    }
}

/// At least once where a person said yes and the run went on to its end, never where nobody did.
async fn effects_follow_a_yes(fleet: &Fleet) {
    let approved: Vec<(String, String)> = sqlx::query_as(
        "select r.id::text, r.state::text from run r where exists
           (select 1 from approval a where a.run = r.id and a.state = 'approved')",
    )
    .fetch_all(fleet.store.pool())
    .await
    .unwrap();
    let approved: BTreeMap<String, String> = approved.into_iter().collect();
    let effects: BTreeSet<String> = fleet.effects().into_iter().collect();
    for run in &effects {
        assert!(
            approved.contains_key(run),
            "{run} had its effect, and nobody said yes"
        );
    }
    for (run, _) in approved.iter().filter(|(_, state)| *state == "succeeded") {
        assert!(effects.contains(run), "{run} succeeded without its effect");
    }
}

async fn counts(fleet: &Fleet, town: &Town) -> BTreeMap<String, u64> {
    let mut all: BTreeMap<String, u64> = [
        (
            "requests without an answer",
            town.unanswered.load(Ordering::Relaxed),
        ),
        (
            "requests repeated whose first had been done",
            town.repeats.load(Ordering::Relaxed),
        ),
        ("runs cancelled", town.cancelled.load(Ordering::Relaxed)),
        ("ambiguous commits: had committed", fleet.swallowed()),
    ]
    .map(|(what, count)| (what.to_owned(), count))
    .into();
    for (status, count) in &town.seen.lock().unwrap().decisions {
        let what = match status {
            200 => "decisions that counted",
            409 => "approvals that lost the race",
            410 => "decisions after expiry",
            _ => "decisions on other evidence",
        };
        all.insert(what.to_owned(), *count);
    }
    all.extend(
        fleet
            .faults
            .iter()
            .map(|(what, count)| ((*what).to_owned(), *count)),
    );
    for (what, sql) in [
        ("runs in all", "select count(*) from run"),
        ("task runs in all", "select count(*) from task_run"),
        ("items of maps in all", "select count(*) from map_item"),
        (
            "attempts repeated because they failed",
            "select coalesce(sum(greatest(attempt - lost - 1, 0)), 0)::bigint from task_run",
        ),
        (
            "attempts lost with their worker",
            "select coalesce(sum(lost), 0)::bigint from task_run",
        ),
        (
            "ticks that made a run",
            "select count(*) from tick where outcome = 'run'",
        ),
    ] {
        let count: i64 = sqlx::query_scalar(sql)
            .fetch_one(fleet.store.pool())
            .await
            .unwrap();
        all.insert(what.to_owned(), count as u64);
    }
    let said = fleet.output();
    for (what, words) in [
        ("transactions tried again", "transaction is tried again"),
        ("zombie writes refused", "a report came too late"),
        ("ticks deduplicated", "another scheduler"),
    ] {
        all.insert(what.to_owned(), said.matches(words).count() as u64);
    }
    all
}
