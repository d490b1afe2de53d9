//! What lies outside: secrets, services that flows ask, people who are told.

use tidegate_test_fixtures::server::Server;
use tidegate_test_fixtures::wait;

use super::*;

const CANARY: &str = "kanarien/vogel-7";

/// A server and worker whose `tidegate.toml` knows the channel `ops`, and allows what `allow` lists.
async fn outfitted(allow: &str, receiver: &Server) -> Served {
    let tidegate = alone();
    let config = tidegate.home().join("tidegate.toml");
    let channel = format!(
        "[channels.ops]\nkind = \"webhook\"\nurl = \"{}\"\nsecret = \"sixteen letters.\"\n",
        receiver.url("/ops")
    );
    std::fs::write(&config, format!("[http]\nallow = [\"{allow}\"]\n{channel}")).unwrap();
    let tidegate = tidegate.env("TIDEGATE_CONFIG", config.to_str().unwrap());
    served_from(tidegate, database().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_waits_for_a_service_asks_it_with_a_secret_and_tells_people() {
    let receiver = Server::answering(&["204 No Content\n\n"]).await;
    let service = Server::answering(&[
        "503 Not Yet\n\n",
        "200 OK\n\n",
        &Server::json(&format!("{{\"message\": \"fine, {CANARY}\"}}")),
    ])
    .await;
    let served = outfitted("127.0.0.1", &receiver).await;
    let warned = served.run(&["apply", example("ask-the-web").to_str().unwrap()]);
    assert!(
        warned.stderr.contains("there is no secret `status_token` yet"),
        "{warned:?}"
    );
    let set = served.run_with_input(&["secret", "set", "status_token"], &format!("{CANARY}\n"));
    assert!(set.stdout.contains("status_token is set"), "{set:?}");
    let run = served.start(&["ask-the-web", "-p", &format!("service={}", service.url(""))]);
    let done = served.run(&["show", &run, "--watch"]);
    assert_eq!(done.code(), 0, "{done:?}");
    let asked = service.asked();
    let lines: Vec<&str> = asked.iter().map(|a| a.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /healthz HTTP/1.1",
            "GET /healthz HTTP/1.1",
            "GET /status HTTP/1.1"
        ]
    );
    assert_eq!(
        asked[2].header("authorization"),
        Some(format!("Bearer {CANARY}").as_str())
    );
    wait::until("the notice", SOON, || receiver.asked().into_iter().next());
    let told: Value = serde_json::from_str(&receiver.asked()[0].body).unwrap();
    assert_eq!(
        (told["title"].as_str(), told["text"].as_str()),
        (Some("The service is up"), Some("It answered 200: fine, ***"))
    );
    for verb in [
        &["show", run.as_str(), "-o", "json"][..],
        &["logs", run.as_str()],
        &["secret", "list"],
        &["ledger", "export"],
    ] {
        let shown = served.run(verb);
        assert_eq!(shown.code(), 0, "{shown:?}");
        assert!(!format!("{shown:?}").contains("kanarien"), "{shown:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_addresses_are_denied_and_a_failure_is_told() {
    let receiver = Server::answering(&["500 Oops\n\nbusy"]).await;
    let served = outfitted("10.0.0.0/8", &receiver).await;
    let ask = format!(
        "[[notify]]\non = [\"failed\"]\nto = \"ops\"\n\n[tasks.ask]\nuses = \"http\"\nwith = {{ url = \"{}\" }}\n",
        receiver.url("/inner")
    );
    let file = flow(&served, "nosy", &ask);
    let done = served.run(&["run", &file, "--watch"]);
    assert_eq!(done.code(), 1, "{done:?}");
    assert!(done.stdout.contains("is not public"), "{done:?}");
    let told = || {
        served
            .run(&["show", "last"])
            .stdout
            .contains("ops is not told yet of `failed`")
            .then_some(())
    };
    wait::until("a try that failed", SOON, told);
    let asked = receiver.asked();
    assert!(asked.iter().all(|a| a.line.starts_with("POST /ops")), "{asked:?}");
    assert!(asked[0].body.contains("nosy failed"), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_asked_with_a_secret_address() {
    let served = served().await;
    let address = served.url().to_owned();
    let set = served.run_with_input(&["secret", "set", "warehouse"], &address);
    assert_eq!(set.code(), 0, "{set:?}");
    let refused_set = served.run_with_input(&["secret", "set", "pin"], "1234");
    refused(&refused_set, 2, &["at least 6 characters"]);
    let done = served.run(&[
        "run",
        example("query-a-database").to_str().unwrap(),
        "--watch",
        "-p",
        "schema=public",
    ]);
    assert_eq!(done.code(), 0, "{done:?}");
    let logs = served.run(&["logs", "last", "say"]);
    assert!(
        logs.stdout.contains(" tables, ") && logs.stdout.contains("rows.csv"),
        "{logs:?}"
    );
    table(&served.run(&["secret", "list"]), &["warehouse", "os:"]);
    assert_eq!(served.run(&["secret", "rm", "warehouse"]).code(), 0);
    refused(&served.run(&["secret", "rm", "warehouse"]), 6, &["warehouse"]);
}
