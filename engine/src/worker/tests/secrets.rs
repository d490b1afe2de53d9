//! A canary secret: the plugin sees it, and nobody else anywhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::command::{Actor, Role, set_secret};
use crate::secrets::SecretKey;

const CANARY: &str = "kanarien/vogel \"7\"";

/// Prints the secret in every way it can think of.
pub(super) async fn act(ctx: &Ctx, script: &Script) -> Result<(), TaskError> {
    use std::io::Write;
    let secret = script.text.clone();
    ctx.info(format!("it is {secret}, in JSON {}", json!({ "a": secret })));
    ctx.info(format!("base64 {}", STANDARD.encode(format!("user:{secret}"))));
    ctx.metric(&secret, 1.0, 1);
    let mut out = std::io::stdout().lock();
    let (head, tail) = secret.split_at(7);
    let _ = write!(out, "{}{head}", "x".repeat(16 * 1024 - 3)).and_then(|()| out.flush());
    let _ = writeln!(out, "{tail}").and_then(|()| out.flush());
    eprintln!("env {:?}", ctx.env.get("TOKEN"));
    match script.act.as_str() {
        "leak" => Ok(()),
        "leak_fail" => Err(TaskError::fail(format_args!("SQL error near {secret}"))),
        "leak_panic" => panic!("lost {secret}"),
        _ => Err(TaskError::Parked(Box::new(Parking {
            waits_for: WaitsFor::Timer,
            until: clock::now().checked_add(Duration::from_secs(3600)).ok(),
            note: format!("waits with {secret}"),
            memory: json!({ "secret": secret }),
        }))),
    }
}

fn leaky(name: &str, uses: &str, act: &str) -> Task {
    let with = json!({ "act": act, "text": "{{ secrets.canary }}" });
    let mut task = task(name, &[], (uses, with));
    task.env
        .insert("TOKEN".to_owned(), "Bearer {{ secrets.canary }}".to_owned());
    task.retry.attempts = 1;
    task
}

async fn with_canary(tasks: Vec<Task>) -> Site {
    let site = prepare(tasks).await;
    let key = SecretKey::parse(&"7".repeat(64)).unwrap();
    let admin = Actor::person("adam", [Role::Admin]);
    let canary = (&key, "canary", CANARY);
    set_secret(&site.0, &admin, canary, clock::now()).await.unwrap();
    Site::open((site.0, site.1, Some(site.2)))
}

impl Site {
    /// All that stands in the database, table by table.
    async fn everything(&self) -> String {
        let tables: Vec<String> = sqlx::query_scalar(
            "select format('%I', relname) from pg_class where relkind in ('r', 'p') and relnamespace = current_schema()::regnamespace
               and relname not in ('secret', 'flow_version')",
        )
        .fetch_all(self.store.pool())
        .await
        .unwrap();
        let mut all = String::new();
        for table in tables {
            let sql = format!("select coalesce(string_agg(t::text, E'\\n'), '') from {table} t");
            let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .fetch_one(self.store.pool())
                .await
                .unwrap();
            all.push_str(&rows);
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_seen_by_its_plugin_and_nowhere_else() {
    let site = with_canary(vec![
        leaky("a", "here", "leak"),
        leaky("b", "child", "leak"),
        leaky("c", "here", "leak_fail"),
        leaky("d", "child", "leak_panic"),
        leaky("e", "child", "leak_park"),
    ])
    .await;
    let run = site.start().await;
    let states = async || -> Vec<String> {
        sqlx::query_scalar("select state::text from task_run where run = $1 order by idx")
            .bind(run.0)
            .fetch_all(site.store.pool())
            .await
            .unwrap()
    };
    let ended = ["succeeded", "succeeded", "failed", "failed", "waiting"];
    site.wait("all to speak", async || states().await == ended).await;
    assert_eq!(
        site.outputs(run, 1).await["text"],
        "***",
        "the plugin had it and handed it on"
    );
    let all = site.everything().await;
    assert!(
        all.contains("it is ***") && all.contains("SQL error near ***") && all.contains("waits with ***"),
        "{all}"
    );
    let base64 = STANDARD.encode(format!("user:{CANARY}"));
    for leak in ["kanarien", "vogel", "nvogel", &base64[8..20]] {
        let at = all
            .find(leak)
            .map(|at| &all[at.saturating_sub(80)..(at + 80).min(all.len())]);
        assert_eq!(at, None, "{leak}");
    }
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_does_not_exist_or_has_another_key_fails_the_task_in_words() {
    let mut other = leaky("a", "here", "echo");
    other.with = json!({ "act": "echo", "text": "{{ secrets.nothing }}" });
    let site = with_canary(vec![other]).await;
    let run = site.start().await;
    assert_eq!(site.end(run).await, RunState::Failed);
    let told = site.message(run).await;
    assert!(
        told.contains("there is no secret `nothing`") && told.contains("tidegate secret set nothing"),
        "{told}"
    );
    site.close().await;
    let site = prepare(vec![leaky("a", "here", "echo")]).await;
    let key = SecretKey::parse(&"8".repeat(64)).unwrap();
    let admin = Actor::person("adam", [Role::Admin]);
    set_secret(&site.0, &admin, (&key, "canary", CANARY), clock::now())
        .await
        .unwrap();
    let site = Site::open((site.0, site.1, Some(site.2)));
    let run = site.start().await;
    assert_eq!(site.end(run).await, RunState::Failed);
    let told = site.message(run).await;
    assert!(told.contains("was set with another key"), "{told}");
    site.close().await;
}
