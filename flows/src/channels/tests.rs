//! The courier against receivers of the tests' own, on a real PostgreSQL.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_engine::clock;
use tidegate_engine::id::RunId;
use tidegate_engine::signature::sign;
use tidegate_engine::spec::{SourceFile, check};
use tidegate_engine::state::Reason;
use tidegate_engine::store::Store;
use tidegate_engine::store::flows::NewVersion;
use tidegate_engine::store::notices::{Parcel, TRIES};
use tidegate_engine::store::runs::NewRun;
use tidegate_engine::view::{Notice, Run};
use tidegate_test_fixtures::postgres::{self, Database};
use tidegate_test_fixtures::server::Server;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::*;

const FLOW: &str = "[flow]\nname = \"told\"\n[[notify]]\non = [\"cancelled\"]\nto = \"ops\"\n[tasks.ask]\nuses = \"approval\"\n";

struct Site {
    store: Store,
    _database: Database,
}

impl Site {
    async fn new() -> Self {
        let database = postgres::database().await;
        let store = Store::connect(&database.url, 4).await.unwrap();
        store.migrate().await.unwrap();
        let source = SourceFile::new("told.toml", FLOW);
        let checked = check(&source, &crate::registry(), &|_| None).unwrap();
        let version = NewVersion {
            flow: checked.flow,
            hash: checked.version,
            path: "told.toml".to_owned(),
            source: FLOW.to_owned(),
            actor: "test".to_owned(),
        };
        store.apply_version(version, clock::now()).await.unwrap();
        Self {
            store,
            _database: database,
        }
    }

    async fn cancelled_run(&self) -> RunId {
        let new = NewRun {
            id: clock::new_run_id(),
            flow: "told".to_owned(),
            version: None,
            trigger: "manual".to_owned(),
            requester: "test".to_owned(),
            tick: None,
            params: BTreeMap::new(),
        };
        let id = new.id;
        self.store.create_run(new, clock::now()).await.unwrap();
        self.store
            .cancel_run(id, Reason::Requested, clock::now())
            .await
            .unwrap();
        id
    }

    fn courier(&self, channel: Option<Channel>) -> Courier {
        let channels = channel
            .map(|channel| ("ops".to_owned(), channel))
            .into_iter()
            .collect();
        let base = Some("https://tide.example/".to_owned());
        Courier::new(self.store.clone(), channels, base).unwrap()
    }

    async fn left(&self, run: RunId) -> Vec<Notice> {
        self.store.run(run, clock::now()).await.unwrap().unwrap().notices
    }
}

fn hook(url: String) -> Channel {
    Channel::Webhook(Webhook {
        url,
        secret: "sixteen letters.".to_owned(),
        secret_file: None,
    })
}

#[tokio::test]
async fn a_program_gets_a_signed_letter_and_the_same_one_again_when_its_answer_was_lost() {
    let (site, server) = (
        Site::new().await,
        Server::answering(&["", "500 Oops\n\nbusy", "204 No Content\n\n"]).await,
    );
    let run = site.cancelled_run().await;
    let courier = site.courier(Some(hook(server.url("/hook"))));
    let mut now = clock::now();
    for _ in 0..3 {
        assert_eq!(courier.tick(now).await.unwrap(), 1);
        assert_eq!(
            courier.tick(now).await.unwrap(),
            0,
            "not before its pause is over"
        );
        now = now.checked_add(Duration::from_secs(60)).unwrap();
    }
    assert_eq!(courier.tick(now).await.unwrap(), 0);
    assert_eq!(site.left(run).await, []);
    let asked = server.asked();
    let ids: Vec<_> = asked
        .iter()
        .map(|a| a.header("tidegate-notice").unwrap())
        .collect();
    assert_eq!((ids.len(), ids[0] == ids[1] && ids[1] == ids[2]), (3, true));
    for one in &asked {
        let signed = sign(
            "sixteen letters.",
            one.header("tidegate-timestamp").unwrap(),
            &one.body,
        );
        assert_eq!(
            one.header("tidegate-signature"),
            Some(format!("v1={signed}").as_str())
        );
    }
    let body: Value = serde_json::from_str(&asked[2].body).unwrap();
    assert_eq!(body["title"], "told was cancelled");
    assert_eq!(body["url"], format!("https://tide.example/runs/{run}"));
    assert_eq!(
        (&body["event"], &body["state"]),
        (&json!("cancelled"), &json!("cancelled"))
    );
}

#[tokio::test]
async fn slack_gets_text_in_its_markup_and_nothing_of_ours_becomes_markup() {
    let (site, server) = (Site::new().await, Server::answering(&["200 OK\n\nok"]).await);
    let run = site.cancelled_run().await;
    let slack = Channel::Slack(Slack {
        url: server.url("/services/T/B/x"),
        url_file: None,
    });
    site.courier(Some(slack)).tick(clock::now()).await.unwrap();
    let body: Value = serde_json::from_str(&server.asked()[0].body).unwrap();
    assert_eq!(
        body["text"],
        format!("*told was cancelled*\n<https://tide.example/runs/{run}|Open in Tidegate>")
    );
    let letter = letter("failed", json!({"title": "<!channel> & more"}), json!([]));
    let escaped = Server::answering(&["200 OK\n\n"]).await;
    let slack = Slack {
        url: escaped.url("/"),
        url_file: None,
    };
    webhook::slack(&webhook::client().unwrap(), &slack, &letter)
        .await
        .unwrap();
    assert!(escaped.asked()[0].body.contains("*&lt;!channel&gt; &amp; more*"));
}

#[tokio::test]
async fn what_no_channel_takes_is_dead_in_the_end_and_says_why() {
    let site = Site::new().await;
    let run = site.cancelled_run().await;
    let courier = site.courier(None);
    let mut now = clock::now();
    for _ in 0..TRIES {
        assert_eq!(courier.tick(now).await.unwrap(), 1);
        now = now.checked_add(Duration::from_secs(3600)).unwrap();
    }
    assert_eq!(courier.tick(now).await.unwrap(), 0);
    let left = site.left(run).await;
    assert_eq!((left[0].state.as_str(), left[0].tries), ("dead", TRIES));
    assert_eq!(
        left[0].error.as_deref(),
        Some("there is no [channels.ops] in tidegate.toml")
    );
}

#[tokio::test]
async fn of_two_couriers_one_delivers() {
    let (site, server) = (Site::new().await, Server::answering(&["200 OK\n\n"]).await);
    for _ in 0..20 {
        site.cancelled_run().await;
    }
    let couriers = [
        site.courier(Some(hook(server.url("/")))),
        site.courier(Some(hook(server.url("/")))),
    ];
    for _ in 0..3 {
        let now = clock::now();
        let (a, b) = tokio::join!(couriers[0].tick(now), couriers[1].tick(now));
        a.and(b).unwrap();
    }
    let mut ids: Vec<String> = server
        .asked()
        .iter()
        .map(|a| a.header("tidegate-notice").unwrap().to_owned())
        .collect();
    ids.sort();
    let count = ids.len();
    ids.dedup();
    assert_eq!((count, ids.len()), (20, 20));
}

/// Takes mail and keeps it.
async fn sink() -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, mail) = (
        listener.local_addr().unwrap().port(),
        Arc::<Mutex<String>>::default(),
    );
    let kept = Arc::clone(&mail);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let mut socket = BufReader::new(socket);
            let _ = socket.write_all(b"220 sink\r\n").await;
            let (mut line, mut data) = (String::new(), false);
            while socket.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                kept.lock().unwrap().push_str(&line);
                let answer = match line.trim_end() {
                    "." => "250 kept",
                    "DATA" => "354 go on",
                    "QUIT" => "221 bye",
                    text if text.starts_with("RCPT TO:<nobody@") => "550 no such person",
                    _ => "250 yes",
                };
                data = (data || answer.starts_with("354")) && !answer.ends_with("kept");
                if !data || answer.starts_with("354") {
                    let _ = socket.write_all(format!("{answer}\r\n").as_bytes()).await;
                }
                line.clear();
            }
        }
    });
    (port, mail)
}

#[tokio::test]
async fn mail_is_handed_to_the_server_with_subject_and_link_and_refusals_are_told() {
    let ((port, mail), site) = (sink().await, Site::new().await);
    let run = site.cancelled_run().await;
    let channel = |to: &str| {
        Channel::Email(Email {
            host: "127.0.0.1".to_owned(),
            port: Some(port),
            tls: Tls::None,
            from: "Tidegate <tide@example.org>".to_owned(),
            to: vec![to.to_owned()],
            ..Email::default()
        })
    };
    site.courier(Some(channel("nobody@example.org")))
        .tick(clock::now())
        .await
        .unwrap();
    let error = site.left(run).await[0].error.clone().unwrap();
    assert!(error.contains("no such person"), "{error}");
    let later = clock::now().checked_add(Duration::from_secs(60)).unwrap();
    site.courier(Some(channel("ops@example.org")))
        .tick(later)
        .await
        .unwrap();
    assert_eq!(site.left(run).await, []);
    let mail = mail.lock().unwrap().clone();
    for part in [
        "MAIL FROM:<tide@example.org>",
        "RCPT TO:<ops@example.org>",
        "Subject: [tidegate] told was cancelled",
        "told was cancelled\r\n",
    ] {
        assert!(mail.contains(part), "{part}: {mail}");
    }
    assert!(
        mail.contains(&format!("https://tide.example/runs/{run}")),
        "{mail}"
    );
}

fn letter(event: &str, body: Value, tasks: Value) -> Letter {
    let parcel = Parcel {
        id: Uuid::nil(),
        channel: "ops".to_owned(),
        event: event.to_owned(),
        flow: "nightly".to_owned(),
        run: RunId(Uuid::nil()),
        body,
        tries: 1,
        created_at: Timestamp::UNIX_EPOCH,
    };
    let run: Run = serde_json::from_value(json!({
        "id": Uuid::nil(), "flow": "nightly", "version": "0", "version_number": 1, "state": "failed", "reason": null,
        "trigger": "schedule", "requester": "system", "retry_of": null, "scheduled_for": null,
        "created_at": Timestamp::UNIX_EPOCH, "started_at": null, "finished_at": null, "waited_seconds": 0.0,
        "overdue": false, "tasks_total": 1, "tasks_done": 1, "params": {}, "tasks": tasks,
    }))
    .unwrap();
    Letter::new(&parcel, (&run, None), None)
}

fn task(name: &str, state: &str, message: &str) -> Value {
    json!({
        "idx": 0, "name": name, "uses": "command", "description": null, "needs": [], "state": state, "reason": "error",
        "attempt": 1, "attempts": 1, "epoch": 1, "started_at": null, "finished_at": null, "due_at": null,
        "message": message, "progress": null, "worker": null, "outputs": null, "artifacts": [], "gated": false, "gate": null,
        "waits": [],
    })
}

#[test]
fn a_letter_names_what_failed_on_one_line_each() {
    let tasks = json!([
        task("pull", "succeeded", ""),
        task("train", "failed", "no\nspace\u{1b}[31m left")
    ]);
    let told = letter("failed", json!({}), tasks);
    assert_eq!(
        (told.title.as_str(), told.text.as_str()),
        ("nightly failed", "train: no space [31m left")
    );
    let many: Vec<Value> = (0..9).map(|n| task(&format!("t{n}"), "failed", "x")).collect();
    assert!(
        letter("failed", json!({}), json!(many))
            .text
            .ends_with("t5: x\n… and 3 more")
    );
    let said = letter(
        "message",
        json!({"title": "New\r\nBcc: all", "text": "line\nline", "task": "tell"}),
        json!([]),
    );
    assert_eq!(
        (said.title.as_str(), said.text.as_str()),
        ("New  Bcc: all", "line\nline")
    );
    let still = letter(
        "waiting",
        json!({"task": "production", "reminder": true}),
        json!([]),
    );
    assert_eq!(still.title, "nightly still waits for a decision on production");
}

#[test]
fn a_channel_says_what_it_lacks_and_takes_its_secret_from_a_file() {
    let read = |path: &Path| match path.to_str() {
        Some("/run/secret") => Ok("0123456789abcdef\n".to_owned()),
        _ => Err("cannot be read".to_owned()),
    };
    let of = |settings: Value| -> Result<Channel, String> {
        let mut channel: Channel = serde_json::from_value(settings).map_err(|e| e.to_string())?;
        channel.complete(read).map(|()| channel)
    };
    let Ok(Channel::Webhook(hook)) =
        of(json!({"kind": "webhook", "url": "https://x/", "secret_file": "/run/secret"}))
    else {
        panic!("a webhook whose secret lies in a file");
    };
    assert_eq!(hook.secret, "0123456789abcdef");
    for (wrong, why) in [
        (json!({"kind": "pager"}), "unknown variant"),
        (
            json!({"kind": "slack", "ulr": "https://x/"}),
            "unknown field `ulr`",
        ),
        (json!({"kind": "slack"}), "`url` must be an address"),
        (
            json!({"kind": "webhook", "url": "https://x/", "secret": "short"}),
            "16 characters",
        ),
        (
            json!({"kind": "webhook", "url": "https://x/", "secret": "s", "secret_file": "/run/secret"}),
            "one of them must go",
        ),
        (
            json!({"kind": "email", "host": "h", "from": "a@b.c"}),
            "`to` is missing",
        ),
        (
            json!({"kind": "email", "host": "h", "from": "a", "to": ["b@c.d"]}),
            "`a` is no address",
        ),
        (
            json!({"kind": "email", "host": "h", "from": "a@b.c", "to": ["b@c.d"], "tls": "none", "user": "u"}),
            "through the open",
        ),
    ] {
        let told = of(wrong.clone()).err().unwrap_or_default();
        assert!(told.contains(why), "{wrong}: {told}");
    }
}
