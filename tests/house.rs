//! What the modules share: server and worker as processes of their own on one database, people who come by HTTP, the auditor.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_engine::clock;
use tidegate_engine::command::{self, Actor, Role};
use tidegate_engine::id::RunId;
use tidegate_engine::store::Store;
use tidegate_engine::store::people::NewPerson;
use tidegate_engine::view::Run;
use tidegate_test_fixtures::process::Process;
use tidegate_test_fixtures::run::free_port;
use tidegate_test_fixtures::tidegate::{Finished, Tidegate};

/// For what takes a moment, beside a compiler.
pub const SOON: Duration = Duration::from_secs(30);
/// Lease, reaper, poll, and the same for what is slow here.
pub const RECOVERED: Duration = Duration::from_secs(75);
/// Of everybody who signs in.
pub const PASSWORD: &str = "rising-tide-lifts-42";

/// Who triggers runs here.
const OPERATOR: &str = "otto";

/// The program under test, in a home of its own.
pub fn tidegate() -> Tidegate {
    Tidegate::new(env!("CARGO_BIN_EXE_tidegate"))
}

/// A server and workers, each a process, on one database and one home.
pub struct House {
    /// The command line beside them.
    pub tidegate: Tidegate,
    /// A look past them.
    pub store: Store,
    /// Where the pages are.
    pub url: String,
    bind: String,
    server: Option<Process>,
    workers: Vec<Process>,
}

impl House {
    /// With a server, and no worker yet.
    pub async fn on(database: &str, tidegate: Tidegate) -> Self {
        let bind = format!("127.0.0.1:{}", free_port());
        let tidegate = tidegate.env("DATABASE_URL", database);
        let server = serve(&tidegate, &bind);
        let house = Self {
            store: Store::connect(database, 4).await.unwrap(),
            url: format!("http://{bind}"),
            tidegate,
            bind,
            server: Some(server),
            workers: Vec::new(),
        };
        house.people(&[(OPERATOR, &[Role::Operator])]).await;
        house
    }

    pub fn start_server(&mut self) {
        self.server = Some(serve(&self.tidegate, &self.bind));
    }

    /// Starts one more worker.
    pub fn start_worker(&mut self) {
        let mut worker = self.tidegate.spawn(&["worker"]);
        worker.wait_for_line("worker is up", SOON);
        self.workers.push(worker);
    }

    /// The first of the workers that were started.
    pub fn worker(&mut self) -> &mut Process {
        self.workers.first_mut().expect("a worker was started")
    }

    /// SIGKILL to the workers, not to their children.
    pub fn kill_workers(&mut self) {
        for mut worker in self.workers.drain(..) {
            worker.kill();
            // Dropping a process ends its group, and the engine shall do that.
            std::mem::forget(worker);
        }
    }

    /// SIGKILL to server and workers, not to their children.
    pub fn kill_everything(&mut self) {
        self.server.take().expect("the server runs").kill();
        self.kill_workers();
    }

    /// What server and workers said.
    pub fn output(&self) -> String {
        let all = self.server.iter().chain(&self.workers);
        all.map(Process::output).collect()
    }

    /// Runs a verb that must succeed; its standard output.
    pub fn must(&self, words: &[&str]) -> String {
        let done = self.tidegate.run(words);
        assert_eq!(done.code(), 0, "{words:?}: {done:?}\n{}", self.output());
        done.stdout
    }

    /// Writes a flow file into the home and applies it.
    pub fn apply(&self, name: &str, tasks: &str) {
        let path = self.tidegate.home().join(format!("{name}.toml"));
        fs::write(&path, format!("[flow]\nname = \"{name}\"\n\n{tasks}")).unwrap();
        self.must(&["apply", path.to_str().unwrap()]);
    }

    /// Creates a run in Otto's name, so that whoever the account stands for may approve it.
    pub async fn start(&self, flow: &str, params: Value) -> RunId {
        let otto = Visitor::sign_in(self, OPERATOR).await;
        let place = format!("/api/v1/flows/{flow}/runs");
        let (status, run) = otto.post(&place, &json!({ "params": params })).await;
        assert_eq!(status, 201, "{run}");
        run["id"].as_str().unwrap().parse().unwrap()
    }

    /// Shows a run as people see it.
    pub fn show(&self, run: RunId) -> Finished {
        self.tidegate.run(&["show", &run.to_string()])
    }

    /// The run in that state, now or within `limit`. It must not end otherwise.
    pub async fn reaches(&self, run: RunId, state: &str, limit: Duration) -> Run {
        let ended = |run: &Run| run.summary.state == state || run.summary.finished_at.is_some();
        let seen = self.until(run, ended, limit).await;
        assert_eq!(seen.summary.state, state, "{seen:#?}\n{}", self.output());
        seen
    }

    /// The run when it is as wanted, now or within `limit`. A database that does not answer meanwhile is waited for.
    pub async fn until(&self, run: RunId, wanted: impl Fn(&Run) -> bool, limit: Duration) -> Run {
        let began = clock::monotonic();
        loop {
            let seen = self.store.run(run, clock::now()).await;
            match seen {
                Ok(Some(seen)) if wanted(&seen) => return seen,
                seen => assert!(
                    began.elapsed() < limit,
                    "waited {limit:?}: {seen:#?}\n{}",
                    self.output()
                ),
            }
            clock::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Makes people who can sign in with [`PASSWORD`].
    pub async fn people(&self, people: &[(&str, &[Role])]) {
        for (name, roles) in people {
            let person = NewPerson {
                name: (*name).to_owned(),
                roles: roles.to_vec(),
                password: Some(PASSWORD.to_owned()),
                os_user: None,
            };
            let made = command::add_person(&self.store, &Actor::os("tests"), person, clock::now()).await;
            assert!(made.unwrap(), "{name}");
        }
    }

    /// From now on, what the command line does is done by an approver of that name.
    pub fn become_approver(&self, name: &str) {
        let account = account();
        self.must(&["user", "add", name, "--role", "approver", "--os-user", &account]);
    }

    /// Fails unless all that must always hold does.
    pub async fn audit(&self) {
        let findings = self.store.audit().await.unwrap();
        assert!(findings.is_empty(), "{findings:#?}\n{}", self.output());
        self.must(&["ledger", "verify"]);
    }
}

fn serve(tidegate: &Tidegate, bind: &str) -> Process {
    let mut server = tidegate.spawn(&["server", "--bind", bind]);
    server.wait_for_line("server is up", SOON);
    server
}

/// The account that the tests run under.
fn account() -> String {
    let told = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

/// The position of a task, its attempt's number and the state it is in.
pub fn task<'r>(run: &'r Run, name: &str) -> &'r tidegate_engine::view::TaskRun {
    let found = run.tasks.iter().find(|task| task.name == name);
    found.unwrap_or_else(|| panic!("no task {name}: {run:#?}"))
}

/// Processes of a run's attempts that live on this machine.
pub fn alive(run: RunId) -> Vec<u32> {
    let mark = format!("TIDEGATE_ATTEMPT={run}/");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable.starts_with(mark.as_bytes()))
    })
    .filter(|pid| tidegate_test_fixtures::process::is_alive(*pid))
    .collect()
}

/// Someone who signed in, as a browser would without its pages.
pub struct Visitor {
    http: reqwest::Client,
    url: String,
    cookie: String,
    csrf: String,
}

impl Visitor {
    /// Signs in with [`PASSWORD`].
    pub async fn sign_in(house: &House, name: &str) -> Self {
        Self::sign_in_at(&house.url, name).await
    }

    /// The same at any server.
    pub async fn sign_in_at(url: &str, name: &str) -> Self {
        // Without one no client is made; another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let form = [("name", name), ("password", PASSWORD)];
        let answer = http
            .post(format!("{url}/sign-in"))
            .form(&form)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 303, "{name} signs in");
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        let mut visitor = Self {
            cookie: cookie.split(';').next().unwrap().to_owned(),
            url: url.to_owned(),
            csrf: String::new(),
            http,
        };
        let (_, me) = visitor.get("/api/v1/me").await;
        visitor.csrf = me["csrf"].as_str().unwrap().to_owned();
        visitor
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.http.get(format!("{}{path}", self.url))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.url)).json(body);
        self.send(request.header("X-CSRF-Token", &self.csrf)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let answer = request.header("Cookie", &self.cookie).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Gets, or posts a body under an idempotency key, at a server that may be down. `None`: no answer, or half of one.
    pub async fn try_send(
        &self,
        url: &str,
        path: &str,
        (body, key): (Option<&Value>, Option<&str>),
    ) -> Option<(u16, Value)> {
        let place = format!("{url}{path}");
        let mut request = match body {
            Some(body) => self
                .http
                .post(place)
                .json(body)
                .header("X-CSRF-Token", &self.csrf),
            None => self.http.get(place),
        };
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let request = request.header("Cookie", &self.cookie).timeout(SOON);
        let answer = request.send().await.ok()?;
        Some((answer.status().as_u16(), answer.json().await.ok()?))
    }
}
