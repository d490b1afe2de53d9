//! Who may know whom.

use std::path::Path;

fn ours(manifest: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest)).unwrap();
    let dependencies = text.split("[dependencies]").nth(1).unwrap_or("");
    let dependencies = dependencies.split("\n[").next().unwrap_or("");
    let names = dependencies
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next());
    names
        .filter(|name| name.starts_with("tidegate-"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_crate_knows_only_whom_it_may() {
    assert_eq!(ours("engine/Cargo.toml"), Vec::<String>::new());
    assert_eq!(ours("learn/Cargo.toml"), Vec::<String>::new());
    assert_eq!(ours("web/Cargo.toml"), ["tidegate-engine"]);
    assert_eq!(ours("flows/Cargo.toml"), ["tidegate-engine", "tidegate-learn"]);
    assert_eq!(ours("tests/fixtures/Cargo.toml"), Vec::<String>::new());
}
