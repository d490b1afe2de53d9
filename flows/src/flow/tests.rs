#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use serde_json::{Value, json};
use tidegate_engine::graph::EndState;
use tidegate_engine::plugin::{SubAnswer, SubRun, TaskError, WaitsFor};

use crate::testing::Bench;

const RUN: &str = "01931d2c-0000-7000-8000-000000000002";

fn answer(end: Option<EndState>, outputs: Value) -> SubAnswer {
    SubAnswer::Run(SubRun {
        run: RUN.parse().unwrap(),
        version: serde_json::from_value(json!("b".repeat(64))).unwrap(),
        number: 3,
        made: end.is_none(),
        end,
        reason: (end == Some(EndState::Cancelled)).then(|| "requested".to_owned()),
        outputs: outputs.as_object().unwrap().clone(),
    })
}

async fn run(bench: &Bench, answer: SubAnswer) -> Result<Value, TaskError> {
    bench.host.seen().sub_answer = Some(answer);
    let with = json!({"flow": "train", "params": {"days": 7}});
    bench.run("flow", with).await
}

#[tokio::test]
async fn it_parks_while_its_run_goes_on_and_says_which_version_it_made() {
    let bench = Bench::new();
    let Err(TaskError::Parked(parking)) = run(&bench, answer(None, json!({}))).await else {
        panic!("it waits");
    };
    assert_eq!((parking.waits_for, parking.until), (WaitsFor::SubRun, None));
    assert_eq!(parking.note, format!("waits for run {RUN} of train"));
    assert!(
        bench.host.lines().contains("of train, version 3 (bbbb"),
        "{}",
        bench.host.lines()
    );
    let wanted = bench.host.seen().sub_flows.clone();
    assert_eq!(
        (wanted[0].flow.as_str(), &wanted[0].params["days"]),
        ("train", &json!(7))
    );
}

#[tokio::test]
async fn it_ends_like_its_run() {
    let bench = Bench::new();
    let handed_on = json!({"fit": {"model": "m"}, "tell": null});
    let done = run(&bench, answer(Some(EndState::Succeeded), handed_on.clone()))
        .await
        .unwrap();
    assert_eq!(done["run"], RUN);
    assert_eq!(done["state"], "succeeded");
    assert_eq!(done["outputs"], handed_on);
    for (end, said) in [
        (EndState::Failed, "ended failed"),
        (EndState::Rejected, "ended rejected"),
        (EndState::Cancelled, "ended cancelled (requested)"),
    ] {
        let Err(TaskError::SubRun { end: told, message }) = run(&bench, answer(Some(end), json!({}))).await
        else {
            panic!("{end:?}");
        };
        assert_eq!(told, end);
        assert!(message.contains(said), "{message}");
    }
}

#[tokio::test]
async fn a_frozen_flow_is_waited_for_until_its_window_ends() {
    let bench = Bench::new();
    let frozen = SubAnswer::Frozen {
        freeze: RUN.parse().unwrap(),
        until: "2026-12-24T00:00:00Z".parse().unwrap(),
        why: "frozen until then".to_owned(),
    };
    let Err(TaskError::Parked(parking)) = run(&bench, frozen).await else {
        panic!("it waits");
    };
    assert_eq!(parking.waits_for, WaitsFor::Timer);
    assert_eq!(
        parking.memory["freeze"], RUN,
        "the end of the window finds it by this"
    );
}

#[tokio::test]
async fn too_much_is_refused_with_the_way_out() {
    let bench = Bench::new();
    let much = json!({"fit": {"text": "x".repeat(2 << 20)}});
    let Err(TaskError::Fail { message }) = run(&bench, answer(Some(EndState::Succeeded), much)).await else {
        panic!("it fails");
    };
    assert!(message.contains("outputs = ["), "{message}");
}

#[tokio::test]
async fn a_secret_is_no_param() {
    let mut bench = Bench::new();
    bench.ctx.mask = tidegate_engine::mask::Mask::new(["hunter2-hunter2".to_owned()]);
    let with = json!({"flow": "train", "params": {"password": "hunter2-hunter2"}});
    let Err(TaskError::Fail { message }) = bench.run("flow", with).await else {
        panic!("it fails");
    };
    assert!(message.contains("secret cannot be a param"), "{message}");
    assert!(bench.host.seen().sub_flows.is_empty());
}
