#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_engine::clock;
use tidegate_engine::plugin::{Emission, TaskError};

use crate::testing::Bench;

async fn shell(bench: &Bench, text: &str) -> Result<Value, TaskError> {
    bench.run("command", json!({"shell": text})).await
}

fn message(result: Result<Value, TaskError>) -> String {
    match result {
        Err(TaskError::Fail { message } | TaskError::Retry { message }) => message,
        other => panic!("expected an error, not {other:?}"),
    }
}

/// How many processes carry this text in their command line.
fn running(text: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|e| std::fs::read(e.path().join("cmdline")).ok());
    lines
        .filter(|line| String::from_utf8_lossy(line).contains(text))
        .count()
}

#[tokio::test]
async fn arguments_reach_the_program_as_they_are() {
    let bench = Bench::new();
    bench
        .run("command", json!({"argv": ["printf", "%s\n", "a b; $HOME `id`"]}))
        .await
        .unwrap();
    assert_eq!(bench.host.lines(), "a b; $HOME `id`");
}

#[tokio::test]
async fn the_environment_is_clean_and_says_who_we_are() {
    let mut bench = Bench::new();
    bench
        .env()
        .insert("MLFLOW_TRACKING_URI".into(), "http://m".into());
    shell(
        &bench,
        "env; umask; pwd; cat; ps -o sid= -p $$ >/dev/null; echo end",
    )
    .await
    .unwrap();
    let lines = bench.host.lines();
    let work = bench.ctx.folders.work.display().to_string();
    for expected in [
        "MLFLOW_TRACKING_URI=http://m",
        "TZ=UTC",
        "PYTHONUNBUFFERED=1",
        &format!(
            "TIDEGATE_ATTEMPT=01931d2c-0000-7000-8000-000000000001/under_test:{}",
            bench.ctx.attempt.epoch
        ),
        "TIDEGATE_ATTEMPT_NUMBER=1",
        "0077",
        &format!("HOME={work}"),
        "end",
    ] {
        assert!(lines.contains(expected), "{expected} in {lines}");
    }
    assert!(!lines.contains("CARGO"), "{lines}");
}

#[tokio::test]
async fn promised_outputs_are_held_to_their_types() {
    let with = |text: &str| {
        let shell = format!("printf '%s' '{text}' > $TIDEGATE_OUTPUT");
        json!({"shell": shell, "outputs": {"ndcg": "number"}})
    };
    let good = Bench::new()
        .run("command", with(r#"{"v":1,"outputs":{"ndcg":0.41}}"#))
        .await;
    assert_eq!(good, Ok(json!({"ndcg": 0.41})));
    for (text, expected) in [
        (r#"{"v":1,"outputs":{"ndcg":NaN}}"#, "not valid JSON"),
        (r#"{"v":1,"outputs":{"ndcg":"0.4"}}"#, "promised is number"),
        (r#"{"v":1,"outputs":{"ndcg":1,"ndcg":2}}"#, "stands there twice"),
        (r#"{"v":1,"outputs":{"ndcg":1,"other":2}}"#, "doesn't name"),
        (r#"{"v":1,"outputs":{}}"#, "lacks the promised output `ndcg`"),
        (r#"{"v":1,"outputs":{"ndcg":1e999}}"#, "not valid JSON"),
        (r#"{"v":1,"out"#, "not valid JSON"),
    ] {
        let result = Bench::new().run("command", with(text)).await;
        assert!(
            matches!(result, Err(TaskError::Fail { .. })),
            "{text}: {result:?}"
        );
        let said = message(result);
        assert!(said.contains(expected), "{text}: {said}");
    }
    let large = json!({"shell": "head -c 1100000 /dev/zero | tr '\\0' ' ' > $TIDEGATE_OUTPUT"});
    assert!(message(Bench::new().run("command", large).await).contains("at most 1048576"));
}

#[tokio::test]
async fn an_output_forged_in_the_log_counts_for_nothing() {
    let bench = Bench::new();
    let text = r#"echo '::{"outputs":{"ndcg":9}}::'; echo '::set-output name=ndcg::9'; echo '{"v":1,"outputs":{"ndcg":9}}'"#;
    let result = bench
        .run("command", json!({"shell": text, "outputs": {"ndcg": "number"}}))
        .await;
    assert!(message(result).contains("lacks the promised output"));
}

#[tokio::test]
async fn exit_codes_decide_about_another_try() {
    for (text, retry, expected) in [
        ("exit 75", true, "exited with 75"),
        ("echo boom >&2; exit 1", true, "exited with 1: boom"),
        ("exit 64", false, "exited with 64"),
        ("exit 65", false, "exited with 65"),
        ("exit 78", false, "exited with 78"),
        ("kill -SEGV $$", true, "SIGSEGV"),
        (
            r#"echo '{"message":"ValueError: x","retryable":false}' > $TIDEGATE_FAILURE; exit 1"#,
            false,
            "ValueError: x",
        ),
    ] {
        let result = shell(&Bench::new(), text).await;
        assert_eq!(
            matches!(result, Err(TaskError::Retry { .. })),
            retry,
            "{text}: {result:?}"
        );
        assert!(message(result).contains(expected), "{text}");
    }
    let missing = Bench::new()
        .run("command", json!({"argv": ["/no/such/program"]}))
        .await;
    assert!(message(missing).contains("can't start `/no/such/program`"));
    let neither = Bench::new().run("command", json!({})).await;
    assert!(message(neither).contains("either `argv`"));
}

#[tokio::test]
async fn logs_survive_progress_bars_bad_bytes_and_a_missing_newline() {
    let bench = Bench::new();
    shell(&bench, r"printf '10%%\r50%%\r100%%\nwindows\r\n\377\nlast'")
        .await
        .unwrap();
    assert_eq!(bench.host.lines(), "100%\nwindows\n\u{fffd}\nlast");
}

#[tokio::test]
async fn a_line_of_ten_megabytes_is_capped_and_a_million_lines_all_arrive() {
    let bench = Bench::new();
    shell(
        &bench,
        "head -c 10000000 /dev/zero | tr '\\0' x; echo; seq 1000000",
    )
    .await
    .unwrap();
    let logged = bench.host.logged();
    assert_eq!(logged.len(), 1_000_001);
    assert!(logged[0].1.len() < 66_000 && logged[0].1.ends_with("bytes more)"));
    assert_eq!(logged[1_000_000].1, "1000000");
}

#[tokio::test]
async fn secrets_are_hidden_in_logs_errors_and_outputs() {
    let mut bench = Bench::new();
    bench.env().insert("TOKEN".into(), "canary-123".into());
    let with = |text: &str| json!({"shell": text, "secret_env": ["TOKEN"], "outputs": {"x": "string"}});
    let said = message(bench.run("command", with("echo got $TOKEN; exit 1")).await);
    assert!(said.contains("got ***") && !said.contains("canary"), "{said}");
    assert!(!bench.host.lines().contains("canary"));
    let leak = with(r#"echo "{\"v\":1,\"outputs\":{\"x\":\"$TOKEN\"}}" > $TIDEGATE_OUTPUT"#);
    let said = message(bench.run("command", leak).await);
    assert!(
        said.contains("value of a secret") && !said.contains("canary"),
        "{said}"
    );
}

#[tokio::test]
async fn events_and_artifacts_are_recorded() {
    let bench = Bench::new();
    let text = r#"
        echo '{"t":"progress","done":3,"total":20}' >> $TIDEGATE_EVENTS
        echo '{"t":"news","x":1}' >> $TIDEGATE_EVENTS
        printf '{"t":"metric","k":"loss","v":0.5,"step":2}' >> $TIDEGATE_EVENTS
        printf abc > $TIDEGATE_ARTIFACTS/model.onnx
        echo '{"v":1,"artifacts":[{"name":"model","path":"artifacts/model.onnx"}]}' > $TIDEGATE_OUTPUT"#;
    shell(&bench, text).await.unwrap();
    assert_eq!(bench.host.metric("loss"), [(2, 0.5)]);
    assert!(
        bench
            .host
            .seen()
            .emissions
            .contains(&Emission::Progress { done: 3, total: 20 })
    );
    let artifact = bench.host.seen().artifacts[0].clone();
    assert_eq!((artifact.size, &artifact.sha256[..8]), (3, "ba7816bf"));
    let outside = r#"echo '{"v":1,"artifacts":[{"name":"x","path":"/etc/passwd"}]}' > $TIDEGATE_OUTPUT"#;
    assert!(message(shell(&Bench::new(), outside).await).contains("no file in TIDEGATE_ARTIFACTS"));
}

#[tokio::test]
async fn the_context_names_params_inputs_and_run() {
    let mut bench = Bench::new();
    bench.ctx.params.insert("dim".into(), json!(128));
    let with = json!({
        "shell": "cat $TIDEGATE_CONTEXT",
        "inputs": {"features": {"uri": "file:///x/y", "rows": 3}},
    });
    bench.run("command", with).await.unwrap();
    let context: Value = serde_json::from_str(&bench.host.lines()).unwrap();
    assert_eq!(context["params"], json!({"dim": 128}));
    assert_eq!(context["inputs"]["features"]["path"], "/x/y");
    assert_eq!(context["run"]["task"], "under_test");
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipe_does_not_hold_the_task_and_dies() {
    let bench = Bench::new();
    shell(&bench, "setsid sleep 98761 & (setsid sleep 98762 &) ; echo done")
        .await
        .unwrap();
    assert!(bench.host.lines().contains("done"));
    assert_eq!((running("98761"), running("98762")), (0, 0));
}

#[tokio::test]
async fn cancel_ends_a_program_that_ignores_it_and_all_it_started() {
    let bench = Bench::new();
    let text = "trap '' TERM; (setsid sh -c \"trap '' TERM; sleep 98763; sleep 98764\" &); echo up; while :; do sleep 98765; done";
    let stop = async {
        while !bench.host.lines().contains("up") {
            clock::sleep(Duration::from_millis(20)).await;
        }
        bench.cancel.cancel();
    };
    let (result, ()) = tokio::join!(shell(&bench, text), stop);
    assert_eq!(result, Err(TaskError::Cancelled));
    assert!(bench.host.lines().contains("did not end within 10 s"));
    assert_eq!((running("98763"), running("98765")), (0, 0));
}

#[tokio::test]
async fn the_example_runs_by_the_plugin() {
    let bench = Bench::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/train_ranking.py");
    let with = json!({"argv": ["python3", script, "--epochs", "3"], "outputs": {"ndcg_at_10": "number", "epochs": "integer"}});
    let output = bench.run("command", with).await.unwrap();
    assert_eq!(output["epochs"], 3);
    assert_eq!(bench.host.metric("loss").len(), 3);
    assert_eq!(bench.host.seen().artifacts[0].name, "model");
}
