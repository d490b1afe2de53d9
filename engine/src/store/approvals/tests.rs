//! Approvals on a real PostgreSQL: who may decide, what came first, what time and newer runs do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::advance::Report;
use super::super::claim::Claim;
use super::super::people::NewPerson;
use super::super::runs::NewRun;
use super::super::tests::{Bench, report, task};
use super::{Ask, Reached};
use crate::clock;
use crate::command::{Actor, Choice, CommandError, Decision, Role, decide};
use crate::gate::{ApprovalSpec, Evidence, Gate, OnExpire};
use crate::graph::Task;
use crate::id::{FlowName, RunId, TaskName, VersionHash};
use crate::plan::Outcome;
use crate::state::Reason;
use crate::state::run::RunState;
use crate::view::Approval;

/// A flow of one task behind a gate, and people: anna, ben, … may approve; olga may not.
struct Court {
    bench: Bench,
    spec: ApprovalSpec,
}

pub(crate) fn gated(name: &str) -> Task {
    let gate = Gate {
        rules: Vec::new(),
        approval: Some(ApprovalSpec::default()),
        evidence: Vec::new(),
    };
    Task {
        gate: Some(gate),
        ..task(name, &[], 1)
    }
}

pub(crate) fn yes(digest: &str) -> Decision {
    Decision {
        decision: Choice::Approve,
        comment: Some("looks good".to_owned()),
        evidence: digest.to_owned(),
    }
}

fn no(digest: &str) -> Decision {
    Decision {
        decision: Choice::Reject,
        comment: None,
        evidence: digest.to_owned(),
    }
}

pub(crate) fn approver(name: &str) -> Actor {
    Actor::person(name, [Role::Approver])
}

const APPROVERS: [&str; 5] = ["anna", "ben", "carla", "dan", "eva"];

impl Court {
    async fn open() -> Self {
        let bench = Bench::with(vec![gated("t"), task("after", &[0], 1)]).await;
        for name in APPROVERS {
            add(&bench, name, &[Role::Approver]).await;
        }
        add(&bench, "olga", &[Role::Operator]).await;
        add(&bench, "adam", &[Role::Admin]).await;
        Self {
            bench,
            spec: ApprovalSpec::default(),
        }
    }

    /// A run of `requester` whose gate has asked.
    async fn asked_by(&self, requester: &str) -> Approval {
        let new = NewRun {
            requester: requester.to_owned(),
            ..self.bench.new_run()
        };
        let run = new.id;
        self.bench.store.create_run(new, self.bench.now).await.unwrap();
        self.ask(run).await
    }

    async fn asked(&self) -> Approval {
        self.asked_by("olga").await
    }

    async fn ask(&self, run: RunId) -> Approval {
        let claims = self.bench.claim(1).await;
        let [claim] = claims.as_slice() else {
            panic!("one task run is ready, not {}", claims.len());
        };
        assert_eq!(claim.run, run);
        let (id, asks) = asking(run, &self.spec);
        let report = Report {
            gate: Some(Box::new(asks)),
            cached: None,
            message: Some("0.9 is within 0.1 of 0.9: a person decides".to_owned()),
            ..report(claim, Outcome::Asked)
        };
        let done = self
            .bench
            .store
            .advance(vec![report], None, self.bench.now)
            .await
            .unwrap();
        assert_eq!(done.accepted, [true]);
        self.approval(id).await
    }

    async fn approval(&self, id: Uuid) -> Approval {
        self.bench.store.approval(id).await.unwrap().unwrap()
    }

    async fn decide(
        &self,
        actor: &Actor,
        approval: Uuid,
        decision: Decision,
    ) -> Result<Approval, CommandError> {
        decide(&self.bench.store, actor, (approval, decision), self.bench.now).await
    }

    async fn supersede(&self) -> usize {
        let now = self.bench.now;
        self.bench.store.supersede_approvals(now).await.unwrap()
    }

    /// The gate of a claimed task run opens by its rules.
    async fn opens(&self, claim: &Claim) {
        let now = self.bench.now;
        self.bench.store.note_open_gate(claim, &[], now).await.unwrap();
    }

    async fn end_time(&self, approval: Uuid) {
        sqlx::query(
            "update approval set expires_at = clock_timestamp() - interval '1 millisecond' where id = $1",
        )
        .bind(approval)
        .execute(self.bench.store.pool())
        .await
        .unwrap();
    }

    /// States of the run, of the gated task and of the one behind it.
    async fn states(&self, run: Uuid) -> String {
        let run = RunId(run);
        let tasks = self.bench.task_states(run).await.join(", ");
        format!("{}: {tasks}", self.bench.state(run).await.as_str())
    }

    /// What is said of the gated task: on the pages, in `show` and `why`, in letters.
    async fn said(&self, run: Uuid) -> String {
        let run = self.bench.store.run(RunId(run), self.bench.now).await;
        run.unwrap().unwrap().tasks[0].message.clone().unwrap_or_default()
    }

    async fn ledger(&self, kind: &str) -> Vec<Value> {
        sqlx::query_scalar("select body::jsonb from ledger where kind = $1 order by seq")
            .bind(kind)
            .fetch_all(self.bench.store.pool())
            .await
            .unwrap()
    }
}

/// What the gate of task `t` says to people, and under which id.
pub(crate) fn asking(run: RunId, spec: &ApprovalSpec) -> (Uuid, Reached) {
    let evidence = Evidence {
        flow: FlowName::new("f").unwrap(),
        version: VersionHash("0".repeat(64)),
        run,
        task: TaskName::new("t").unwrap(),
        rules: Vec::new(),
        outputs: [(TaskName::new("x").unwrap(), json!({ "n": 1.50, "text": "ü" }))].into(),
        action: Some("moves a mountain".to_owned()),
        world: json!({ "version": 6 }),
    };
    let ask = Ask {
        id: clock::new_id(),
        evidence,
        spec: spec.clone(),
        message: Some("Shall it?".to_owned()),
    };
    let id = ask.id;
    let reached = Reached {
        rules: Vec::new(),
        ask: Some(ask),
    };
    (id, reached)
}

pub(crate) async fn add(bench: &Bench, name: &str, roles: &[Role]) {
    let person = NewPerson {
        name: name.to_owned(),
        roles: roles.to_vec(),
        ..NewPerson::default()
    };
    assert!(bench.store.add_person(person, bench.now).await.unwrap());
}

#[tokio::test]
async fn a_yes_opens_the_gate_and_a_no_closes_it_with_a_ledger_entry_each() {
    let court = Court::open().await;
    let asked = court.asked().await;
    assert_eq!(asked.state, "open");
    assert_eq!(asked.action.as_deref(), Some("moves a mountain"));
    assert_eq!(
        court.states(asked.run).await,
        "waiting: waiting approval, blocked"
    );
    let leases: i64 = sqlx::query_scalar("select count(*) from lease")
        .fetch_one(court.bench.store.pool())
        .await
        .unwrap();
    assert_eq!(leases, 0, "who waits for people holds no lease");

    let decided = court
        .decide(&approver("anna"), asked.id, yes(&asked.digest))
        .await
        .unwrap();
    assert_eq!(
        (decided.state.as_str(), decided.votes[0].actor.as_str()),
        ("approved", "anna")
    );
    assert_eq!(court.states(asked.run).await, "running: ready, blocked");
    let opened: Option<Uuid> =
        sqlx::query_scalar("select opened_by from task_run where run = $1 and idx = 0")
            .bind(asked.run)
            .fetch_one(court.bench.store.pool())
            .await
            .unwrap();
    assert_eq!(opened, Some(asked.id));
    for _ in 0..2 {
        let claim = court.bench.claim(1).await.pop().unwrap();
        assert!(court.bench.report(&claim, Outcome::Succeeded).await);
    }

    let asked = court.asked().await;
    court
        .decide(&approver("ben"), asked.id, no(&asked.digest))
        .await
        .unwrap();
    assert_eq!(
        court.states(asked.run).await,
        "rejected: rejected declined, skipped upstream_rejected"
    );
    assert_eq!(court.said(asked.run).await, "declined by ben");
    let told = court.ledger("approval_decided").await;
    let told: Vec<_> = told
        .iter()
        .map(|e| (e["decision"].as_str(), e["votes"][0]["actor"].as_str()))
        .collect();
    assert_eq!(
        told,
        [(Some("approved"), Some("anna")), (Some("rejected"), Some("ben"))]
    );
    court.bench.audit().await;
}

#[tokio::test]
async fn only_people_who_are_asked_decide_and_never_on_their_own_run() {
    let court = Court::open().await;
    let forbidden = async |actor: Actor, approval: &Approval| match court
        .decide(&actor, approval.id, yes(&approval.digest))
        .await
    {
        Err(CommandError::Forbidden { why }) => why,
        other => panic!("{}: {other:?}", actor.name),
    };
    let asked = court.asked_by("anna").await;
    assert!(
        forbidden(approver("anna"), &asked)
            .await
            .contains("asked for this run")
    );
    assert!(forbidden(Actor::os("root"), &asked).await.contains("no person"));
    assert!(forbidden(Actor::system(), &asked).await.contains("no person"));
    assert!(
        forbidden(approver("nobody"), &asked)
            .await
            .contains("nobody who may decide")
    );
    let operator = Actor::person("olga", [Role::Operator]);
    assert!(forbidden(operator, &asked).await.contains("role:approver"));
    assert!(
        forbidden(approver("olga"), &asked)
            .await
            .contains("role:approver"),
        "a grant that is gone"
    );
    court.bench.store.disable("eva", court.bench.now).await.unwrap();
    assert!(
        forbidden(approver("eva"), &asked)
            .await
            .contains("nobody who may decide")
    );
    assert_eq!(
        court.states(asked.run).await,
        "waiting: waiting approval, blocked"
    );
    let admin = Actor::person("adam", [Role::Admin]);
    court.decide(&admin, asked.id, no(&asked.digest)).await.unwrap();

    let own = court.asked_by("adam").await;
    assert!(
        forbidden(admin, &own).await.contains("asked for this run"),
        "not even an admin"
    );
    court.bench.audit().await;
}

#[tokio::test]
async fn an_account_and_the_person_behind_it_are_one_and_so_are_a_run_and_its_retry() {
    let court = Court::open().await;
    let claims = NewPerson {
        name: "rita".to_owned(),
        roles: vec![Role::Approver],
        os_user: Some("root".to_owned()),
        password: None,
    };
    court
        .bench
        .store
        .add_person(claims, court.bench.now)
        .await
        .unwrap();
    let by_account = court.asked_by("os:root").await;
    let answer = court
        .decide(&approver("rita"), by_account.id, yes(&by_account.digest))
        .await;
    assert!(
        matches!(answer, Err(CommandError::Forbidden { .. })),
        "{answer:?}"
    );
    court
        .decide(&approver("ben"), by_account.id, no(&by_account.digest))
        .await
        .unwrap();

    let retried = court.asked_by("olga").await;
    let first = court.bench.new_run();
    let id = first.id;
    let first = NewRun {
        requester: "ben".to_owned(),
        ..first
    };
    court
        .bench
        .store
        .create_run(first, court.bench.now)
        .await
        .unwrap();
    sqlx::query("update run set retry_of = $2 where id = $1")
        .bind(retried.run)
        .bind(id.0)
        .execute(court.bench.store.pool())
        .await
        .unwrap();
    let answer = court
        .decide(&approver("ben"), retried.id, yes(&retried.digest))
        .await;
    assert!(
        matches!(answer, Err(CommandError::Forbidden { .. })),
        "{answer:?}"
    );
    court
        .decide(&approver("carla"), retried.id, yes(&retried.digest))
        .await
        .unwrap();
    court.bench.audit().await;
}

#[tokio::test]
async fn the_database_itself_refuses_the_vote_of_the_requester() {
    let court = Court::open().await;
    let asked = court.asked_by("anna").await;
    let smuggle = sqlx::query(
        "insert into vote (approval, actor, decision, digest, at) values ($1, 'anna', 'approve', $2, clock_timestamp())",
    );
    let refused = smuggle
        .bind(asked.id)
        .bind(&asked.digest)
        .execute(court.bench.store.pool())
        .await;
    assert!(refused.unwrap_err().to_string().contains("cannot decide on it"));
}

#[tokio::test]
async fn a_flow_may_let_the_requester_decide() {
    let mut court = Court::open().await;
    court.spec.allow_requester = true;
    let own = court.asked_by("anna").await;
    court
        .decide(&approver("anna"), own.id, yes(&own.digest))
        .await
        .unwrap();
    court.bench.audit().await;
}

#[tokio::test]
async fn named_people_are_asked_and_nobody_else() {
    let mut court = Court::open().await;
    court.spec.by = vec!["user:ben".to_owned()];
    let asked = court.asked().await;
    for other in [approver("anna"), Actor::person("adam", [Role::Admin])] {
        let answer = court.decide(&other, asked.id, yes(&asked.digest)).await;
        assert!(
            matches!(answer, Err(CommandError::Forbidden { .. })),
            "{answer:?}"
        );
    }
    court
        .decide(&approver("ben"), asked.id, yes(&asked.digest))
        .await
        .unwrap();
    court.bench.audit().await;
}

#[tokio::test]
async fn a_decision_names_its_evidence_and_its_repeat_gets_the_same_answer() {
    let court = Court::open().await;
    let asked = court.asked().await;
    let anna = approver("anna");
    let stale = court.decide(&anna, asked.id, yes(&"0".repeat(64))).await;
    assert!(
        matches!(stale, Err(CommandError::EvidenceChanged { ref now }) if *now == asked.digest),
        "{stale:?}"
    );
    let first = court.decide(&anna, asked.id, yes(&asked.digest)).await.unwrap();
    let again = court.decide(&anna, asked.id, yes(&asked.digest)).await.unwrap();
    assert_eq!(first, again);
    for late in [
        court.decide(&anna, asked.id, no(&asked.digest)).await,
        court.decide(&approver("ben"), asked.id, yes(&asked.digest)).await,
    ] {
        let Err(CommandError::Decided { why, approval }) = late else {
            panic!("{late:?}")
        };
        assert!(why.contains("approved by anna"), "{why}");
        assert_eq!(*approval, first);
    }
    let unknown = court.decide(&anna, Uuid::nil(), yes(&asked.digest)).await;
    assert!(
        matches!(unknown, Err(CommandError::NotFound { .. })),
        "{unknown:?}"
    );
    let mut long = yes(&asked.digest);
    long.comment = Some("x".repeat(5000));
    assert!(matches!(
        court.decide(&anna, asked.id, long).await,
        Err(CommandError::Invalid { .. })
    ));
    assert_eq!(court.ledger("approval_decided").await.len(), 1);
    court.bench.audit().await;
}

#[tokio::test]
async fn two_different_people_are_two_and_one_no_is_enough() {
    let mut court = Court::open().await;
    court.spec.required = 2;
    let asked = court.asked().await;
    for _ in 0..2 {
        let open = court
            .decide(&approver("anna"), asked.id, yes(&asked.digest))
            .await
            .unwrap();
        assert_eq!(
            (open.state.as_str(), open.votes.len()),
            ("open", 1),
            "one person counts once"
        );
    }
    let done = court
        .decide(&approver("ben"), asked.id, yes(&asked.digest))
        .await
        .unwrap();
    assert_eq!((done.state.as_str(), done.votes.len()), ("approved", 2));
    court
        .bench
        .store
        .cancel_run(RunId(asked.run), Reason::Requested, court.bench.now)
        .await
        .unwrap();

    let asked = court.asked().await;
    court
        .decide(&approver("anna"), asked.id, yes(&asked.digest))
        .await
        .unwrap();
    let done = court
        .decide(&approver("anna"), asked.id, no(&asked.digest))
        .await
        .unwrap();
    assert_eq!(done.state, "rejected", "who said yes may think better of it");
    court.bench.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_people_at_once_make_one_decision() {
    let court = Court::open().await;
    for _ in 0..20 {
        let asked = court.asked().await;
        let all = APPROVERS.map(|name| {
            let (store, digest, now) = (court.bench.store.clone(), asked.digest.clone(), court.bench.now);
            tokio::spawn(async move { decide(&store, &approver(name), (asked.id, yes(&digest)), now).await })
        });
        let answers: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
        let winners: Vec<&Approval> = answers.iter().flatten().collect();
        let [winner] = winners.as_slice() else {
            panic!("{answers:?}")
        };
        for answer in &answers {
            match answer {
                Ok(_) => {}
                Err(CommandError::Decided { approval, .. }) => assert_eq!(approval.votes, winner.votes),
                other => panic!("{other:?}"),
            }
        }
        let claims = court.bench.claim(9).await;
        assert_eq!(claims.len(), 1, "one task run is let through, once");
        assert!(
            court
                .bench
                .report(
                    &claims[0],
                    Outcome::Rejected {
                        reason: Reason::RuleFailed
                    }
                )
                .await
        );
    }
    assert_eq!(court.ledger("approval_decided").await.len(), 20);
    court.bench.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yes_and_no_at_once_make_one_decision() {
    let court = Court::open().await;
    let mut approved = 0;
    for round in 0..40 {
        let asked = court.asked().await;
        let votes = [("anna", yes(&asked.digest)), ("ben", no(&asked.digest))];
        let votes = votes.map(|(name, decision)| {
            let (store, now) = (court.bench.store.clone(), court.bench.now);
            async move { decide(&store, &approver(name), (asked.id, decision), now).await }
        });
        let [one, other] = votes.map(tokio::spawn);
        let (one, other) = if round % 2 == 0 {
            tokio::join!(one, other)
        } else {
            tokio::join!(other, one)
        };
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(
            usize::from(one.is_ok()) + usize::from(other.is_ok()),
            1,
            "{one:?} {other:?}"
        );
        let state = court.approval(asked.id).await.state;
        if state == "approved" {
            approved += 1;
            let claim = court.bench.claim(1).await.pop().unwrap();
            court
                .bench
                .report(
                    &claim,
                    Outcome::Rejected {
                        reason: Reason::RuleFailed,
                    },
                )
                .await;
        }
        assert_eq!(
            court.bench.state(RunId(asked.run)).await,
            RunState::Rejected,
            "{state}"
        );
    }
    println!("{approved} of 40 were approved");
    court.bench.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_yes_and_a_cancellation_at_once_start_nothing_after_the_cancellation() {
    let court = Court::open().await;
    for _ in 0..40 {
        let asked = court.asked().await;
        let (store, now, digest) = (court.bench.store.clone(), court.bench.now, asked.digest.clone());
        let vote =
            tokio::spawn(
                async move { decide(&store, &approver("anna"), (asked.id, yes(&digest)), now).await },
            );
        let store = court.bench.store.clone();
        let cancel =
            tokio::spawn(async move { store.cancel_run(RunId(asked.run), Reason::Requested, now).await });
        let (vote, cancel) = tokio::join!(vote, cancel);
        assert!(cancel.unwrap().unwrap());
        let state = court.approval(asked.id).await.state;
        match vote.unwrap() {
            Ok(_) => assert_eq!(state, "approved"),
            Err(CommandError::Decided { why, .. }) => {
                assert_eq!(state, "void");
                assert!(why.contains("stopped"), "{why}");
            }
            other => panic!("{other:?}"),
        }
        assert!(court.bench.claim(9).await.is_empty());
        assert_eq!(
            court.states(asked.run).await,
            "cancelled: cancelled requested, cancelled requested"
        );
    }
    court.bench.audit().await;
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Yes,
    No,
    Time,
    Cancel,
    Newer,
}

impl By {
    const ALL: [Self; 5] = [Self::Yes, Self::No, Self::Time, Self::Cancel, Self::Newer];

    fn state(self) -> &'static str {
        match self {
            Self::Yes => "approved",
            Self::No => "rejected",
            Self::Time => "expired",
            Self::Cancel => "void",
            Self::Newer => "superseded",
        }
    }
}

impl Court {
    /// Tries to close an approval; losing is no error.
    async fn close_by(&self, by: By, asked: &Approval) {
        let (store, now) = (&self.bench.store, self.bench.now);
        let answer = match by {
            By::Yes => self.decide(&approver("anna"), asked.id, yes(&asked.digest)).await,
            By::No => self.decide(&approver("ben"), asked.id, no(&asked.digest)).await,
            By::Time => return store.expire_approvals(now).await.map(drop).unwrap(),
            By::Newer => return store.supersede_approvals(now).await.map(drop).unwrap(),
            By::Cancel => {
                let run = RunId(asked.run);
                return store
                    .cancel_run(run, Reason::Requested, now)
                    .await
                    .map(drop)
                    .unwrap();
            }
        };
        match answer {
            Ok(_) | Err(CommandError::Decided { .. } | CommandError::Expired { .. }) => {}
            other => panic!("{other:?}"),
        }
    }

    async fn cancel(&self, run: RunId) {
        let cancelled = self
            .bench
            .store
            .cancel_run(run, Reason::Requested, self.bench.now)
            .await;
        cancelled.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_two_ends_come_at_once_an_approval_has_one() {
    let court = Court::open().await;
    for one in By::ALL {
        for other in By::ALL {
            let asked = court.asked().await;
            let newer = court.bench.run().await;
            let claim = court.bench.claim(1).await.pop().unwrap();
            if [one, other].contains(&By::Newer) {
                court.opens(&claim).await;
            }
            let late = [one, other].contains(&By::Time);
            if late {
                court.end_time(asked.id).await;
            }
            tokio::join!(court.close_by(one, &asked), court.close_by(other, &asked));
            let state = court.approval(asked.id).await.state;
            // A vote that comes after the end is what closes it as expired.
            let possible = [one, other].map(|by| match by {
                By::Yes | By::No if late => "expired",
                by => by.state(),
            });
            assert!(
                possible.contains(&state.as_str()),
                "{one:?} and {other:?}: {state}"
            );
            assert!(court.bench.claim(9).await.len() <= 1, "{one:?} and {other:?}");
            court.cancel(newer).await;
            court.cancel(RunId(asked.run)).await;
            court.bench.expire_leases().await;
            court.bench.store.reap(court.bench.now).await.unwrap();
        }
    }
    court.bench.audit().await;
}

#[tokio::test]
async fn what_comes_too_late_is_refused_even_before_a_sweep_has_seen_it() {
    let mut court = Court::open().await;
    let asked = court.asked().await;
    court.end_time(asked.id).await;
    for _ in 0..2 {
        let late = court
            .decide(&approver("anna"), asked.id, yes(&asked.digest))
            .await;
        assert!(matches!(late, Err(CommandError::Expired { .. })), "{late:?}");
    }
    assert_eq!(
        court.states(asked.run).await,
        "rejected: rejected expired, skipped upstream_rejected"
    );
    assert_eq!(court.said(asked.run).await, "the approval expired");
    assert_eq!(court.approval(asked.id).await.votes, []);

    court.spec.on_expire = OnExpire::Fail;
    let asked = court.asked().await;
    assert_eq!(
        court.bench.store.expire_approvals(court.bench.now).await.unwrap(),
        0
    );
    court.end_time(asked.id).await;
    assert_eq!(
        court.bench.store.expire_approvals(court.bench.now).await.unwrap(),
        1
    );
    assert_eq!(
        court.bench.store.expire_approvals(court.bench.now).await.unwrap(),
        0
    );
    assert_eq!(
        court.states(asked.run).await,
        "failed: failed expired, skipped needs_failed"
    );
    let told = court.ledger("approval_expired").await;
    let told: Vec<_> = told.iter().map(|e| e["on_expire"].as_str().unwrap()).collect();
    assert_eq!(told, ["reject", "fail"]);
    court.bench.audit().await;
}

#[tokio::test]
async fn a_newer_run_at_the_same_gate_closes_the_older_approval_and_no_other() {
    let court = Court::open().await;
    let older = court.asked().await;
    assert_eq!(court.supersede().await, 0);
    let newer = court.asked().await;
    assert_eq!(court.supersede().await, 1);
    assert_eq!(court.approval(older.id).await.state, "superseded");
    assert_eq!(
        court.states(older.run).await,
        "rejected: rejected superseded, skipped upstream_rejected"
    );
    assert_eq!(
        court.said(older.run).await,
        "a newer run reached the same gate (superseded)"
    );
    assert!(court.said(newer.run).await.ends_with("a person decides"));
    assert_eq!(court.approval(newer.id).await.state, "open");
    let late = court
        .decide(&approver("anna"), older.id, yes(&older.digest))
        .await;
    let Err(CommandError::Decided { why, .. }) = late else {
        panic!("{late:?}")
    };
    assert!(why.contains("newer run"), "{why}");
    court.bench.audit().await;
}

#[tokio::test]
async fn in_another_version_the_same_gate_is_that_of_the_task_of_the_same_name() {
    let court = Court::open().await;
    let older = court.asked().await;
    let tasks = vec![task("before", &[], 1), gated("t"), task("b", &[], 1)];
    court.bench.apply(tasks).await;
    court.bench.run().await;
    let claims = court.bench.claim(9).await;
    for (idx, closed) in [(0, 0), (2, 0), (1, 1)] {
        let claim = claims.iter().find(|claim| claim.idx == idx).unwrap();
        court.opens(claim).await;
        assert_eq!(court.supersede().await, closed, "task {idx}");
    }
    assert_eq!(court.approval(older.id).await.state, "superseded");
    court.bench.audit().await;
}

#[tokio::test]
async fn reminders_come_again_and_again_until_it_is_decided() {
    let mut court = Court::open().await;
    court.spec.remind = Some(Duration::from_secs(3600));
    let asked = court.asked().await;
    let mut reminded = 0;
    for minutes in (0..=180).step_by(10) {
        let now = court
            .bench
            .now
            .checked_add(Duration::from_secs(minutes * 60))
            .unwrap();
        let count = court.bench.store.remind_approvals(now).await.unwrap();
        if count > 0 {
            assert_eq!(court.approval(asked.id).await.reminded_at, Some(now));
        }
        reminded += count;
    }
    assert_eq!(reminded, 3, "after one hour, two and three");
    court
        .decide(&approver("anna"), asked.id, no(&asked.digest))
        .await
        .unwrap();
    let later = court
        .bench
        .now
        .checked_add(Duration::from_secs(9 * 3600))
        .unwrap();
    assert_eq!(court.bench.store.remind_approvals(later).await.unwrap(), 0);
}

#[tokio::test]
async fn a_run_that_is_being_stopped_asks_nobody() {
    let court = Court::open().await;
    let run = court.bench.run().await;
    let claim = court.bench.claim(1).await.pop().unwrap();
    court
        .bench
        .store
        .cancel_run(run, Reason::Requested, court.bench.now)
        .await
        .unwrap();
    let reached = Reached {
        rules: Vec::new(),
        ask: None,
    };
    let report = Report {
        gate: Some(Box::new(reached)),
        cached: None,
        ..report(&claim, Outcome::Asked)
    };
    let done = court
        .bench
        .store
        .advance(vec![report], None, court.bench.now)
        .await
        .unwrap();
    assert_eq!(done.accepted, [true]);
    assert_eq!(court.bench.state(run).await, RunState::Cancelled);
    court.bench.audit().await;
}
