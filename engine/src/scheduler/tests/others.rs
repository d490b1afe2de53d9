//! Runs that neither a tick nor a person makes at once: backfills, and what follows the end of another flow's run.

use jiff::Timestamp;

use super::{Site, at, flow};
use crate::graph::{EndState, FlowTrigger};
use crate::id::FlowName;
use crate::plan::Outcome;
use crate::state::Reason;
use crate::store::StoreError;
use crate::store::backfills::Backfill;
use crate::store::flows::NewVersion;
use crate::store::tests::report;
use crate::view::BackfillTick;

impl Site {
    fn wanted(&self, after: &str, to: &str, max_active: Option<u32>) -> Backfill {
        Backfill {
            flow: "f".to_owned(),
            schedule: None,
            after: at(after),
            to: at(to),
            max_active,
            actor: "anna".to_owned(),
        }
    }

    async fn fill(&self, wanted: &Backfill, now: &str) -> Vec<BackfillTick> {
        self.store.backfill(wanted, at(now)).await.unwrap()
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql)
            .fetch_one(self.store.pool())
            .await
            .unwrap()
    }
}

const NOON: &str = "2026-11-25T12:00:00Z";

#[tokio::test]
async fn past_ticks_get_a_run_each_however_often_they_are_asked_for() {
    let site = Site::with(flow("f", "0 * * * *"), "2026-11-25T09:30:00Z").await;
    site.fire("2026-11-25T10:00:01Z").await;
    site.finish(at("2026-11-25T10:01:00Z")).await;
    let wanted = site.wanted("2026-11-25T06:00:00Z", "2026-11-25T10:30:00Z", Some(2));
    let dry = site.store.backfill_ticks(&wanted, at(NOON)).await.unwrap();
    let made: Vec<Option<&str>> = dry.iter().map(|tick| tick.made_by.as_deref()).collect();
    assert_eq!(
        made,
        [None, None, None, Some("schedule")],
        "7, 8, 9 are missing, 10 was run"
    );
    let (one, two) = tokio::join!(
        site.store.backfill(&wanted, at(NOON)),
        site.store.backfill(&wanted, at(NOON))
    );
    assert_eq!(one.unwrap().len() + two.unwrap().len(), 8);
    let again = site.fill(&wanted, NOON).await;
    assert!(again.iter().all(|tick| tick.run.is_some()));
    assert_eq!(
        site.count("select count(*) from run where trigger = 'backfill'")
            .await,
        3
    );
    assert_eq!(
        site.count("select count(*) from run where trigger = 'backfill' and state = 'running'")
            .await,
        2,
        "two at once"
    );
    let first = site.claim(at(NOON)).await.remove(0);
    let around = site.store.surroundings(&first).await.unwrap();
    assert_eq!(around.facts.scheduled_for, Some(at("2026-11-25T07:00:00Z")));
    site.audit().await;
}

#[tokio::test]
async fn a_backfill_takes_no_place_of_what_is_due() {
    let site = Site::with(flow("f", "0 * * * *"), "2026-11-25T09:30:00Z").await;
    let wanted = site.wanted("2026-11-25T04:00:00Z", "2026-11-25T09:00:00Z", None);
    assert_eq!(site.fill(&wanted, "2026-11-25T09:40:00Z").await.len(), 5);
    site.fire("2026-11-25T10:00:01Z").await;
    assert_eq!(site.ticks().await, ["10:00 run"]);
    let now: Timestamp = at(NOON);
    for _ in 0..6 {
        site.finish(now).await;
        site.store.admit_queued(now).await.unwrap();
    }
    assert!(site.states().await.iter().all(|state| state == "succeeded"));
    let many = site.wanted("2020-01-01T00:00:00Z", "2026-11-25T09:00:00Z", None);
    assert!(matches!(
        site.store.backfill(&many, now).await,
        Err(StoreError::Refused { .. })
    ));
    let other = Backfill {
        schedule: Some("weekly".to_owned()),
        ..wanted
    };
    let refused = site.store.backfill(&other, now).await;
    assert!(matches!(refused, Err(StoreError::Refused { why }) if why.contains("it has s")));
    site.audit().await;
}

fn follower(name: &str, of: &str, states: &[EndState]) -> crate::graph::Flow {
    let mut follower = flow(name, "0 0 1 1 *");
    follower.triggers = vec![FlowTrigger {
        flow: FlowName::new(of).unwrap(),
        states: states.to_vec(),
    }];
    follower
}

#[tokio::test]
async fn the_end_of_a_run_makes_one_run_of_each_flow_that_waits_for_it() {
    let now = at(NOON);
    let site = Site::with(flow("f", "0 0 1 1 *"), NOON).await;
    site.apply(&follower("after", "f", &[EndState::Succeeded]), now)
        .await;
    site.apply(
        &follower("sorry", "f", &[EndState::Failed, EndState::Cancelled]),
        now,
    )
    .await;
    let first = site.run(now).await;
    site.finish(now).await;
    let (one, two) = tokio::join!(site.store.follow_ended(now), site.store.follow_ended(now));
    assert_eq!(one.unwrap() + two.unwrap(), 1, "two schedulers, one follower");
    assert_eq!(site.store.follow_ended(now).await.unwrap(), 0);
    let followed: Vec<(String, String, String)> = sqlx::query_as(
        "select r.flow, r.trigger, r.requester from followed d join run r on r.id = d.run where source = $1",
    )
    .bind(first.0)
    .fetch_all(site.store.pool())
    .await
    .unwrap();
    assert_eq!(
        followed,
        [("after".to_owned(), "flow".to_owned(), "test".to_owned())]
    );
    site.finish(now).await;
    let second = site.run(now).await;
    site.store
        .cancel_run(second, Reason::Requested, now)
        .await
        .unwrap();
    assert_eq!(
        site.store.follow_ended(now).await.unwrap(),
        1,
        "it was cancelled, and one waits for that"
    );
    let third = site.run(now).await;
    let claim = site
        .claim(now)
        .await
        .into_iter()
        .find(|claim| claim.run == third)
        .unwrap();
    let rejected = Outcome::Rejected {
        reason: Reason::RuleFailed,
    };
    site.store
        .advance(vec![report(&claim, rejected)], None, now)
        .await
        .unwrap();
    assert_eq!(
        site.count("select count(*) from ended_run").await,
        0,
        "nobody waits for a no"
    );
    site.audit().await;
}

#[tokio::test]
async fn flows_that_would_follow_one_another_for_ever_are_refused() {
    let now = at(NOON);
    let site = Site::with(flow("f", "0 0 1 1 *"), NOON).await;
    site.apply(&follower("b", "f", &[EndState::Succeeded]), now).await;
    site.apply(&follower("c", "b", &[EndState::Succeeded]), now).await;
    let version = NewVersion {
        flow: follower("f", "c", &[EndState::Failed]),
        hash: crate::id::VersionHash("f".repeat(64)),
        path: "f.toml".to_owned(),
        source: String::new(),
        actor: "test".to_owned(),
    };
    let refused = site.store.apply_version(version, now).await;
    assert!(matches!(refused, Err(StoreError::Refused { why }) if why.contains("f → b → c → f")));
}

#[tokio::test]
async fn a_frozen_flow_skips_its_ticks_and_takes_no_run_by_hand() {
    use crate::command::{self, Actor, CommandError, Request};
    let site = Site::with(flow("f", "0 * * * *"), "2026-11-25T09:30:00Z").await;
    let now = crate::clock::now();
    let new = crate::store::freezes::NewFreeze {
        flow: Some("f".to_owned()),
        from: now,
        until: now.checked_add(std::time::Duration::from_secs(3_600)).unwrap(),
        reason: "books are closed".to_owned(),
    };
    site.store.add_freeze(new, ("ada", now)).await.unwrap();
    site.fire("2026-11-25T10:00:01Z").await;
    assert_eq!(site.ticks().await, ["10:00 frozen"]);
    let asked = ("f", Request::default(), "manual", None);
    let refused = command::trigger(&site.store, &Actor::system(), asked, now).await;
    assert!(matches!(refused, Err(CommandError::Forbidden { why }) if why.contains("books are closed")));
    site.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redeploy_at_the_moment_of_a_tick_makes_no_second_run() {
    let allow = crate::graph::Flow {
        overlap: crate::graph::Overlap::Allow,
        ..flow("f", "* * * * *")
    };
    let site = Site::with(allow.clone(), "2026-06-01T00:00:00Z").await;
    let mut now = at("2026-06-01T00:00:00Z");
    for turn in 0..100 {
        now += std::time::Duration::from_secs(60);
        // Every other time the schedule is another one.
        let mut edited = allow.clone();
        edited.description = Some(turn.to_string());
        edited.schedules[0].missed_window += std::time::Duration::from_secs(turn / 2);
        let which = ("f".to_owned(), "s".to_owned());
        let (fired, _) = tokio::join!(site.store.fire(which.clone(), now), site.apply(&edited, now));
        fired.unwrap();
        // Who found the flow taken comes again.
        site.store.fire(which, now).await.unwrap();
    }
    let ticks = "select count(*) from (select from run group by scheduled_for having count(*) > 1) twice";
    assert_eq!(site.count(ticks).await, 0);
    assert_eq!(site.count("select count(*) from run").await, 100);
    site.audit().await;
}

#[tokio::test]
async fn a_history_that_was_purged_is_not_made_again() {
    let site = Site::with(flow("f", "0 * * * *"), "2026-06-01T00:30:00Z").await;
    assert_eq!(site.fire("2026-06-01T01:00:01Z").await.runs, 1);
    site.finish(at("2026-06-01T01:10:00Z")).await;
    site.sql("delete from tick").await;
    assert_eq!(site.ticks().await, Vec::<String>::new());
    site.store.refresh_schedules().await.unwrap();
    assert_eq!(
        site.fire("2026-06-01T01:20:00Z").await.runs,
        0,
        "the cursor lies in the schedule's row"
    );
    assert_eq!(site.ticks().await, Vec::<String>::new());
    assert_eq!(site.fire("2026-06-01T02:00:00Z").await.runs, 1);
}

#[tokio::test]
async fn a_flow_that_was_removed_finishes_what_runs_and_fires_no_more() {
    let site = Site::with(flow("f", "* * * * *"), "2026-06-01T00:00:00Z").await;
    assert_eq!(site.fire("2026-06-01T00:01:00Z").await.runs, 1);
    let now = at("2026-06-01T00:01:30Z");
    site.store
        .apply_versions(Vec::new(), Some("anna"), now)
        .await
        .unwrap();
    assert_eq!(site.fire("2026-06-01T00:02:00Z").await.runs, 0);
    assert!(
        site.store
            .due_schedules(at("2026-06-01T00:03:00Z"))
            .await
            .unwrap()
            .is_empty()
    );
    site.finish(now).await;
    assert_eq!(site.states().await, ["succeeded"]);
    let seen = site
        .count("select count(*) from run r join flow_version v on v.hash = r.version")
        .await;
    assert_eq!(seen, 1, "its history can be read");
    site.audit().await;
}
