//! `bench`: that it measures, not what.

use super::{alone, json, refused};

#[test]
fn bench_measures_on_a_postgresql_of_its_own_and_leaves_nothing_behind() {
    let tidegate = alone();
    let report = json(&tidegate.run(&["bench", "--quick", "--only", "chain", "-o", "json"]));
    assert!(report["floor"]["batched"]["rows_per_second"].as_f64().unwrap() > 0.0);
    let chain = &report["workloads"][0];
    assert_eq!(
        (chain["name"].as_str(), chain["unit"].as_str()),
        (Some("chain"), Some("ms"))
    );
    assert!(chain["median"].as_f64().unwrap() > 0.0);
    assert!(
        chain["spent"]["commits"].as_i64().unwrap() >= 10,
        "a step is a commit: {chain}"
    );
    let left = std::fs::read_dir(tidegate.home().join(".tidegate"))
        .unwrap()
        .flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().starts_with("bench-")),
        "{left:?}"
    );
}

#[tokio::test]
async fn bench_refuses_a_server_that_forgets_and_a_workload_that_is_none() {
    let database = tidegate_test_fixtures::postgres::database().await;
    let unsafe_one = alone().env("DATABASE_URL", &database.url);
    refused(&unsafe_one.run(&["bench", "--quick"]), 1, &["fsync = off"]);
    let refusal = alone().run(&["bench", "--only", "fan-in"]);
    refused(&refusal, 1, &["no workload is called `fan-in`", "fan-out"]);
}
