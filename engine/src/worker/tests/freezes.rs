//! Freeze windows before a task that changes what production rests on.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::*;
use crate::command::{Actor, Choice, Decision, Role, decide};
use crate::gate::{ApprovalSpec, AskWhen, Gate};
use crate::store::freezes::NewFreeze;
use crate::store::people::NewPerson;

/// Promotes, so to speak.
pub(super) struct Guarded;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[async_trait]
impl Plugin for Guarded {
    type Input = Nothing;
    type Output = Value;
    const NAME: &'static str = "guarded";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str = "changes production";
    const ISOLATION: Isolation = Isolation::Inline;
    const GUARDED: bool = true;
    async fn run(&self, _: &Ctx, _: Nothing) -> Result<Value, TaskError> {
        Ok(json!({}))
    }
}

fn guarded(gate: Option<Gate>) -> Task {
    Task {
        gate,
        ..task("release", &[], ("guarded", json!({})))
    }
}

impl Site {
    async fn freeze(&self, flow: Option<&str>) -> crate::view::Freeze {
        let now = clock::now();
        let new = NewFreeze {
            flow: flow.map(str::to_owned),
            from: now,
            until: now.checked_add(SignedDuration::from_hours(2)).unwrap(),
            reason: "books are closed".to_owned(),
        };
        self.store
            .add_freeze(new, ("ada", Timestamp::UNIX_EPOCH))
            .await
            .unwrap()
    }

    async fn held_back(&self, run: RunId) {
        self.wait("the task to wait", async || {
            let run = self.store.run(run, clock::now()).await.unwrap().unwrap();
            run.tasks[0].state == "waiting" && run.tasks[0].reason.as_deref() == Some("timer")
        })
        .await;
    }

    async fn passes(&self) -> i64 {
        sqlx::query_scalar("select count(*) from ledger where kind = 'freeze_passed'")
            .fetch_one(self.store.pool())
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn what_is_frozen_waits_without_a_slot_and_goes_on_when_the_window_is_ended() {
    let site = Site::with(vec![guarded(None)]).await;
    let freeze = site.freeze(None).await;
    let run = site.start().await;
    site.held_back(run).await;
    let shown = site.store.run(run, clock::now()).await.unwrap().unwrap();
    let why = site.store.why(&shown).await.unwrap();
    assert!(
        why.tasks[0].sentence.contains("by ada: books are closed"),
        "{why:?}"
    );
    assert!(
        site.store
            .end_freeze(freeze.id, ("ada", clock::now()))
            .await
            .unwrap()
    );
    assert!(
        !site
            .store
            .end_freeze(freeze.id, ("ada", clock::now()))
            .await
            .unwrap()
    );
    assert_eq!(site.end(run).await, RunState::Succeeded);
    assert_eq!(site.passes().await, 0);
    assert_eq!(site.store.audit().await.unwrap(), []);
    site.close().await;
}

#[tokio::test]
async fn a_yes_with_a_reason_passes_and_one_without_waits() {
    let gate = Gate {
        rules: Vec::new(),
        approval: Some(ApprovalSpec {
            when: AskWhen::Always,
            ..ApprovalSpec::default()
        }),
        evidence: Vec::new(),
    };
    let site = Site::with(vec![guarded(Some(gate))]).await;
    let anna = NewPerson {
        name: "anna".to_owned(),
        roles: vec![Role::Approver],
        ..NewPerson::default()
    };
    site.store.add_person(anna, clock::now()).await.unwrap();
    site.freeze(Some("f")).await;
    for (comment, passes) in [(None, false), (Some("the old one is broken".to_owned()), true)] {
        let run = site.start().await;
        let mut open = None;
        site.wait("the question", async || {
            let newest = site.store.approval_of(run, "release").await.unwrap();
            open = newest.filter(|approval| approval.state == "open");
            open.is_some()
        })
        .await;
        let open = open.unwrap();
        let decision = Decision {
            decision: Choice::Approve,
            comment,
            evidence: open.digest,
        };
        let anna = Actor::person("anna", [Role::Approver]);
        decide(&site.store, &anna, (open.id, decision), clock::now())
            .await
            .unwrap();
        if passes {
            assert_eq!(site.end(run).await, RunState::Succeeded);
        } else {
            site.held_back(run).await;
            site.store
                .cancel_run(run, Reason::Requested, clock::now())
                .await
                .unwrap();
        }
    }
    assert_eq!(site.passes().await, 1);
    assert_eq!(site.store.audit().await.unwrap(), []);
    site.close().await;
}
