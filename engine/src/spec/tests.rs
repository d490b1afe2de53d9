//! Flow files right and wrong, as their authors see them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod disk;
mod more;
mod plugins;
mod wrong;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::*;
use crate::gate::{Bound, Subject, WithoutBaseline};
use crate::graph::Flow;
use plugins::registry;

const RIGHT: &str = include_str!("testdata/right/train-ranking-model.toml");

fn env(name: &str) -> Option<String> {
    (name == "TIDEGATE_VAR_PREFIX").then(|| "events".to_owned())
}

/// A flow called `x` with these lines, checked; the sql file exists.
fn check_text(name: &str, text: &str) -> Result<Checked, Vec<Diagnostic>> {
    let mut source = SourceFile::new(format!("{name}.toml"), text);
    source.files = BTreeMap::from([("sql/ranking_features.sql".to_owned(), Ok("SELECT 1\n".to_owned()))]);
    check(&source, &registry(), &env)
}

/// `code: message` of each problem of a flow `x` with one right task and these lines.
fn problems(lines: &str) -> Vec<String> {
    let head = "[flow]\nname = \"x\"\n";
    let tail = "\n[tasks.base]\nuses = \"data_pull\"\nwith = { source = \"s\", days = 1 }\n";
    match check_text("x", &format!("{head}{lines}{tail}")) {
        Ok(_) => Vec::new(),
        Err(found) => found
            .iter()
            .map(|d| format!("{}: {}", d.code, d.message))
            .collect(),
    }
}

fn right() -> Flow {
    check_text("train-ranking-model", RIGHT)
        .unwrap_or_else(|d| panic!("{}", render_text(&d, RIGHT, false)))
        .flow
}

#[test]
fn a_right_flow_gives_the_expected_graph() {
    let flow = right();
    let needs: Vec<String> = flow
        .graph
        .tasks()
        .iter()
        .map(|task| {
            let names = task.needs.iter().map(|&idx| flow.graph.task(idx).name.as_str());
            format!("{} <- {}", task.name, names.collect::<Vec<_>>().join(" "))
        })
        .collect();
    assert_eq!(
        needs,
        [
            "pull <- ",
            "features <- pull",
            "train <- features",
            "evaluate <- features train",
            "log <- train evaluate",
            "staging <- evaluate log",
            "production <- log staging",
        ]
    );
    assert_eq!(flow.vars["events"], json!("s3://learning-events/events"));
    assert_eq!(flow.files["sql/ranking_features.sql"], "SELECT 1\n");
    assert_eq!(flow.graph.task(1).files, ["sql/ranking_features.sql"]);
    assert_eq!(flow.timeout, Some(Duration::from_secs(3 * 3600)));
    let pull = flow.graph.task(0);
    assert_eq!(
        (pull.retry.attempts, pull.retry.delay),
        (3, Duration::from_secs(30))
    );
    assert_eq!(pull.with["days"], json!("{{ params.window_days }}"));
    let rules = &flow.graph.task(5).gate.as_ref().unwrap().rules;
    assert_eq!(
        (rules[0].bound, rules[0].borderline),
        (Bound::Above(0.25), Some(0.01))
    );
    assert_eq!(
        (rules[1].bound, rules[1].without_baseline),
        (Bound::MaxDrop(0.1), WithoutBaseline::Ask)
    );
    assert!(
        matches!(&rules[1].subject, Subject::Change { change } if change.contains("change.precision_at_10"))
    );
    let approval = flow
        .graph
        .task(6)
        .gate
        .as_ref()
        .unwrap()
        .approval
        .as_ref()
        .unwrap();
    assert_eq!(
        (approval.required, approval.remind),
        (1, Some(Duration::from_secs(12 * 3600)))
    );
    assert_eq!(flow.schedules[0].params["window_days"], json!(30));
}

#[test]
fn the_version_changes_with_source_files_and_vars_and_with_nothing_else() {
    let version = |text: &str, sql: &str, prefix: &str| {
        let mut source = SourceFile::new("train-ranking-model.toml", text);
        source.files = BTreeMap::from([("sql/ranking_features.sql".to_owned(), Ok(sql.to_owned()))]);
        check(&source, &registry(), &|_| Some(prefix.to_owned()))
            .unwrap()
            .version
    };
    let first = version(RIGHT, "a", "p");
    assert_eq!(first.0.len(), 64);
    assert_eq!(version(&format!("\u{feff}{RIGHT}"), "a", "p"), first);
    for other in [
        version(&format!("{RIGHT}#"), "a", "p"),
        version(RIGHT, "b", "p"),
        version(RIGHT, "a", "q"),
    ] {
        assert_ne!(other, first);
    }
}

#[test]
fn a_flow_survives_being_stored() {
    let flow = right();
    let stored = serde_json::to_string(&flow).unwrap();
    assert_eq!(serde_json::from_str::<Flow>(&stored).unwrap(), flow);
}

#[test]
fn params_get_defaults_and_every_misfit_is_told() {
    let flow = right();
    let given = |value: Value| value.as_object().cloned().unwrap_or_default();
    assert_eq!(
        params::resolve(&flow, Map::new()).unwrap()["window_days"],
        json!(30)
    );
    assert_eq!(
        params::resolve(&flow, given(json!({"window_days": 7}))).unwrap()["window_days"],
        json!(7)
    );
    let told = |value: Value| {
        let problems = params::resolve(&flow, given(value)).unwrap_err();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        told(json!({"window_days": 0, "windowdays": 1})),
        [
            "param `windowdays` is no param of flow `train-ranking-model`; did you mean `window_days`?",
            "param `window_days` must be at least 1, this is 0",
        ]
    );
    assert_eq!(
        told(json!({"window_days": "7"})),
        ["param `window_days` must be an integer, this is \"7\""]
    );
    assert_eq!(
        told(json!({"window_days": 7.5})),
        ["param `window_days` must be an integer, this is 7.5"]
    );
    let cli = |text: &str| params::from_texts(&flow.params, &[("window_days".to_owned(), text.to_owned())]);
    assert_eq!(cli("7").unwrap()["window_days"], json!(7));
    assert_eq!(
        cli("x").unwrap_err()[0].to_string(),
        "param `window_days` must be an integer, this is \"x\""
    );
}

#[test]
fn the_schema_for_editors_accepts_the_right_flow_and_refuses_typos() {
    let schema = json_schema(&registry());
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut flow: Value = serde_json::to_value(toml::from_str::<toml::Table>(RIGHT).unwrap()).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&flow)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    flow["tasks"]["pull"]["with"]["days"] = json!(true);
    assert!(!validator.is_valid(&flow));
    flow["tasks"]["pull"]["with"]["days"] = json!(3);
    assert!(validator.is_valid(&flow));
    flow["tasks"]["pull"]["retrys"] = json!({});
    assert!(!validator.is_valid(&flow));
}
