//! Rolling back by the way it really takes: the verb, its run, the move; and who may not.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::*;
use crate::command::{
    Actor, CommandError, Request, RetryRequest, Role, RollbackRequest, Triggered, Way, retry, roll_back,
    trigger,
};
use crate::plugin::AliasMove;
use crate::rollback::Refusal;
use crate::store::freezes::NewFreeze;

/// Moves an alias in our registry, as the plugin of that name does.
pub(super) struct Promote;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    model: String,
    alias: String,
    from: i64,
    version: i64,
}

#[async_trait]
impl Plugin for Promote {
    type Input = Wanted;
    type Output = Value;
    const NAME: &'static str = "promote";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str = "moves an alias";
    const ISOLATION: Isolation = Isolation::Inline;
    const GUARDED: bool = true;
    async fn run(&self, ctx: &Ctx, input: Wanted) -> Result<Value, TaskError> {
        let wanted = AliasMove {
            model: input.model,
            alias: input.alias,
            from: Some(input.from),
            to: input.version,
        };
        if !ctx.begin_move(&wanted).await?.done_before {
            ctx.finish_move(&wanted).await?;
        }
        Ok(json!({}))
    }
}

fn otto() -> Actor {
    Actor::person("otto", [Role::Operator])
}

fn back(from: i64, to: Option<i64>) -> RollbackRequest {
    RollbackRequest {
        from,
        to,
        reason: " answers are slow ".to_owned(),
    }
}

async fn ask(
    store: &Store,
    (actor, model): (&Actor, &str),
    (request, key): (RollbackRequest, Option<&str>),
) -> Result<Triggered, CommandError> {
    let way = Way {
        registry: &registry(),
        trigger: "manual",
        key,
    };
    roll_back(store, actor, ((model, "production"), request, way), clock::now()).await
}

/// `production` of a model that was promoted through these versions.
async fn promoted(store: &Store, model: &str, versions: &[i64]) {
    for statement in [
        "insert into model (name, created_at) values ($1, now())",
        "insert into model_version (model, version, source, facts, created_at)
         select distinct $1, version, 's3://bucket/model', '{}'::jsonb, now() from unnest($2::bigint[]) as u(version)",
        "insert into model_alias (model, alias, version, moved_at)
         select $1, 'production', ($2::bigint[])[cardinality($2::bigint[])], now()",
        "insert into alias_move (model, alias, number, version, before, at, actor)
         select $1, 'production', nth, version, lag(version) over (order by nth), now() - interval '1 day' + nth * interval '1 s', 'anna'
         from unnest($2::bigint[]) with ordinality as u(version, nth)",
    ] {
        let statement = sqlx::query(statement).bind(model).bind(versions);
        statement.execute(store.pool()).await.unwrap();
    }
}

async fn points_to(store: &Store, model: &str) -> i64 {
    let found = store.model_at(model, "production").await.unwrap();
    found.unwrap().version
}

fn refusal(answer: Result<Triggered, CommandError>) -> Refusal {
    match answer {
        Err(CommandError::NotRolledBack(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn id(done: &Triggered) -> RunId {
    RunId(done.run.summary.id)
}

/// A worker, and `m@production` that was promoted to 1, 2 and 3.
async fn shop() -> Site {
    let site = Site::with(vec![task("a", &[], ("here", json!({ "act": "echo" })))]).await;
    promoted(&site.store, "m", &[1, 2, 3]).await;
    site
}

#[tokio::test]
async fn rollbacks_go_back_one_by_one_each_with_its_reason_and_its_entries() {
    let site = shop().await;
    let mut runs = Vec::new();
    for (from, to) in [(3, 2), (2, 1)] {
        let done = ask(&site.store, (&otto(), "m"), (back(from, None), None))
            .await
            .unwrap();
        assert_eq!(site.end(id(&done)).await, RunState::Succeeded);
        assert_eq!(points_to(&site.store, "m").await, to);
        runs.push(id(&done).0);
    }
    let end = refusal(ask(&site.store, (&otto(), "m"), (back(1, None), None)).await);
    assert!(matches!(end, Refusal::NothingBefore { version: 1, .. }), "{end}");
    let moves = site.store.alias_moves("m").await.unwrap();
    let told: Vec<_> = moves
        .iter()
        .map(|moved| (moved.version, moved.actor.as_str(), moved.rollback.as_deref()))
        .collect();
    let reason = Some("answers are slow");
    let expected = [
        (1, "otto", reason),
        (2, "otto", reason),
        (3, "anna", None),
        (2, "anna", None),
        (1, "anna", None),
    ];
    assert_eq!(told, expected);
    let entries: Vec<(String, String, uuid::Uuid, Value)> = sqlx::query_as(
        "select kind, actor, run, body::jsonb from ledger where kind <> 'flow_applied' order by seq limit 2",
    )
    .fetch_all(site.store.pool())
    .await
    .unwrap();
    assert_eq!(
        (&*entries[0].0, &*entries[0].1, entries[0].2),
        ("rollback_requested", "otto", runs[0])
    );
    let asked =
        json!({"model": "m", "alias": "production", "from": 3, "to": 2, "reason": "answers are slow"});
    assert_eq!(entries[0].3, asked);
    assert_eq!(
        (&*entries[1].0, entries[1].2, &entries[1].3["to"]),
        ("alias_moved", runs[0], &json!(2))
    );
    assert!(site.store.verify_ledger().await.unwrap().broken.is_none());
    site.close().await;
}

#[tokio::test]
async fn what_does_not_go_back_is_refused_in_words_and_makes_no_run() {
    let (store, _home, _database) = prepare(vec![task("a", &[], ("here", json!({ "act": "echo" })))]).await;
    promoted(&store, "m", &[1, 2, 3]).await;
    let said = async |model: &str, request: RollbackRequest| {
        let answer = ask(&store, (&otto(), model), (request, None)).await;
        answer.unwrap_err().to_string()
    };
    assert_eq!(
        said("m", back(2, None)).await,
        "m@production points to v3 by now, not to v2; look again before you roll back"
    );
    assert_eq!(
        said("m", back(3, Some(3))).await,
        "m@production points to v3 already"
    );
    assert!(
        said("m", back(3, Some(9)))
            .await
            .contains("only to v2, v1; a version that is new")
    );
    assert_eq!(said("n", back(3, None)).await, "no model `n`; did you mean `m`?");
    let staging = (
        ("m", "produktion"),
        back(3, None),
        Way {
            registry: &registry(),
            trigger: "api",
            key: None,
        },
    );
    let astray = roll_back(&store, &otto(), staging, clock::now())
        .await
        .unwrap_err();
    assert_eq!(
        astray.to_string(),
        "no alias `m@produktion`; did you mean `production`?"
    );
    let without = RollbackRequest {
        reason: " ".to_owned(),
        ..back(3, None)
    };
    assert!(said("m", without).await.contains("say why"));
    let vera = Actor::person("vera", [Role::Viewer]);
    let viewer = ask(&store, (&vera, "m"), (back(3, None), None)).await;
    assert!(
        matches!(viewer, Err(CommandError::Forbidden { .. })),
        "{viewer:?}"
    );
    let runs: i64 = sqlx::query_scalar("select count(*) from run")
        .fetch_one(store.pool())
        .await
        .unwrap();
    assert_eq!(runs, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_click_makes_one_move_and_other_models_do_not_wait() {
    let (store, home, database) = prepare(vec![task("a", &[], ("here", json!({ "act": "echo" })))]).await;
    promoted(&store, "m", &[1, 2, 3]).await;
    promoted(&store, "n", &[4, 5]).await;
    let (otto, anna) = (otto(), Actor::person("anna", [Role::Approver]));
    let both = tokio::join!(
        ask(&store, (&otto, "m"), (back(3, None), None)),
        ask(&store, (&anna, "m"), (back(3, Some(1)), None)),
    );
    let (made, late) = if both.0.is_ok() { both } else { (both.1, both.0) };
    let made = made.unwrap();
    assert!(matches!(refusal(late), Refusal::UnderWay { run, .. } if run == made.run.summary.id));
    let once = ask(&store, (&otto, "n"), (back(5, None), Some("k")))
        .await
        .unwrap();
    let again = ask(&store, (&otto, "n"), (back(5, None), Some("k")))
        .await
        .unwrap();
    assert_eq!((id(&once), once.created), (id(&again), !again.created));
    assert_eq!(
        once.run.summary.state, "running",
        "beside the other one, not behind it"
    );
    let site = Site::open((store, home, Some(database)));
    for run in [id(&made), id(&once)] {
        assert_eq!(site.end(run).await, RunState::Succeeded);
    }
    assert_eq!(site.store.alias_moves("m").await.unwrap().len(), 4);
    assert_eq!(points_to(&site.store, "n").await, 4);
    // Long after, the key still names that run; the click of another page does not.
    let after = ask(&site.store, (&otto, "n"), (back(5, None), Some("k")))
        .await
        .unwrap();
    assert_eq!(id(&after), id(&once));
    let stale = refusal(ask(&site.store, (&otto, "n"), (back(5, None), None)).await);
    assert!(matches!(stale, Refusal::Moved { now: Some(4), .. }), "{stale}");
    site.close().await;
}

#[tokio::test]
async fn in_a_freeze_somebody_with_a_reason_passes_and_a_service_waits() {
    let site = shop().await;
    let now = clock::now();
    let window = NewFreeze {
        flow: None,
        from: now,
        until: now.checked_add(SignedDuration::from_hours(2)).unwrap(),
        reason: "books are closed".to_owned(),
    };
    site.store
        .add_freeze(window, ("ada", Timestamp::UNIX_EPOCH))
        .await
        .unwrap();
    let done = ask(&site.store, (&otto(), "m"), (back(3, None), None))
        .await
        .unwrap();
    assert_eq!(site.end(id(&done)).await, RunState::Succeeded);
    let passed: (String, Value) =
        sqlx::query_as("select actor, body::jsonb from ledger where kind = 'freeze_passed'")
            .fetch_one(site.store.pool())
            .await
            .unwrap();
    assert_eq!(
        (&*passed.0, &passed.1["reason"]),
        ("otto", &json!("answers are slow"))
    );
    let service = Actor::service("service:pager", [Role::Operator]);
    let held = ask(&site.store, (&service, "m"), (back(2, None), None))
        .await
        .unwrap();
    site.wait("the service's to wait", async || {
        let run = site.store.run(id(&held), clock::now()).await.unwrap().unwrap();
        run.tasks[0].state == "waiting"
    })
    .await;
    assert_eq!(points_to(&site.store, "m").await, 2);
    site.store
        .cancel_run(id(&held), Reason::Requested, clock::now())
        .await
        .unwrap();
    site.close().await;
}

#[tokio::test]
async fn nothing_else_makes_runs_of_the_flow_and_no_apply_removes_it() {
    let site = shop().await;
    let done = ask(&site.store, (&otto(), "m"), (back(3, None), None))
        .await
        .unwrap();
    assert_eq!(site.end(id(&done)).await, RunState::Succeeded);
    let now = clock::now();
    let params = json!({"model": "m", "alias": "production", "from": 2, "version": 3, "reason": "x"});
    let request = Request {
        params: params.as_object().unwrap().clone(),
        ..Request::default()
    };
    let by_hand = trigger(&site.store, &otto(), ("roll-back", request, "api", None), now).await;
    let again = RetryRequest {
        from: Some("move".to_owned()),
        ..RetryRequest::default()
    };
    let retried = retry(&site.store, &otto(), (id(&done), again, None), now).await;
    for answer in [by_hand, retried] {
        let why = answer.unwrap_err();
        assert!(
            matches!(&why, CommandError::Forbidden { why } if why.contains("models rollback")),
            "{why}"
        );
    }
    let gone = site
        .store
        .apply_versions(Vec::new(), Some("anna"), now)
        .await
        .unwrap();
    assert_eq!(gone.iter().map(|change| &*change.flow).collect::<Vec<_>>(), ["f"]);
    assert!(site.store.flow("roll-back", now).await.unwrap().is_some());
    site.close().await;
}

#[tokio::test]
async fn a_flow_of_somebodys_with_that_name_is_not_replaced() {
    let (store, _home, _database) = prepare(vec![task("a", &[], ("here", json!({ "act": "echo" })))]).await;
    promoted(&store, "m", &[1, 2]).await;
    for statement in [
        "insert into flow (name, version, created_at, updated_at) values ('roll-back', repeat('a', 64), now(), now())",
        "insert into flow_version (hash, flow, number, path, source, definition, created_at, created_by)
         select repeat('a', 64), 'roll-back', 1, 'flows/roll-back.toml', '', definition, created_at, 'ben' from flow_version",
    ] {
        sqlx::query(statement).execute(store.pool()).await.unwrap();
    }
    let refused = ask(&store, (&otto(), "m"), (back(2, None), None))
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, CommandError::NotReady { why } if why.contains("rename it")),
        "{refused}"
    );
}
