//! `bench`: that it measures, not what.

use std::time::Duration;

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

#[test]
fn bench_that_is_stopped_leaves_nothing_behind_either() {
    let tidegate = alone();
    let home = tidegate.home().join(".tidegate");
    let left = || {
        let entries = std::fs::read_dir(&home).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("bench-")).count()
    };
    let mut bench = tidegate.spawn(&["bench", "--only", "trigger"]);
    bench.wait_for_line("measuring trigger:", Duration::from_secs(60));
    assert_eq!(left(), 1);
    let status = bench.terminate(Duration::from_secs(20));
    assert_eq!((status.code(), left()), (Some(130), 0));
}

#[tokio::test]
async fn bench_refuses_a_server_that_forgets_and_a_workload_that_is_none() {
    let database = tidegate_test_fixtures::postgres::database().await;
    let unsafe_one = alone().env("DATABASE_URL", &database.url);
    refused(&unsafe_one.run(&["bench", "--quick"]), 1, &["fsync = off"]);
    let refusal = alone().run(&["bench", "--only", "fan-in"]);
    refused(&refusal, 2, &["no workload is called `fan-in`", "fan-out"]);
}
