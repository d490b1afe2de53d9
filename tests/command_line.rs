//! What a person at a terminal sees.

use std::process::{Command, Output};

fn tidegate(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(words)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_wrong_flow_file_ends_with_2_and_names_every_problem_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nightly.toml");
    std::fs::write(
        &path,
        "[flow]\nname = \"nightly\"\ntimeut = \"3h\"\n\n[tasks.a]\nuses = \"trian\"\n",
    )
    .unwrap();
    let done = tidegate(&["check", path.to_str().unwrap()]);
    let shown = text(&done.stdout);
    assert_eq!(done.status.code(), Some(2), "{shown}");
    assert!(
        shown.contains("timeut") && shown.contains("timeout"),
        "the typo and the way out: {shown}"
    );
    assert!(
        shown.contains("trian") && shown.contains("train"),
        "both problems at once: {shown}"
    );
    assert!(shown.contains("nightly.toml:3:1"), "the place: {shown}");
}

#[test]
fn a_right_flow_file_ends_with_0() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ask.toml");
    std::fs::write(
        &path,
        "[flow]\nname = \"ask\"\n\n[tasks.a]\nuses = \"approval\"\n",
    )
    .unwrap();
    let done = tidegate(&["check", path.to_str().unwrap()]);
    assert_eq!(
        done.status.code(),
        Some(0),
        "{}{}",
        text(&done.stdout),
        text(&done.stderr)
    );
}

#[test]
fn plugins_and_schema_are_json_for_programs() {
    let listed: serde_json::Value =
        serde_json::from_slice(&tidegate(&["plugins", "-o", "json"]).stdout).unwrap();
    let names: Vec<&str> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|p| p["name"].as_str())
        .collect();
    assert!(
        names.contains(&"train") && names.contains(&"promote"),
        "{names:?}"
    );
    let schema: serde_json::Value = serde_json::from_slice(&tidegate(&["schema"]).stdout).unwrap();
    assert_eq!(schema["type"], "object");
    assert_eq!(tidegate(&["plugins", "nothing"]).status.code(), Some(6));
}
