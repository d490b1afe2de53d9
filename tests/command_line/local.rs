//! Everything in one process, on the home's own PostgreSQL.

use std::time::Duration;

use rustix::process::Signal;
use tidegate_test_fixtures::wait;

use super::{SOON, alone, example, flow, json, refused, shell};

#[test]
fn a_file_runs_here_when_there_is_no_server() {
    let tidegate = alone();
    let done = tidegate.run(&[
        "run",
        example("hello").to_str().unwrap(),
        "--watch",
        "-p",
        "who=you",
    ]);
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(done.stdout.contains("✓ greet"), "{done:?}");
    let broken = flow(&tidegate, "broken", &shell("t", "exit 1"));
    assert_eq!(tidegate.run(&["run", &broken]).code(), 1);
    refused(&tidegate.run(&["runs"]), 5, &["nothing runs"]);
    std::fs::write(tidegate.home().join("wrong.toml"), "[flow]\nname = \"wrong\"\n").unwrap();
    refused(&tidegate.run(&["run", "wrong.toml"]), 2, &["wrong.toml"]);
}

#[test]
fn a_run_that_is_left_here_goes_on_with_dev() {
    let tidegate = alone();
    let file = flow(&tidegate, "long", &shell("wait", "sleep 2; echo done"));
    let mut here = tidegate.spawn(&["run", &file]);
    here.wait_for_line("wait  running", SOON);
    here.signal(Signal::INT);
    assert_eq!(here.wait(SOON).code(), Some(130), "{}", here.output());
    assert!(here.stderr().contains("tidegate dev"), "{}", here.output());
    let mut dev = tidegate.spawn(&["dev", "--port", "0"]);
    dev.wait_for_line("tidegate is up at", SOON);
    assert_eq!(tidegate.run(&["show", "last", "--watch"]).code(), 0);
    dev.signal(Signal::TERM);
    assert_eq!(dev.wait(SOON).code(), Some(0), "{}", dev.output());
}

#[test]
fn dev_applies_what_changes_and_holds_its_home_alone() {
    let tidegate = alone();
    std::fs::create_dir(tidegate.home().join("flows")).unwrap();
    let write = |text: &str| std::fs::write(tidegate.home().join("flows/one.toml"), text).unwrap();
    write("[flow]\nname = \"one\"\n\n[tasks.a]\nuses = \"approval\"\n");
    let mut dev = tidegate.spawn(&["dev", "--port", "0"]);
    let login = dev.wait_for_line("sign in as admin with", SOON);
    assert!(login.len() > 30, "{login}");
    dev.wait_for_line("flow one is new", SOON);
    refused(&tidegate.run(&["dev"]), 6, &[&dev.pid().to_string(), "dev"]);
    write("[flow]\nname = \"one\"\nx = 1\n\n[tasks.a]\nuses = \"approval\"\n");
    dev.wait_for_line("one.toml:3:1", SOON);
    assert_eq!(
        json(&tidegate.run(&["run", "one", "-w", "-o", "json"]))["state"],
        "succeeded"
    );
    write("[flow]\nname = \"one\"\n\n[tasks.b]\nuses = \"approval\"\n");
    dev.wait_for_line("flow one has a new version", SOON);
    let second = json(&tidegate.run(&["run", "one", "-w", "-o", "json"]));
    assert_eq!(second["tasks"][0]["name"], "b");
    let add = |name: &str, task: &str| {
        let file = tidegate.home().join(format!("flows/{name}.toml"));
        std::fs::write(file, format!("[flow]\nname = \"{name}\"\n\n[tasks.a]\n{task}\n")).unwrap();
    };
    add("outer", "uses = \"flow\"\nwith = { flow = \"inner\" }");
    dev.wait_for_line("runs flow `inner`, and there is none", SOON);
    add("inner", "uses = \"approval\"");
    dev.wait_for_line("flow outer is new", SOON);
    // What is outside of a file may come any time: a pool, for one.
    add(
        "pooled",
        "uses = \"command\"\nwith = { argv = [\"true\"] }\npool = \"desk\"",
    );
    dev.wait_for_line("tidegate pool set desk 1", SOON);
    assert_eq!(tidegate.run(&["pool", "set", "desk", "1"]).code(), 0);
    dev.wait_for_line("flow pooled is new", SOON);
    std::fs::remove_file(tidegate.home().join("flows/pooled.toml")).unwrap();
    dev.wait_for_line("pooled.toml is gone; its flow stays", SOON);
    let told = dev.output().matches("tidegate pool set desk 1").count();
    assert_eq!(told, 1, "{}", dev.output());
    let exported = tidegate.run(&["ledger", "export"]).stdout;
    assert!(
        exported.contains("flow_applied") && exported.contains("\"os:"),
        "{exported}"
    );
}

#[test]
fn dev_says_what_it_could_not_apply_and_that_traces_go_nowhere() {
    let tidegate = alone().env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");
    let folder = tidegate.home().join("flows");
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, more: &str| {
        let task = "[tasks.a]\nuses = \"command\"\nwith = { argv = [\"true\"] }";
        let text = format!("[flow]\nname = \"{name}\"\n\n{task}\n{more}");
        std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    };
    write("one", "pool = \"desk\"\n");
    let mut dev = tidegate.spawn(&["dev", "--port", "0"]);
    dev.wait_for_line("traces are not exported yet", SOON);
    dev.wait_for_line("no flow of flows could be applied", SOON);
    assert!(!dev.output().contains("are applied"), "{}", dev.output());
}

#[test]
fn dev_comes_back_after_it_was_killed() {
    let tidegate = alone();
    let mut first = tidegate.spawn(&["dev", "--port", "0"]);
    first.wait_for_line("sign in as admin", SOON);
    first.kill();
    let mut second = tidegate.spawn(&["dev", "--port", "0"]);
    second.wait_for_line("tidegate is up at", SOON);
    assert!(
        !second.stderr().contains("sign in as"),
        "the first login is shown once: {}",
        second.output()
    );
    second.signal(Signal::INT);
    assert_eq!(second.wait(SOON).code(), Some(0), "{}", second.output());
    wait::until("the end of PostgreSQL", Duration::from_secs(5), || {
        (!tidegate.home().join(".tidegate/pg/data/postmaster.pid").exists()).then_some(())
    });
}

#[test]
fn dev_that_is_told_to_end_while_it_starts_leaves_no_server_behind() {
    let tidegate = alone();
    let mut dev = tidegate.spawn(&["dev", "--port", "0"]);
    let pid = tidegate.home().join(".tidegate/pg/data/postmaster.pid");
    wait::until("PostgreSQL's start", SOON, || pid.exists().then_some(()));
    dev.signal(Signal::INT);
    assert_eq!(dev.wait(SOON).code(), Some(0), "{}", dev.output());
    assert!(!pid.exists(), "{}", dev.output());
}
