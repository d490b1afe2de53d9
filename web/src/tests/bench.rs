//! A database with people in it, a flow with a gate, a worker, and the router in front.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_engine::clock;
use tidegate_engine::command::Role;
use tidegate_engine::graph::Flow;
use tidegate_engine::id::{RunId, VersionHash};
use tidegate_engine::plugin::{AliasMove, Ctx, Isolation, Plugin, Registry, TaskError};
use tidegate_engine::secrets::KeySource;
use tidegate_engine::store::Store;
use tidegate_engine::store::flows::NewVersion;
use tidegate_engine::store::people::NewPerson;
use tidegate_engine::store::runs::NewRun;
use tidegate_engine::view::Approval;
use tidegate_engine::worker::{self, WorkerConfig};
use tidegate_test_fixtures::postgres::{self, Database};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{App, Config, Services, router};

/// What an attacker would have shown as something else than text.
pub const NASTY: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&";
const PASSWORD: &str = "correct horse battery";

/// A key for secrets.
const SECRET_KEY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

pub fn secret_key() -> KeySource {
    KeySource::Given(SECRET_KEY.to_owned())
}

/// Says what it is given, prints it, and hands it on; what says `"again": true`, in its second attempt.
struct Give;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(default)]
    value: Value,
}

#[async_trait]
impl Plugin for Give {
    type Input = Given;
    type Output = Value;
    const NAME: &'static str = "give";
    const VERSION: &'static str = "1";
    const PURPOSE: &'static str = "gives what it got";
    const ISOLATION: Isolation = Isolation::Inline;
    async fn run(&self, ctx: &Ctx, input: Given) -> Result<Value, TaskError> {
        ctx.info(NASTY);
        if ctx.attempt.attempt == 1 && input.value["again"] == true {
            return Err(TaskError::retry("once more"));
        }
        Ok(input.value)
    }
}

/// Moves an alias in our registry, as the plugin of that name does.
struct Promote;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
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
        Ok(Value::Null)
    }
}

fn registry() -> Registry {
    Registry::default().with(Give).with(Promote)
}

/// The database, the router, and who can sign in: vera (viewer), otto (operator), anna (approver), ada (admin).
pub struct Bench {
    pub store: Store,
    pub router: Router,
    stop: CancellationToken,
    _home: tempfile::TempDir,
    _database: Database,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Someone who signed in.
#[derive(Debug, Clone, Default)]
pub struct Who {
    pub token: String,
    pub csrf: String,
}

/// An answer, read.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// `measure` hands on a metric and something nasty; `publish` stands behind a gate that always asks an approver. Its webhook asks for a run
/// where a message says so.
fn flow() -> Flow {
    let task = |name: &str, needs: &[u32], gate: Value| {
        json!({
            "name": name, "uses": "give", "description": NASTY, "needs": needs, "gate": gate,
            "with": {"value": {"metric": 0.31, "nasty": NASTY}},
            "retry": {"attempts": 1, "delay": "1s", "backoff": 2.0, "max_delay": "10m", "jitter": 0.0},
            "timeout": null, "env": {}, "on_worker_lost": "retry", "isolation": "inline", "files": [],
        })
    };
    let gate = json!({
        "rules": [{
            "subject": {"kind": "metric", "metric": "{{ tasks.measure.metric }}"},
            "bound": {"kind": "above", "bound": 0.25},
            "borderline": null, "judged": "interval", "without_baseline": "ask",
        }],
        "approval": {
            "when": "always", "by": ["role:approver"], "required": 1, "allow_requester": false, "expires": "48h",
            "on_expire": "reject", "remind": null, "message": format!("Publish {NASTY}?"),
        },
        "evidence": [],
    });
    let flow = json!({
        "name": "f", "description": NASTY, "owner": NASTY, "tags": [NASTY], "timeout": null, "expected": null,
        "overlap": "skip", "max_active": 9, "vars": {}, "files": {},
        "schedules": [{
            "name": "nightly", "cron": "0 2 * * *", "timezone": "Europe/Berlin", "dom_dow": null, "missed": "latest",
            "missed_window": "1d", "params": {},
        }],
        "webhook": {"secret": "HOOK", "sender": "tidegate", "when": "body.go", "params": {"days": "{{ body.days }}"}},
        "params": {"days": {"type": "integer", "min": 1, "max": 30, "default": 7, "description": NASTY}},
        "graph": [task("measure", &[], Value::Null), task("publish", &[0], gate)],
    });
    serde_json::from_value(flow).unwrap()
}

impl Bench {
    pub async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Self {
        let database = postgres::database().await;
        let store = Store::connect(&database.url, 8).await.unwrap();
        store.migrate().await.unwrap();
        let people = [
            ("vera", Role::Viewer),
            ("otto", Role::Operator),
            ("anna", Role::Approver),
            ("ada", Role::Admin),
        ];
        for (name, role) in people {
            let person = NewPerson {
                name: name.to_owned(),
                roles: vec![role],
                password: Some(PASSWORD.to_owned()),
                os_user: None,
            };
            assert!(store.add_person(person, clock::now()).await.unwrap());
        }
        let version = NewVersion {
            flow: flow(),
            hash: VersionHash("0".repeat(64)),
            path: "f.toml".to_owned(),
            source: String::new(),
            actor: "test".to_owned(),
        };
        store.apply_version(version, clock::now()).await.unwrap();
        let (stop, home) = (CancellationToken::new(), tempfile::tempdir().unwrap());
        let worker = WorkerConfig {
            name: format!("worker {NASTY}"),
            queues: vec!["default".to_owned()],
            slots: 2,
            home: home.path().to_owned(),
            env: Arc::default(),
            deployment: tidegate_engine::plugin::Deployment::default(),
            child: Vec::new(),
            guard: Vec::new(),
            secret_key: secret_key(),
            drain: Duration::ZERO,
        };
        let plugins = (store.clone(), registry());
        tokio::spawn(worker::run(
            worker,
            plugins,
            Arc::new(Notify::new()),
            stop.clone(),
        ));
        let services = Services {
            store: store.clone(),
            registry: registry(),
            secret_key: secret_key(),
        };
        let app = App::new(config, services, stop.clone());
        Self {
            router: router(app),
            store,
            stop,
            _home: home,
            _database: database,
        }
    }

    /// A run that somebody asked for.
    pub async fn start(&self, requester: &str) -> RunId {
        let new = NewRun {
            id: clock::new_run_id(),
            flow: "f".to_owned(),
            version: None,
            trigger: "manual".to_owned(),
            requester: requester.to_owned(),
            tick: None,
            params: BTreeMap::from([("days".to_owned(), json!(7))]),
        };
        self.store.create_run(new.clone(), clock::now()).await.unwrap();
        new.id
    }

    /// The approval of a run, once it is asked for.
    pub async fn asks(&self, run: RunId) -> Approval {
        for _ in 0..600 {
            if let Some(approval) = self.store.approval_of(run, "publish").await.unwrap() {
                return approval;
            }
            clock::sleep(Duration::from_millis(50)).await;
        }
        panic!("no approval within 30 s");
    }

    pub async fn sign_in(&self, name: &str) -> Who {
        let opened = self.store.sign_in(name, PASSWORD, clock::now()).await.unwrap();
        let opened = opened.unwrap_or_else(|| panic!("{name} can sign in"));
        Who {
            token: opened.token,
            csrf: opened.csrf,
        }
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        Reply {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// Reads as someone; `None`: as nobody.
    pub async fn get(&self, path: &str, who: Option<&Who>) -> Reply {
        self.send(asking(Method::GET, path, who).body(Body::empty()).unwrap())
            .await
    }

    /// Sends a form as a browser would from a page of ours.
    pub async fn form(&self, path: &str, who: &Who, fields: &[(&str, &str)]) -> Reply {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.append_pair("csrf", &who.csrf).extend_pairs(fields);
        let request = asking(Method::POST, path, Some(who))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .header(header::ORIGIN, "null");
        self.send(request.body(Body::from(body.finish())).unwrap()).await
    }

    /// Sends JSON with the session's token.
    pub async fn post(&self, path: &str, who: &Who, body: Value) -> Reply {
        let request = asking(Method::POST, path, Some(who))
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-csrf-token", &who.csrf);
        self.send(request.body(Body::from(body.to_string())).unwrap())
            .await
    }

    /// Moves an approval's end into the past.
    pub async fn let_expire(&self, approval: &Approval) {
        let sql = "update approval set expires_at = clock_timestamp() - interval '1 minute' where id = $1";
        sqlx::query(sql)
            .bind(approval.id)
            .execute(self.store.pool())
            .await
            .unwrap();
    }

    /// Password of everybody here.
    pub fn password() -> &'static str {
        PASSWORD
    }
}

/// A request that carries somebody's cookie.
pub fn asking(method: Method, path: &str, who: Option<&Who>) -> axum::http::request::Builder {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "tide.example");
    match who {
        Some(who) => request.header(header::COOKIE, format!("tidegate={}", who.token)),
        None => request,
    }
}
