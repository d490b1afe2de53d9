//! What attempts say and leave, and how they end when their worker, their lease or their own parent does.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use tidegate_test_fixtures::postgres::{Cluster, Durability};
use tidegate_test_fixtures::process::Process;
use tidegate_test_fixtures::proxy::{Proxy, Upstream};
use tokio::io::AsyncWriteExt;

use super::*;
use crate::plan::Outcome;
use crate::store::claim::{Claim, Claimer};
use crate::worker::pipe::{Reader, ToChild};
use crate::worker::tree::Mark;
use crate::worker::{leftovers, lived};

/// The variable by which a worker process of these tests is told its database and home.
const WORKER: &str = "TEST_WORKER";

/// More things that a plugin of these tests does.
pub(super) async fn act(ctx: &Ctx, script: &Script) -> Result<(), TaskError> {
    match script.act.as_str() {
        "tell" => tell(ctx).await?,
        "chat" => {
            for n in 0..100 {
                ctx.info(n.to_string());
                clock::sleep(Duration::from_millis(50)).await;
            }
        }
        "keep" => std::fs::write(ctx.folders.checkpoints.join("c"), "").map_err(TaskError::fail)?,
        // Its grandchild holds all it inherited open, the talk with the worker too.
        "orphan" => {
            drop(sleeper(ctx).spawn().map_err(TaskError::fail)?);
            std::process::abort();
        }
        "busy" => {
            drop(sleeper(ctx).spawn().map_err(TaskError::fail)?);
            for _ in 0..8 {
                tokio::spawn(async { compute() });
            }
            compute();
        }
        "program" => {
            let mut program = tokio::process::Command::from(sleeper(ctx));
            program.stdin(Stdio::null()).kill_on_drop(true);
            let mut child = lived::spawn(program).await.map_err(TaskError::fail)?;
            tokio::select! {
                _ = child.wait() => {}
                () = ctx.cancelled() => return Err(TaskError::Cancelled),
            }
        }
        "escape" => {
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", ESCAPES]).env(tree::MARK, mark(ctx).to_string());
            let mut program = tokio::process::Command::from(shell);
            program.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
            let mut child = lived::spawn(program).await.map_err(TaskError::fail)?;
            let _ = child.wait().await;
        }
        other => return Err(TaskError::fail(format_args!("no act {other}"))),
    }
    Ok(())
}

/// Starts children in every way that leaves a group: a session of their own, twice forked, deaf to a hang-up, forking on and on.
const ESCAPES: &str = r#"
setsid sleep 300 &
(setsid sh -c 'sleep 300 & sleep 300 & wait' &) &
nohup setsid sleep 300 >/dev/null 2>&1 &
setsid sh -c 'while :; do sleep 0.05; done' &
sleep 300
"#;
/// How many processes that makes, at least.
const ESCAPED: usize = 8;

async fn tell(ctx: &Ctx) -> Result<(), TaskError> {
    ctx.info("by the way");
    println!("printed");
    ctx.metric("loss", 0.5, 1);
    ctx.progress(1, 2);
    let path = ctx.folders.artifacts.join("model");
    std::fs::write(&path, "weights").map_err(TaskError::fail)?;
    ctx.artifact("model", &path).await?;
    ctx.ledger("told", json!({ "n": 1 })).await?;
    Ok(())
}

/// A program outside the group of whoever starts it.
fn sleeper(ctx: &Ctx) -> std::process::Command {
    marked(&mark(ctx))
}

fn mark(ctx: &Ctx) -> Mark {
    Mark {
        run: ctx.attempt.run,
        task: ctx.attempt.place(),
        epoch: ctx.attempt.epoch,
    }
}

fn marked(mark: &Mark) -> std::process::Command {
    let mut program = std::process::Command::new("setsid");
    program.args(["sleep", "300"]).env(tree::MARK, mark.to_string());
    program
}

/// Never yields.
fn compute() {
    loop {
        std::hint::spin_loop();
    }
}

/// Not a test: a worker in a process of its own, until it is killed. Without its variable it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::disallowed_methods,
    reason = "a process of the tests is told by its environment what it is"
)]
async fn worker_entry() {
    let Some((_, told)) = std::env::vars_os().find(|(name, _)| name == WORKER) else {
        return;
    };
    let told = told.into_string().unwrap();
    let (url, home) = told.split_once(' ').unwrap();
    let store = Store::connect(url, 8).await.unwrap();
    let config = config(home.into());
    let wake = Arc::new(Notify::new());
    let worker = crate::worker::run(config, (store, registry()), wake, CancellationToken::new());
    worker.await.unwrap();
}

fn worker_process(url: &str, home: &Path) -> Process {
    Process::start(&mut worker_program(url, home), &home.join("worker"))
}

fn worker_program(url: &str, home: &Path) -> std::process::Command {
    let mut program = std::process::Command::new(std::env::current_exe().unwrap());
    program
        .args(["--exact", "worker::tests::ends::worker_entry", "--nocapture"])
        .env(WORKER, format!("{url} {}", home.display()));
    program
}

/// How many processes carry a mark.
fn alive(mark: &Mark) -> usize {
    tree::census().get(mark).copied().unwrap_or(0)
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..200 {
        if done() {
            return;
        }
        clock::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited 10 s for {what}");
}

fn mark_of(run: RunId, task: &str, epoch: i64) -> Mark {
    let task = task.to_owned();
    Mark { run, task, epoch }
}

async fn expire_and_reap(store: &Store) {
    sqlx::query("update lease set until = clock_timestamp() - interval '1 second'")
        .execute(store.pool())
        .await
        .unwrap();
    store.reap(clock::now()).await.unwrap();
}

async fn log(store: &Store, epoch: i64) -> Vec<(String, String)> {
    sqlx::query_as("select level, text from log where epoch = $1 order by run, idx, seq")
        .bind(epoch)
        .fetch_all(store.pool())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plugin_says_is_there_when_its_task_run_has_ended() {
    for uses in ["here", "child"] {
        let site = Site::with(vec![task("a", &[], (uses, json!({ "act": "tell" })))]).await;
        let run = site.start().await;
        let end = site.end(run).await;
        assert_eq!(end, RunState::Succeeded, "{}", site.message(run).await);
        let said: BTreeSet<(String, String)> = log(&site.store, 1).await.into_iter().collect();
        assert!(
            said.contains(&("info".to_owned(), "by the way".to_owned())),
            "{said:?}"
        );
        if uses == "child" {
            assert!(said.iter().any(|(_, text)| text == "printed"), "{said:?}");
        }
        let counts: (i64, i64, i64) = sqlx::query_as(
            "select (select count(*) from metric), (select count(*) from artifact), (select count(*) from ledger where run is not null)",
        )
        .fetch_one(site.store.pool())
        .await
        .unwrap();
        assert_eq!(counts, (1, 1, 1));
        site.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_an_attempt_failed_is_the_last_line_of_its_log() {
    let site = Site::with(vec![task("a", &[], ("here", json!({ "act": "fail" })))]).await;
    let run = site.start().await;
    assert_eq!(site.end(run).await, RunState::Failed);
    assert_eq!(
        log(&site.store, 1).await,
        [("error".to_owned(), "no way".to_owned())]
    );
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_died_is_noticed_though_its_own_child_holds_the_line() {
    let mut one = task("a", &[], ("child", json!({ "act": "orphan" })));
    one.retry.attempts = 1;
    let site = Site::with(vec![one]).await;
    let began = clock::monotonic();
    let run = site.start().await;
    assert_eq!(site.end(run).await, RunState::Failed);
    assert!(began.elapsed() < Duration::from_secs(15));
    assert!(
        site.message(run).await.contains("signal 6"),
        "{}",
        site.message(run).await
    );
    assert_eq!(alive(&mark_of(run, "a", 1)), 0);
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_takes_with_it_what_it_ran_and_its_successor_ends_the_run() {
    for (uses, act) in [("child", "busy"), ("here", "program")] {
        let (store, home, database) = prepare(vec![
            task("a", &[], (uses, json!({ "act": act }))),
            task("b", &[], ("here", json!({ "act": "echo" }))),
        ])
        .await;
        let run = start_run(&store).await;
        let mut worker = worker_process(&database.url, home.path());
        let mark = mark_of(run, "a", 1);
        until("the attempt's processes", || {
            alive(&mark) >= if act == "busy" { 2 } else { 1 }
        })
        .await;
        worker.kill();
        until("their end", || alive(&mark) == 0).await;
        expire_and_reap(&store).await;
        let said = log(&store, 1).await;
        assert_eq!(
            said.last(),
            Some(&("mark".to_owned(), "the worker was lost".to_owned())),
            "{said:?}"
        );
        assert!(
            home.path().join(format!("work/{run}/a/1")).exists(),
            "nobody has tidied up yet"
        );
        store
            .cancel_run(run, Reason::Requested, clock::now())
            .await
            .unwrap();
        let site = Site::open((store, home, Some(database)));
        site.end(run).await;
        let folder = site._home.path().join(format!("work/{run}"));
        until("the folders of the ended run to go", || !folder.exists()).await;
        site.close().await;
    }
}

/// A worker is killed whose attempt has children outside of its group; no other worker is there. `account`: whose processes they are.
async fn nobody_outlives_a_killed_worker(account: Option<(u32, u32)>) {
    for uses in ["beside", "child"] {
        let (store, home, database) = prepare(vec![task("a", &[], (uses, json!({ "act": "escape" })))]).await;
        let run = start_run(&store).await;
        let mut program = worker_program(&database.url, home.path());
        if let Some((uid, gid)) = account {
            std::os::unix::fs::chown(home.path(), Some(uid), Some(gid)).unwrap();
            std::os::unix::process::CommandExt::uid(&mut program, uid);
            std::os::unix::process::CommandExt::gid(&mut program, gid);
        }
        let mut worker = Process::start(&mut program, &home.path().join("worker"));
        let mark = mark_of(run, "a", 1);
        until("the attempt's processes", || alive(&mark) >= ESCAPED).await;
        let killed = clock::monotonic();
        worker.kill();
        until("their end", || alive(&mark) == 0).await;
        println!("{uses}: nobody lived {:?} after the worker", killed.elapsed());
        // Nor is anybody born after that.
        clock::sleep(Duration::from_millis(300)).await;
        assert_eq!(alive(&mark), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_left_its_group_does_not_outlive_a_killed_worker() {
    nobody_outlives_a_killed_worker(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_that_of_an_ordinary_user() {
    // Who is one already has seen it in the test before.
    if rustix::process::geteuid().is_root() {
        nobody_outlives_a_killed_worker(Some(postgres::unprivileged_user())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_that_was_killed_is_replaced_and_takes_nobody_with_it() {
    let guards = || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let words = entries.filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.to_owned();
            let words = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            (parent == std::process::id().to_string() && words.contains("guard_entry")).then_some(pid)
        });
        words
            .filter_map(rustix::process::Pid::from_raw)
            .collect::<Vec<_>>()
    };
    let busy = |name| task(name, &[], ("beside", json!({ "act": "program" })));
    let site = Site::with(vec![
        busy("a"),
        task("b", &[0], ("here", json!({ "act": "echo" }))),
    ])
    .await;
    let run = site.start().await;
    let first = mark_of(run, "a", 1);
    until("the first attempt", || alive(&first) == 1).await;
    let [old] = guards()[..] else { panic!("one guard") };
    rustix::process::kill_process(old, rustix::process::Signal::KILL).unwrap();
    let other = site.start().await;
    until("the second attempt", || alive(&mark_of(other, "a", 1)) == 1).await;
    assert!(guards().iter().any(|guard| *guard != old), "another stands by");
    assert_eq!(alive(&first), 1, "the first attempt goes on");
    for run in [run, other] {
        site.store
            .cancel_run(run, Reason::Requested, clock::now())
            .await
            .unwrap();
        site.end(run).await;
    }
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_of_postgres_cost_no_line_and_no_attempt() {
    let mut cluster = Cluster::start_with(Durability::Synced);
    let chat = vec![task("a", &[], ("child", json!({ "act": "chat" })))];
    let (store, home) = prepare_at(&cluster.url("postgres"), chat).await;
    let site = Site::open((store, home, None));
    let run = site.start().await;
    let spoken = "select count(*) > 3 from log";
    let spoken = async || {
        sqlx::query_scalar(spoken)
            .fetch_one(site.store.pool())
            .await
            .unwrap_or(false)
    };
    site.wait("the attempt's first words", spoken).await;
    for _ in 0..2 {
        cluster.stop_immediately();
        clock::sleep(Duration::from_millis(300)).await;
        cluster.start_again();
        clock::sleep(Duration::from_millis(700)).await;
    }
    assert_eq!(
        site.end(run).await,
        RunState::Succeeded,
        "{}",
        site.message(run).await
    );
    let said: Vec<String> = log(&site.store, 1)
        .await
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    let numbers: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let counted: Vec<&String> = said.iter().filter(|text| numbers.contains(text)).collect();
    assert_eq!(counted, numbers.iter().collect::<Vec<_>>());
    assert_eq!(site.message(run).await.matches("\"attempt\"").count(), 1);
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_whose_lease_is_gone_ends_without_grace() {
    let site = Site::with(vec![task("a", &[], ("child", json!({ "act": "busy" })))]).await;
    let run = site.start().await;
    let old = mark_of(run, "a", 1);
    until("the attempt's processes", || alive(&old) >= 2).await;
    let give = |sql: &'static str| sqlx::query(sql).execute(site.store.pool());
    give("update lease set epoch = epoch + 1").await.unwrap();
    until("its end, before a grace could be over", || alive(&old) == 0).await;
    give("update lease set epoch = epoch - 1").await.unwrap();
    site.store
        .cancel_run(run, Reason::Requested, clock::now())
        .await
        .unwrap();
    expire_and_reap(&site.store).await;
    assert_eq!(site.end(run).await, RunState::Cancelled);
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_cannot_renew_ends_its_attempts_before_their_leases_end() {
    let act = ("beside", json!({ "act": "escape" }));
    let (store, home, database) = prepare(vec![task("a", &[], act)]).await;
    let run = start_run(&store).await;
    let proxy = Proxy::start(Upstream::Socket(database.socket()));
    let _worker = worker_process(&database.through(proxy.port()), home.path());
    let mark = mark_of(run, "a", 1);
    until("the attempt's processes", || alive(&mark) >= ESCAPED).await;
    proxy.refuse();
    let ended: bool = loop {
        let sql = "select coalesce(bool_and(until < clock_timestamp()), true) from lease";
        let ended = sqlx::query_scalar(sql).fetch_one(store.pool()).await.unwrap();
        if ended || alive(&mark) == 0 {
            break ended;
        }
        clock::sleep(Duration::from_millis(200)).await;
    };
    assert!(!ended, "{} processes outlive the lease", alive(&mark));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_an_older_attempt_still_runs_it_ends_before_the_next_begins() {
    let site = Site::with(vec![task("a", &[], ("child", json!({ "act": "busy" })))]).await;
    let run = site.start().await;
    let old = mark_of(run, "a", 1);
    until("the attempt's processes", || alive(&old) >= 2).await;
    expire_and_reap(&site.store).await;
    until("the end of the old attempt", || alive(&old) == 0).await;
    until("the new attempt", || alive(&mark_of(run, "a", 2)) >= 2).await;
    let cancelled = site.store.cancel_run(run, Reason::Requested, clock::now()).await;
    assert!(cancelled.unwrap());
    assert_eq!(site.end(run).await, RunState::Cancelled);
    site.close().await;
}

/// A worker that holds attempts and does nothing.
async fn claim(store: &Store, slots: usize) -> Vec<Claim> {
    claim_as(store, clock::new_id(), slots).await
}

async fn claim_as(store: &Store, worker: uuid::Uuid, slots: usize) -> Vec<Claim> {
    let claimer = Claimer {
        worker,
        queues: vec!["default".to_owned()],
        slots,
        crowded: crate::store::claim::Crowded::default(),
        light: slots,
    };
    let mut claims = store.claim(claimer, clock::now()).await.unwrap();
    claims.sort_by_key(|claim| claim.idx);
    claims
}

/// The COMMIT of a claim was carried out and its answer lost: the worker holds a lease that it knows nothing of, and renews it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_holds_without_knowing_is_given_back_and_done() {
    let site = Site::with(vec![task(
        "a",
        &[],
        ("here", json!({ "act": "echo", "text": "done" })),
    )])
    .await;
    let worker = async || -> Option<uuid::Uuid> {
        let row = sqlx::query_scalar("select id from worker").fetch_optional(site.store.pool());
        row.await.unwrap()
    };
    site.wait("the worker", async || worker().await.is_some()).await;
    // By way of another process, so that this one hears no bell.
    let url = &site._database.as_ref().unwrap().url;
    let other = Store::connect(url, 2).await.unwrap();
    let run = start_run(&other).await;
    let claims = claim_as(&other, worker().await.unwrap(), 1).await;
    assert_eq!(claims.len(), 1, "before the worker looked round");
    assert_eq!(site.end(run).await, RunState::Succeeded);
    let (epoch, attempt): (i64, i32) = sqlx::query_as("select epoch, attempt from task_run where run = $1")
        .bind(run.0)
        .fetch_one(site.store.pool())
        .await
        .unwrap();
    assert_eq!((epoch, attempt), (2, 1), "what never began is no attempt");
    site.close().await;
}

async fn succeed(store: &Store, claim: &Claim) {
    let report = crate::store::advance::Report {
        run: claim.run,
        idx: claim.idx,
        epoch: claim.epoch,
        outcome: Outcome::Succeeded,
        outputs: Some(json!({})),
        message: None,
        items: None,
        gate: None,
        cached: None,
    };
    store.advance(vec![report], None, clock::now()).await.unwrap();
}

#[tokio::test]
async fn leftover_processes_are_ended_where_their_attempt_is_known_to_be_over() {
    let act = || ("here", json!({ "act": "echo" }));
    let (store, home, _database) = prepare(vec![task("a", &[], act()), task("b", &[], act())]).await;
    let run = start_run(&store).await;
    let claims = claim(&store, 2).await;
    succeed(&store, &claims[0]).await;
    let over = mark_of(run, "a", 1);
    let spared = [mark_of(run, "b", 1), mark_of(clock::new_run_id(), "a", 1)];
    let mut processes: Vec<_> = std::iter::once(&over)
        .chain(&spared)
        .map(|mark| marked(mark).spawn().unwrap())
        .collect();
    leftovers::tidy(&store, home.path()).await;
    assert_eq!(alive(&over), 0);
    assert_eq!(
        spared.each_ref().map(alive),
        [1, 1],
        "one is held, one is of another database"
    );
    expire_and_reap(&store).await;
    let heir = claim(&store, 1).await.remove(0);
    leftovers::clear_the_way(&heir).await;
    assert_eq!(
        spared.each_ref().map(alive),
        [0, 1],
        "its task run has another attempt"
    );
    for process in &mut processes {
        let _ = process.kill();
        process.wait().unwrap();
    }
}

#[tokio::test]
async fn folders_go_when_nobody_needs_them_any_more() {
    let act = || ("here", json!({ "act": "echo" }));
    let (store, home, _database) = prepare(vec![task("a", &[], act()), task("b", &[], act())]).await;
    let run = start_run(&store).await;
    let claims = claim(&store, 2).await;
    succeed(&store, &claims[0]).await;
    let stranger = clock::new_run_id();
    let path = |folder: &str| home.path().join(folder);
    let all = [
        format!("work/{run}/a/1"),
        format!("work/{run}/b/1"),
        format!("work/{run}/b/0"),
        format!("work/{stranger}/a/1"),
        format!("checkpoints/{run}/a"),
        format!("checkpoints/{run}/b"),
        format!("artifacts/{run}/a/1"),
        "work/notes".to_owned(),
    ];
    all.iter()
        .for_each(|folder| std::fs::create_dir_all(path(folder)).unwrap());
    let there = || -> Vec<usize> { (0..all.len()).filter(|n| path(&all[*n]).exists()).collect() };
    leftovers::tidy(&store, home.path()).await;
    assert_eq!(there(), [1, 3, 5, 6, 7], "what is held, strange, or to be kept");
    succeed(&store, &claims[1]).await;
    leftovers::tidy(&store, home.path()).await;
    assert_eq!(there(), [3, 6, 7]);
    assert!(!path(&format!("work/{run}")).exists() && !path(&format!("checkpoints/{run}")).exists());
}

#[tokio::test]
async fn a_message_may_be_read_in_two_goes() {
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let mut reader = Reader::new(ours.into_split().0);
    let (_, mut out) = theirs.into_split();
    out.write_all(br#"{"m":"st"#).await.unwrap();
    let first = tokio::time::timeout(Duration::from_millis(50), reader.next::<ToChild>()).await;
    assert!(first.is_err(), "half a message is none");
    out.write_all(b"op\"}\n{\"m\":\"stop\"}\nhalf").await.unwrap();
    for _ in 0..2 {
        assert!(matches!(reader.next().await, Some(ToChild::Stop)));
    }
    drop(out);
    assert!(reader.next::<ToChild>().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_do_not_outlive_their_run() {
    let site = Site::with(vec![task("a", &[], ("here", json!({ "act": "keep" })))]).await;
    let run = site.start().await;
    assert_eq!(site.end(run).await, RunState::Succeeded);
    let kept = site._home.path().join(format!("checkpoints/{run}"));
    assert!(kept.exists());
    site.stop.cancel();
    site.worker.await.unwrap().unwrap();
    assert!(!kept.exists(), "a worker tidies up at its end");
}
