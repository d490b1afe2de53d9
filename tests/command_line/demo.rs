//! From an empty home to a promoted model.

use std::time::Duration;

use super::{alone, json, table};

/// Two trainings, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(240);

#[test]
fn an_empty_home_comes_to_a_model_that_a_person_promoted_over_another() {
    let tidegate = alone().env("MLFLOW_TRACKING_URI", "http://127.0.0.1:9");
    let done = tidegate.run_within(PATIENCE, &["demo", "--approve", "--port", "0"]);
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(done.stdout.contains("learning events of 60 days"), "{done:?}");
    assert!(done.stdout.contains("└─ ✓ production"), "{done:?}");
    let mut dev = tidegate.spawn(&["dev", "--port", "0"]);
    dev.wait_for_line("tidegate is up at", super::SOON);
    let moves = json(&tidegate.run(&["models", "history", "ranking_model", "-o", "json"]));
    let production: Vec<_> = moves["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["alias"] == "production")
        .collect();
    let told = |nth: usize| {
        (
            production[nth]["version"].as_i64(),
            production[nth]["actor"].as_str(),
        )
    };
    assert_eq!(
        (told(0), told(1)),
        ((Some(2), Some("demo")), (Some(1), Some("demo-setup"))),
        "{moves}"
    );
    assert!(production[0]["evidence"].is_string(), "{moves}");
    let last = json(&tidegate.run(&["show", "last", "-o", "json"]));
    assert_eq!(
        (last["requester"].as_str(), last["trigger"].as_str()),
        (Some("system"), Some("schedule"))
    );
    table(&tidegate.run(&["ledger", "verify"]), &["the chain holds"]);
    table(&tidegate.run(&["models"]), &["ranking_model", "production v2"]);
}
