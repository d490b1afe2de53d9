//! The command line as a client: a server, its API, tokens.

use rustix::process::Signal;
use tidegate_test_fixtures::wait;

use super::decisions::account;
use super::*;

/// A server, beside which tokens are made, and people: anna approves, otto operates, ada is an admin.
pub(super) struct Far {
    pub(super) served: Served,
    pool: sqlx::PgPool,
}

impl Far {
    pub(super) async fn new() -> Self {
        Self::of(served().await).await
    }

    pub(super) async fn of(served: Served) -> Self {
        let pool = sqlx::PgPool::connect(served.url()).await.unwrap();
        Self { served, pool }
    }

    /// A client in a home of its own, which knows the server and a token of somebody, and no database.
    pub(super) async fn client(&self, name: &str, role: &str) -> Tidegate {
        let token = self.token(name, role).await;
        self.with(&token)
    }

    fn with(&self, token: &str) -> Tidegate {
        alone()
            .env("TIDEGATE_URL", &self.served.address)
            .env("TIDEGATE_TOKEN", token)
    }

    /// Makes a person, and a token as that person: this account stands for them meanwhile.
    async fn token(&self, name: &str, role: &str) -> String {
        let me = account();
        self.sql("update person set os_user = null").await;
        self.served
            .run(&["user", "add", name, "--role", role, "--os-user", &me]);
        self.sql(&format!(
            "update person set os_user = '{me}' where name = '{name}'"
        ))
        .await;
        let made = self
            .served
            .run(&["token", "create", "test", "--role", role, "--expires", "1h"]);
        assert_eq!(made.code(), 0, "{made:?}");
        assert!(made.stderr.contains(&format!("acts as {name}")), "{made:?}");
        self.sql("update person set os_user = null").await;
        made.stdout.trim().to_owned()
    }

    pub(super) async fn sql(&self, statement: &str) {
        sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
            .execute(&self.pool)
            .await
            .unwrap();
    }
}

/// A run that waits at its gate; its id.
fn waiting(client: &Tidegate) -> String {
    let made = json(&client.run(&["run", "ask-a-person", "-o", "json"]));
    let id = made["id"].as_str().unwrap().to_owned();
    wait::until("the run's question", SOON, || {
        let run = json(&client.run(&["show", &id, "-o", "json"]));
        (run["state"] == "waiting").then_some(())
    });
    id
}

#[tokio::test]
async fn a_run_is_watched_through_a_server_and_its_code_is_the_verbs() {
    let far = Far::new().await;
    let ada = far.client("ada", "admin").await;
    let hello = example("hello");
    let hello = hello.to_str().unwrap();
    table(&ada.run(&["apply", hello]), &["hello", "created"]);
    table(&ada.run(&["apply", hello]), &["hello", "unchanged"]);
    let done = ada.run(&["run", "hello", "-p", "who=tide", "--watch"]);
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(
        done.stdout.contains("✓ greet") && done.stderr.is_empty(),
        "{done:?}"
    );
    let logs = ada.run(&["logs", "last", "greet"]);
    assert!(logs.stdout.contains("hello tide, you have 5 letters"), "{logs:?}");
    assert_eq!(ada.run(&["logs", "last", "greet", "-f"]).stdout, logs.stdout);

    let broken = flow(&ada, "broken", &shell("t", "echo no >&2; exit 3"));
    let failed = ada.run(&["run", &broken, "-w"]);
    assert_eq!(failed.code(), 1, "a file is applied, then run: {failed:?}");
    assert!(failed.stdout.contains("✗ t"), "{failed:?}");
    let again = ada.run(&["retry", "last", "--watch", "-o", "json"]);
    assert_eq!(again.code(), 1, "{again:?}");
    assert!(again.stdout.contains("\"trigger\": \"retry\""), "{again:?}");

    ada.run(&["apply", example("ask-a-person").to_str().unwrap()]);
    let rejected = ada.run(&["run", "ask-a-person", "-p", "quality=0.2", "--watch"]);
    assert_eq!(rejected.code(), 3, "{rejected:?}");
    refused(
        &ada.run(&["run", "ask-a-person", "-p", "quality=much"]),
        2,
        &["quality", "a number"],
    );
    refused(
        &ada.run(&["run", "ask-a-person", "-p", "quality=7"]),
        2,
        &["quality"],
    );
    refused(
        &ada.run(&["run", "helo"]),
        6,
        &["no flow `helo`", "did you mean `hello`?"],
    );
    refused(&ada.run(&["show", "aaaaaaaa"]), 6, &["no run `aaaaaaaa`"]);

    let slow = flow(&ada, "slow", &shell("t", "echo started; sleep 60"));
    let late = ada.run(&["run", &slow, "--watch", "--timeout", "1s"]);
    assert_eq!(late.code(), 124, "{late:?}");
    assert!(late.stderr.contains("come back with"), "{late:?}");
    let mut watcher = ada.spawn(&["show", "last", "--watch"]);
    watcher.wait_for_line("t  running", SOON);
    let mut reader = ada.spawn(&["logs", "last", "-f"]);
    reader.wait_for_line("started", SOON);
    assert_eq!(ada.run(&["cancel", "last"]).code(), 0);
    assert_eq!(watcher.wait(SOON).code(), Some(4), "{}", watcher.output());
    assert_eq!(reader.wait(SOON).code(), Some(0), "{}", reader.output());
    refused(&ada.run(&["cancel", "last"]), 6, &["is cancelled already"]);
}

#[tokio::test]
async fn the_flow_files_of_a_client_are_checked_by_the_server_all_or_none() {
    let far = Far::new().await;
    let otto = far.client("otto", "operator").await;
    let ada = far.client("ada", "admin").await;
    let a = flow(&ada, "a", &shell("t", "true"));
    refused(
        &otto.run(&["apply", &a]),
        6,
        &["otto is not granted the role admin"],
    );
    // What only the server can know: there is no such pool.
    let b = flow(
        &ada,
        "b",
        &format!(
            "{}pool = \"gpu\"\n",
            shell("t", "true").trim_end().to_owned() + "\n"
        ),
    );
    refused(&ada.run(&["apply", &a, &b]), 2, &["gpu"]);
    assert_eq!(
        json(&ada.run(&["runs", "-o", "json"]))["items"],
        serde_json::json!([])
    );
    refused(&ada.run(&["run", "a"]), 6, &["no flow `a`"]);

    std::fs::create_dir(ada.home().join("sql")).unwrap();
    std::fs::write(ada.home().join("sql/x.sql"), "select 1").unwrap();
    let tasks = "[vars]\nplace = \"${TIDEGATE_VAR_PLACE}\"\n\n[tasks.t]\nuses = \"command\"\nfiles = [\"sql/x.sql\"]\n\
        with = { shell = \"cat sql/x.sql; echo at {{ vars.place }}\" }\n";
    let c = flow(&ada, "c", tasks);
    let ada = ada.env("TIDEGATE_VAR_PLACE", "the harbour");
    let done = ada.run(&["run", &c, "--watch"]);
    assert_eq!(done.code(), 0, "{done:?}");
    let logs = ada.run(&["logs", "last"]);
    assert!(
        logs.stdout.contains("select 1") && logs.stdout.contains("at the harbour"),
        "{logs:?}"
    );
    table(
        &ada.run(&["apply", "--prune", &a]),
        &["a", "created", "c", "removed"],
    );
}

#[tokio::test]
async fn decisions_go_through_a_server_and_what_it_refuses_is_6_with_its_sentence() {
    let far = Far::new().await;
    far.served.apply("ask-a-person");
    let otto = far.client("otto", "operator").await;
    let anna = far.client("anna", "approver").await;
    let id = waiting(&otto);
    let gate = format!("{}/release", &id[28..]);
    table(&anna.run(&["approvals"]), &[&gate, "ask-a-person", "open"]);
    let why = anna.run(&["why", &id]);
    assert!(why.stdout.contains("release"), "{why:?}");
    assert_eq!(why.stdout, far.served.run(&["why", &id]).stdout);
    refused(
        &otto.run(&["approve", &gate]),
        6,
        &["otto is not among those who are asked"],
    );
    let other = "0".repeat(64);
    refused(
        &anna.run(&["approve", &gate, "--evidence", &other]),
        6,
        &["evidence is another by now"],
    );
    refused(
        &anna.run(&["approve", &format!("{id}/releese")]),
        6,
        &["did you mean `release`?"],
    );
    far.sql("update run set requester = 'anna'").await;
    refused(&anna.run(&["approve", &gate]), 6, &["anna asked for this run"]);
    far.sql("update run set requester = 'otto'").await;
    let done = anna.run(&["approve", &id, "--comment", "good enough"]);
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(
        done.stdout.contains("0.9") && done.stdout.contains("approved"),
        "{done:?}"
    );
    assert_eq!(anna.run(&["show", &id, "--watch"]).code(), 0);
    refused(&anna.run(&["reject", &gate]), 6, &["approved"]);

    let id = waiting(&otto);
    far.sql("update approval set expires_at = clock_timestamp() - interval '1 minute' where state = 'open'")
        .await;
    refused(&anna.run(&["approve", &id]), 6, &["expired"]);
    let id = waiting(&otto);
    let no = json(&anna.run(&["reject", &id, "--comment", "not today", "-o", "json"]));
    assert_eq!(no["state"], "rejected");
    assert_eq!(anna.run(&["show", &id, "--watch"]).code(), 3);

    let hurry = [
        "run",
        "ask-a-person",
        "--emergency",
        "--reason",
        "the shop is down",
        "-o",
        "json",
    ];
    let urgent = json(&otto.run(&hurry))["id"].as_str().unwrap().to_owned();
    let told = anna.run(&["approve", &urgent]);
    assert!(told.code() == 0 && told.stdout.contains("emergency"), "{told:?}");
    assert!(anna.run(&["ledger", "export"]).stdout.contains("not today"));
    assert_eq!(anna.run(&["ledger", "verify"]).code(), 0);
}

/// Verbs that only show something.
const LISTS: [&[&str]; 13] = [
    &["runs"],
    &["show", "last"],
    &["why", "last"],
    &["logs", "last"],
    &["approvals", "--all"],
    &["models"],
    &["gate", "test", "by-the-rules/release", "--set", "above=0.3"],
    &["pool", "list"],
    &["freeze", "list", "--all"],
    &["schedule", "list"],
    &[
        "schedule",
        "next",
        "ask-a-person",
        "--after",
        "2026-03-27T12:00:00Z",
    ],
    &["ledger", "verify"],
    &["token", "list"],
];

#[tokio::test]
async fn a_gate_is_tried_through_a_server_and_refused_in_the_same_words() {
    let far = Far::new().await;
    far.served.apply("by-the-rules");
    let vera = far.client("vera", "viewer").await;
    let another_gate = |gate, set| vera.run(&["gate", "test", gate, "--set", set]);
    refused(
        &another_gate("by-the-rules/relaese", "above=1"),
        6,
        &["did you mean `release`?"],
    );
    refused(
        &another_gate("by-the-rules/release", "abov=1"),
        2,
        &["above=0.36"],
    );
    assert_eq!(another_gate("by-the-rules/release", "above=0.36").code(), 0);
}

#[tokio::test]
async fn a_client_shows_what_is_shown_beside_the_database() {
    let far = Far::new().await;
    far.served.apply("hello");
    far.served.apply("ask-a-person");
    far.served.apply("by-the-rules");
    let ada = far.client("ada", "admin").await;
    assert_eq!(
        far.served
            .run(&["run", "by-the-rules", "--watch", "-p", "quality=0.9"])
            .code(),
        0
    );
    assert_eq!(far.served.run(&["run", "hello", "--watch"]).code(), 0);
    for words in [
        &["pool", "set", "training", "2"][..],
        &["freeze", "add", "--until", "1h", "--reason", "audit"],
        &["schedule", "pause", "ask-a-person"],
    ] {
        assert_eq!(ada.run(words).code(), 0, "{words:?}");
    }
    assert!(
        ada.run(&["pool", "set", "training", "2"])
            .stdout
            .contains("had already")
    );
    for words in LISTS {
        let shown = |tidegate: &Tidegate| tidegate.run(&[words, &["-o", "json"]].concat());
        let (far_off, here) = (shown(&ada), shown(&far.served));
        assert_eq!(
            (far_off.code(), &far_off.stdout),
            (0, &here.stdout),
            "{words:?} {far_off:?}"
        );
    }
    let ticks = [
        "backfill",
        "ask-a-person",
        "--from",
        "2026-03-27",
        "--to",
        "2026-03-31",
        "--dry-run",
    ];
    assert_eq!(ada.run(&ticks).stdout, far.served.run(&ticks).stdout);
    refused(
        &ada.run(&["runs", "--flow", "helo"]),
        6,
        &["did you mean `hello`?"],
    );
    refused(&ada.run(&["models", "history", "x"]), 6, &["no model `x`"]);
    let window = json(&ada.run(&["freeze", "list", "-o", "json"]));
    let window = window["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(ada.run(&["freeze", "end", &window]).code(), 0);
    assert_eq!(ada.run(&["pool", "rm", "training"]).code(), 0);
}

#[tokio::test]
async fn tokens_are_listed_revoked_and_read_from_files() {
    let far = Far::new().await;
    far.served.apply("hello");
    let token = far.token("otto", "operator").await;
    let file = far.served.home().join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let by_file = alone()
        .env("TIDEGATE_URL", &far.served.address)
        .env("TIDEGATE_TOKEN_FILE", file.to_str().unwrap());
    assert_eq!(by_file.run(&["run", "hello"]).code(), 0);
    refused(
        &by_file.run(&["pool", "set", "x", "1"]),
        6,
        &["otto is not granted the role admin"],
    );
    let listed = json(&far.served.run(&["token", "list", "-o", "json"]));
    let of_otto = &listed["items"][0];
    assert_eq!(
        (&of_otto["owner"], &of_otto["state"]),
        (&"otto".into(), &"valid".into())
    );
    assert!(
        of_otto["used_at"].is_string() && !listed.to_string().contains(&token),
        "{listed}"
    );
    let id = of_otto["id"].as_str().unwrap()[28..].to_owned();
    assert_eq!(far.served.run(&["token", "revoke", &id]).code(), 0);
    refused(
        &by_file.run(&["runs"]),
        6,
        &["wrong, expired, or revoked", "token create"],
    );
    refused(
        &far.with("tg_wrong").run(&["runs"]),
        6,
        &["does not know this token"],
    );
    refused(
        &far.served.run(&["token", "create", "x", "--role", "viewer"]),
        2,
        &["--service", "--os-user"],
    );
    let service = far
        .served
        .run(&["token", "create", "x", "--role", "operator", "--service", "ci"]);
    let made = far
        .with(service.stdout.trim())
        .run(&["run", "hello", "-o", "json"]);
    assert_eq!(json(&made)["requester"], "service:ci");
    let exported = far.served.run(&["ledger", "export"]).stdout;
    assert!(
        exported.contains("token_created") && exported.contains("token_revoked"),
        "{exported}"
    );
    assert!(!exported.contains(&token), "{exported}");
}

#[tokio::test]
async fn who_follows_a_run_outlives_the_server_it_follows_through() {
    // It runs on a worker of its own: what goes away is the server.
    let database = database().await;
    let url = database.url.clone();
    let served = serve_as(
        alone().env("DATABASE_URL", &url),
        &["server", "--bind", "127.0.0.1:0"],
    );
    let mut far = Far::of(Served {
        database: Some(database),
        ..served
    })
    .await;
    let mut worker = far.served.spawn(&["worker"]);
    worker.wait_for_line("worker is up", SOON);
    let ada = far.client("ada", "admin").await;
    let gate = ada.home().join("go");
    let script = format!(
        "echo first; until [ -e {} ]; do sleep 0.1; done; echo last",
        gate.display()
    );
    let slow = flow(&ada, "slow", &shell("t", &script));
    let bind = far.served.address.trim_start_matches("http://").to_owned();
    let mut watcher = ada.spawn(&["run", &slow, "--watch"]);
    watcher.wait_for_line("t  running", SOON);
    let mut reader = ada.spawn(&["logs", "last", "-f"]);
    reader.wait_for_line("first", SOON);
    far.served.server.signal(Signal::TERM);
    far.served.server.wait(Duration::from_secs(60));
    refused(&ada.run(&["runs"]), 5, &["cannot be reached", "TIDEGATE_URL"]);
    let again = serve_as(alone().env("DATABASE_URL", url), &["server", "--bind", &bind]);
    std::fs::write(&gate, "").unwrap();
    assert_eq!(watcher.wait(SOON).code(), Some(0), "{}", watcher.output());
    assert_eq!(reader.wait(SOON).code(), Some(0), "{}", reader.output());
    let said = reader.stdout();
    assert!(said.contains("last"), "{said}");
    assert_eq!(said.matches("first").count(), 1, "each line once: {said}");
    drop(again);
}

#[test]
fn a_server_that_is_not_there_or_is_none_is_5_and_what_cannot_go_through_one_is_2() {
    let nobody = || {
        alone()
            .env("TIDEGATE_URL", "http://127.0.0.1:1")
            .env("TIDEGATE_TOKEN", "tg_x")
    };
    refused(
        &nobody().run(&["runs"]),
        5,
        &["http://127.0.0.1:1 cannot be reached", "TIDEGATE_URL"],
    );
    refused(
        &alone().env("TIDEGATE_URL", "http://127.0.0.1:1").run(&["runs"]),
        2,
        &["TIDEGATE_TOKEN"],
    );
    let odd = alone()
        .env("TIDEGATE_URL", "tidegate.example")
        .env("TIDEGATE_TOKEN", "tg_x");
    refused(&odd.run(&["runs"]), 2, &["TIDEGATE_URL", "https://"]);
    let clear = alone()
        .env("TIDEGATE_URL", "http://0.0.0.0:1")
        .env("TIDEGATE_TOKEN", "tg_x");
    refused(&clear.run(&["runs"]), 5, &["in the clear"]);
    for verb in [
        &["dev"][..],
        &["server"],
        &["worker"],
        &["db", "status"],
        &["db", "migrate"],
        &["user", "list"],
        &["secret", "list"],
        &["doctor"],
        &["token", "create", "x", "--role", "viewer"],
    ] {
        refused(&nobody().run(verb), 2, &["TIDEGATE_URL", "unset"]);
    }
    let hello = example("hello");
    assert_eq!(nobody().run(&["check", hello.to_str().unwrap()]).code(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_is_told_from_ours() {
    let other = tidegate_test_fixtures::server::Server::answering(&[
        "404 Not Found\n\n<html>",
        "302 Found\nlocation: https://sso.example/\n\n",
    ])
    .await;
    let client = alone()
        .env("TIDEGATE_URL", other.url(""))
        .env("TIDEGATE_TOKEN", "tg_x");
    refused(&client.run(&["runs"]), 5, &["no tidegate server"]);
    refused(&client.run(&["runs"]), 5, &["leads on to https://sso.example/"]);
}

#[tokio::test]
async fn an_approver_stops_an_emergency_that_its_operator_may_stop_too() {
    let far = Far::new().await;
    far.served.apply("hello");
    let otto = far.client("otto", "operator").await;
    let anna = far.client("anna", "approver").await;
    let vera = far.client("vera", "viewer").await;
    let declare = || {
        let words = [
            "run",
            "hello",
            "--emergency",
            "--reason",
            "wrong prices",
            "-o",
            "json",
        ];
        json(&otto.run(&words))["id"].as_str().unwrap().to_owned()
    };
    let id = declare();
    refused(&vera.run(&["reject", &id]), 6, &["vera is not granted"]);
    refused(&otto.run(&["approve", &id]), 6, &["role"]);
    let stopped = anna.run(&["reject", &id, "--comment", "the prices are right"]);
    assert_eq!(stopped.code(), 0, "{stopped:?}");
    assert!(stopped.stdout.contains("is cancelled"), "{stopped:?}");
    let said = "declined by anna: the prices are right";
    let why = anna.run(&["why", &id]);
    assert!(why.stdout.contains(said), "{why:?}");
    let exported = anna.run(&["ledger", "export"]).stdout;
    let entry = exported.lines().find(|line| line.contains("emergency_declined"));
    let entry: Value = serde_json::from_str(entry.unwrap()).unwrap();
    assert_eq!(
        (&entry["actor"], &entry["run"]),
        (&"anna".into(), &id.clone().into())
    );
    assert_eq!(entry["body"]["comment"], "the prices are right");
    refused(&anna.run(&["reject", &id]), 6, &[]);
    let id = declare();
    assert_eq!(otto.run(&["reject", &id]).code(), 0);
    assert_eq!(
        json(&otto.run(&["show", &id, "-o", "json"]))["reason"],
        "requested"
    );
}
