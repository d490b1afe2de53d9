//! README.md says which test shows which recipe of failure. Here is what keeps it true.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The recipes: a letter, and the numbers of those that are to be shown or explained.
const RECIPES: [(&str, &[std::ops::RangeInclusive<u32>]); 11] = [
    ("W", &[1..=9]),
    ("S", &[1..=11]),
    ("D", &[1..=5, 9..=16, 19..=22]),
    ("N", &[1..=4]),
    ("T", &[0..=3, 6..=10]),
    ("A", &[1..=12]),
    ("C", &[1..=9]),
    ("P", &[1..=9, 13..=13]),
    ("L", &[1..=4]),
    ("F", &[1..=14]),
    ("X", &[1..=8]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands behind each recipe in README.md.
fn told() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("tests/README.md")).unwrap();
    let (_, table) = text.split_once("| recipe | shown by |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let rows = rows.map(|row| {
        let (recipe, shown) = row.trim_matches('|').split_once('|').unwrap();
        let (id, _) = recipe.trim().split_once(' ').unwrap();
        (id.to_owned(), shown.trim().to_owned())
    });
    rows.collect()
}

/// Names of functions, and of tests that a macro makes of a name and a text.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names = text.lines().filter_map(|line| {
                let line = line.trim_start();
                let function = line.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
                let made = line.strip_suffix("\",").and_then(|rest| rest.split_once(" \""));
                Some(
                    function
                        .map(|(name, _)| name)
                        .or(made.map(|(name, _)| name))?
                        .to_owned(),
                )
            });
            found.extend(names);
        }
    }
}

#[test]
fn every_recipe_has_a_test_or_a_reason() {
    let told = told();
    let wanted = RECIPES.iter().flat_map(|(letter, ranges)| {
        ranges
            .iter()
            .cloned()
            .flatten()
            .map(move |number| format!("{letter}{number}"))
    });
    let lacking: Vec<String> = wanted.filter(|id| !told.contains_key(id)).collect();
    assert!(lacking.is_empty(), "tests/README.md says nothing of {lacking:?}");
    for (id, shown) in &told {
        let explained = shown.contains('`') || shown.starts_with("left out: ");
        assert!(explained, "{id} names no test, and no reason: {shown}");
    }
}

#[test]
fn every_test_that_a_recipe_names_is_there() {
    let mut known = BTreeSet::new();
    for folder in ["engine/src", "flows/src", "learn", "src", "tests", "web"] {
        functions(&root().join(folder), &mut known);
    }
    for (id, shown) in told() {
        for name in shown
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| name.contains('_'))
        {
            assert!(known.contains(name), "{id} names `{name}`, which is nowhere");
        }
    }
}
