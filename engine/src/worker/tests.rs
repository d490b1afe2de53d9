//! Workers on a real PostgreSQL, with plugins in this process and in children that are killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod cache;
mod conditions;
mod ends;
mod freezes;
mod gates;
mod maps;
mod rollbacks;
mod secrets;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Connection;
use tidegate_test_fixtures::postgres::{self, Database};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{WorkerConfig, inside, tree};
use crate::clock;
use crate::graph::{Flow, Graph, OnWorkerLost, Overlap, Task};
use crate::id::{FlowName, RunId, TaskName, VersionHash};
use crate::plugin::{Ctx, Deployment, Isolation, Parking, Plugin, Registry, TaskError, WaitsFor};
use crate::retry::RetryPolicy;
use crate::secrets::KeySource;
use crate::state::Reason;
use crate::state::run::RunState;
use crate::store::flows::NewVersion;
use crate::store::runs::{NewRun, state_of};
use crate::store::{Store, StoreError};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Script {
    /// What to do.
    act: String,
    #[serde(default)]
    text: String,
}

#[derive(Serialize, JsonSchema)]
struct Said {
    text: String,
    pid: u32,
}

async fn act(ctx: &Ctx, script: Script) -> Result<Said, TaskError> {
    let said = |text: String| {
        Ok(Said {
            text,
            pid: std::process::id(),
        })
    };
    match script.act.as_str() {
        "echo" => said(script.text),
        "panic" => panic!("oh no"),
        "fail" => Err(TaskError::fail("no way")),
        "flaky" if ctx.attempt.attempt == 1 => Err(TaskError::retry("not yet")),
        "flaky" => said("second time".to_owned()),
        "die" => std::process::abort(),
        "hang" => {
            ctx.cancelled().await;
            Err(TaskError::Cancelled)
        }
        "spawn" => {
            // Leaves the group, and outlives its parent's end unless it is found by its mark.
            std::process::Command::new("setsid")
                .args(["sleep", "300"])
                .spawn()
                .map_err(TaskError::fail)?;
            said(String::new())
        }
        "park" => match ctx.attempt.memory.as_u64().unwrap_or(0) {
            3 => said("looked 3 times".to_owned()),
            looks => Err(parked(looks + 1, Duration::from_millis(50))),
        },
        "sleep" => Err(parked(1, Duration::from_secs(3600))),
        "huge" => said("x".repeat(2 << 20)),
        "leak" | "leak_fail" | "leak_panic" | "leak_park" => {
            secrets::act(ctx, &script).await?;
            said(script.text)
        }
        _ => ends::act(ctx, &script).await.and_then(|()| said(String::new())),
    }
}

fn parked(memory: u64, pause: Duration) -> TaskError {
    TaskError::Parked(Box::new(Parking {
        waits_for: WaitsFor::Poll,
        until: clock::now().checked_add(pause).ok(),
        note: "waits for the third look".to_owned(),
        memory: json!(memory),
    }))
}

struct Here;
struct Child;

#[async_trait]
impl Plugin for Here {
    type Input = Script;
    type Output = Said;
    const NAME: &'static str = "here";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str = "acts in the worker";
    const ISOLATION: Isolation = Isolation::Inline;
    async fn run(&self, ctx: &Ctx, input: Script) -> Result<Said, TaskError> {
        act(ctx, input).await
    }
}

#[async_trait]
impl Plugin for Child {
    type Input = Script;
    type Output = Said;
    const NAME: &'static str = "child";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str = "acts in a child process";
    async fn run(&self, ctx: &Ctx, input: Script) -> Result<Said, TaskError> {
        act(ctx, input).await
    }
}

fn registry() -> Registry {
    Registry::default()
        .with(Here)
        .with(Child)
        .with(Beside)
        .with(freezes::Guarded)
        .with(gates::Give)
        .with(gates::Mover::<false>)
        .with(gates::Mover::<true>)
        .with(rollbacks::Promote)
}

/// Acts in the worker as `command` does: with programs beside it.
struct Beside;

#[async_trait]
impl Plugin for Beside {
    type Input = Script;
    type Output = Said;
    const NAME: &'static str = "beside";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str = "starts programs";
    const ISOLATION: Isolation = Isolation::Program;
    async fn run(&self, ctx: &Ctx, input: Script) -> Result<Said, TaskError> {
        act(ctx, input).await
    }
}

/// Not a test: what the child processes of the tests below run. Without the mark it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::disallowed_methods,
    reason = "a process of the tests is told by its environment what it is"
)]
async fn child_entry() {
    if std::env::vars_os().any(|(name, _)| name == tree::MARK) {
        inside::serve(registry()).await.unwrap();
    }
}

/// Not a test: the guards of the workers below. Whoever runs tests does not ask for it.
#[tokio::test]
#[ignore = "is run by workers of other tests"]
async fn guard_entry() {
    crate::worker::guard::serve().await.unwrap();
}

struct Site {
    store: Store,
    stop: CancellationToken,
    worker: JoinHandle<Result<(), StoreError>>,
    _home: tempfile::TempDir,
    _database: Option<Database>,
}

fn task(name: &str, needs: &[u32], (uses, with): (&str, serde_json::Value)) -> Task {
    let isolation = match uses {
        "child" => Isolation::Process,
        "beside" => Isolation::Program,
        _ => Isolation::Inline,
    };
    let retry = RetryPolicy {
        attempts: 2,
        delay: Duration::from_millis(20),
        ..RetryPolicy::default()
    };
    Task {
        name: TaskName::new(name).unwrap(),
        uses: uses.to_owned(),
        description: None,
        with,
        needs: needs.to_vec(),
        when: None,
        for_each: None,
        max_parallel: None,
        run_if: crate::graph::RunIf::default(),
        continue_on_failure: false,
        retry,
        timeout: None,
        gate: None,
        env: BTreeMap::new(),
        on_worker_lost: OnWorkerLost::Retry,
        placement: crate::graph::Placement::default(),
        cache: None,
        isolation,
        files: Vec::new(),
    }
}

fn config(home: PathBuf) -> WorkerConfig {
    let program = std::env::current_exe().unwrap().display().to_string();
    let entry = |name: &str| {
        let test = format!("worker::tests::{name}");
        [&program, "--exact", &test, "--nocapture"]
            .map(str::to_owned)
            .to_vec()
    };
    WorkerConfig {
        name: "test".to_owned(),
        queues: vec!["default".to_owned()],
        slots: 4,
        home,
        env: Arc::default(),
        deployment: Deployment::default(),
        child: entry("child_entry"),
        guard: [entry("guard_entry"), vec!["--ignored".to_owned()]].concat(),
        secret_key: KeySource::Given("7".repeat(64)),
        drain: Duration::ZERO,
    }
}

/// A flow `f` of these tasks in a database and a home of their own.
async fn prepare(tasks: Vec<Task>) -> (Store, tempfile::TempDir, Database) {
    let database = postgres::database().await;
    let (store, home) = prepare_at(&database.url, tasks).await;
    (store, home, database)
}

/// The same on a server of the test's own.
async fn prepare_at(url: &str, tasks: Vec<Task>) -> (Store, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::connect(url, 8).await.unwrap();
    store.migrate().await.unwrap();
    let flow = Flow {
        name: FlowName::new("f").unwrap(),
        description: None,
        owner: None,
        tags: Vec::new(),
        timeout: None,
        expected: None,
        overlap: Overlap::Skip,
        max_active: 9,
        notify: Vec::new(),
        schedules: Vec::new(),
        triggers: Vec::new(),
        webhook: None,
        params: indexmap::IndexMap::new(),
        vars: BTreeMap::from([("greeting".to_owned(), json!("hello"))]),
        files: BTreeMap::new(),
        graph: Graph::new(tasks).unwrap(),
    };
    let version = NewVersion {
        flow,
        hash: VersionHash("0".repeat(64)),
        path: "f.toml".to_owned(),
        source: String::new(),
        actor: "test".to_owned(),
    };
    store.apply_version(version, clock::now()).await.unwrap();
    (store, home)
}

async fn start_run(store: &Store) -> RunId {
    let new = NewRun {
        id: clock::new_run_id(),
        flow: "f".to_owned(),
        version: None,
        trigger: "manual".to_owned(),
        requester: "test".to_owned(),
        tick: None,
        params: BTreeMap::from([("name".to_owned(), json!("{{ vars.greeting }}"))]),
    };
    store.create_run(new.clone(), clock::now()).await.unwrap();
    new.id
}

impl Site {
    async fn with(tasks: Vec<Task>) -> Self {
        let (store, home, database) = prepare(tasks).await;
        Self::open((store, home, Some(database)))
    }

    /// Starts a worker.
    fn open((store, home, database): (Store, tempfile::TempDir, Option<Database>)) -> Self {
        let stop = CancellationToken::new();
        let work = super::run(
            config(home.path().to_owned()),
            (store.clone(), registry()),
            Arc::new(Notify::new()),
            stop.clone(),
        );
        Self {
            store,
            stop,
            worker: tokio::spawn(work),
            _home: home,
            _database: database,
        }
    }

    async fn start(&self) -> RunId {
        start_run(&self.store).await
    }

    async fn wait(&self, what: &str, mut done: impl AsyncFnMut() -> bool) {
        for _ in 0..600 {
            if done().await {
                return;
            }
            clock::sleep(Duration::from_millis(50)).await;
        }
        panic!("waited 30 s for {what}");
    }

    async fn end(&self, run: RunId) -> RunState {
        self.wait("the run's end", async || {
            state_of(&self.store, run).await.unwrap().is_terminal()
        })
        .await;
        state_of(&self.store, run).await.unwrap()
    }

    async fn running(&self) {
        let count = async || {
            sqlx::query_scalar::<_, i64>("select count(*) from lease")
                .fetch_one(self.store.pool())
                .await
                .unwrap()
        };
        self.wait("an attempt", async || count().await > 0).await;
    }

    async fn outputs(&self, run: RunId, idx: i32) -> serde_json::Value {
        sqlx::query_scalar("select outputs from handed_on where run = $1 and idx = $2")
            .bind(run.0)
            .bind(idx)
            .fetch_one(self.store.pool())
            .await
            .unwrap()
    }

    async fn message(&self, run: RunId) -> String {
        let sql = "select coalesce(string_agg(data::text, ' '), '') from event where run = $1";
        sqlx::query_scalar(sql)
            .bind(run.0)
            .fetch_one(self.store.pool())
            .await
            .unwrap()
    }

    async fn close(self) {
        self.stop.cancel();
        self.worker.await.unwrap().unwrap();
        assert_eq!(self.store.audit().await.unwrap(), []);
        let runs: Vec<uuid::Uuid> = sqlx::query_scalar("select id from run")
            .fetch_all(self.store.pool())
            .await
            .unwrap();
        let mut left = tree::census();
        left.retain(|mark, _| runs.contains(&mark.run.0));
        assert_eq!(left, BTreeMap::new(), "processes of attempts that are over");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outputs_flow_from_task_to_task_and_params_are_never_rendered_twice() {
    let site = Site::with(vec![
        task(
            "a",
            &[],
            ("here", json!({ "act": "echo", "text": "{{ params.name }}!" })),
        ),
        task(
            "b",
            &[0],
            (
                "child",
                json!({ "act": "echo", "text": "{{ vars.greeting }} {{ tasks.a.text }}" }),
            ),
        ),
    ])
    .await;
    let run = site.start().await;
    assert_eq!(
        site.end(run).await,
        RunState::Succeeded,
        "{}",
        site.message(run).await
    );
    let said = site.outputs(run, 1).await;
    assert_eq!(said["text"], "hello {{ vars.greeting }}!");
    assert_ne!(
        said["pid"],
        std::process::id(),
        "a process plugin runs in a child"
    );
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_told_and_tried_again_only_where_that_may_help() {
    for (uses, act, expected, told, attempts) in [
        ("here", "flaky", RunState::Succeeded, "not yet", 2),
        ("here", "fail", RunState::Failed, "no way", 1),
        ("here", "panic", RunState::Failed, "panicked", 1),
        ("child", "panic", RunState::Failed, "panicked", 1),
        ("child", "die", RunState::Failed, "signal 6", 2),
        ("here", "huge", RunState::Failed, "artifact", 1),
        ("nowhere", "echo", RunState::Failed, "no plugin `nowhere`", 1),
    ] {
        let site = Site::with(vec![task("a", &[], (uses, json!({ "act": act })))]).await;
        let run = site.start().await;
        let end = site.end(run).await;
        let message = site.message(run).await;
        assert_eq!(end, expected, "{act}: {message}");
        assert!(message.contains(told), "{act}: {message}");
        assert_eq!(
            message.matches("\"attempt\"").count(),
            attempts,
            "{act}: {message}"
        );
        site.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_ends_the_attempt_and_says_so() {
    let mut slow = task("a", &[], ("child", json!({ "act": "hang" })));
    slow.timeout = Some(Duration::from_millis(300));
    slow.retry.attempts = 1;
    let site = Site::with(vec![slow]).await;
    let run = site.start().await;
    assert_eq!(site.end(run).await, RunState::Failed);
    assert!(site.message(run).await.contains("timeout"));
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_run_stops_its_child_within_the_promise() {
    let site = Site::with(vec![task("a", &[], ("child", json!({ "act": "hang" })))]).await;
    let run = site.start().await;
    site.running().await;
    let asked = clock::monotonic();
    site.store
        .cancel_run(run, Reason::Requested, clock::now())
        .await
        .unwrap();
    assert_eq!(site.end(run).await, RunState::Cancelled);
    assert!(asked.elapsed() < Duration::from_secs(15));
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_left_its_group_does_not_survive_its_attempt() {
    let site = Site::with(vec![task("a", &[], ("child", json!({ "act": "spawn" })))]).await;
    let run = site.start().await;
    assert_eq!(site.end(run).await, RunState::Succeeded);
    let mark = format!("{}={run}/a:1", tree::MARK);
    let alive = || {
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            environ.split(|b| *b == 0).any(|e| e == mark.as_bytes())
        })
    };
    site.wait("the last process of the attempt to end", async || !alive())
        .await;
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_worker_gives_its_work_back() {
    let site = Site::with(vec![task("a", &[], ("here", json!({ "act": "hang" })))]).await;
    let run = site.start().await;
    site.running().await;
    site.stop.cancel();
    site.worker.await.unwrap().unwrap();
    let state: String = sqlx::query_scalar("select state::text from task_run where run = $1")
        .bind(run.0)
        .fetch_one(site.store.pool())
        .await
        .unwrap();
    assert_eq!(state, "ready");
    assert_eq!(site.store.audit().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_plugin_runs_again_when_it_is_due_and_remembers() {
    let act = json!({ "act": "park" });
    let tasks = vec![
        task("a", &[], ("here", act.clone())),
        task("b", &[], ("child", act)),
    ];
    let site = Site::with(tasks).await;
    let run = site.start().await;
    assert_eq!(site.end(run).await, RunState::Succeeded);
    for idx in 0..2 {
        assert_eq!(site.outputs(run, idx).await["text"], "looked 3 times");
    }
    site.close().await;
}

/// A new version of a row on its own page, which no index has to learn of: all that a run's life costs beside its inserts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_updates_of_hot_rows_ninety_five_touch_no_index() {
    let wide = (0..1_000).map(|n| task(&format!("t{n}"), &[], ("here", json!({ "act": "echo" }))));
    let join = task(
        "join",
        &(0..1_000).collect::<Vec<_>>(),
        ("here", json!({ "act": "echo" })),
    );
    let mut site = Site::with(wide.chain([join]).collect()).await;
    let run = site.start().await;
    assert_eq!(site.end(run).await, RunState::Succeeded);
    let (database, store) = (site._database.take().unwrap(), site.store.clone());
    site.close().await;
    // A backend tells of its updates at the latest when it ends.
    store.close().await;
    let mut conn = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let (mut hot, mut all) = (0_i64, 0_i64);
    let began = clock::monotonic();
    while all < 2_000 {
        assert!(began.elapsed() < Duration::from_secs(20), "{all} updates");
        clock::sleep(Duration::from_millis(50)).await;
        let sums = "select coalesce(sum(n_tup_hot_upd), 0)::bigint, coalesce(sum(n_tup_upd), 0)::bigint
             from pg_stat_user_tables where relname in ('run', 'task_run', 'lease')";
        (hot, all) = sqlx::query_as(sums).fetch_one(&mut conn).await.unwrap();
    }
    println!("{hot} of {all} updates are HOT");
    assert!(hot * 100 >= all * 95, "{hot} of {all}");
}

/// Thirty looks with a second between them would take half a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_is_shorter_than_a_look_round_is_as_long_as_it_says() {
    let looks = |number| task(&format!("t{number}"), &[], ("here", json!({ "act": "park" })));
    let chained = (0..10).map(|number| Task {
        needs: (0..number).rev().take(1).collect(),
        ..looks(number)
    });
    let site = Site::with(chained.collect()).await;
    let began = clock::monotonic();
    let run = site.start().await;
    assert_eq!(site.end(run).await, RunState::Succeeded);
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_task_run_says_what_it_waits_for_and_is_cancelled_at_once() {
    let site = Site::with(vec![task("a", &[], ("here", json!({ "act": "sleep" })))]).await;
    let run = site.start().await;
    let shown = async || {
        site.store
            .run(run, clock::now())
            .await
            .unwrap()
            .unwrap()
            .tasks
            .remove(0)
    };
    site.wait("the parking", async || shown().await.state == "waiting")
        .await;
    let task = shown().await;
    assert_eq!(task.reason.as_deref(), Some("poll"));
    assert_eq!(task.message.as_deref(), Some("waits for the third look"));
    assert!(task.due_at.is_some() && task.worker.is_none());
    let cancelled = site.store.cancel_run(run, Reason::Requested, clock::now()).await;
    assert!(cancelled.unwrap());
    assert_eq!(state_of(&site.store, run).await.unwrap(), RunState::Cancelled);
    site.close().await;
}
