//! Verbs that need neither server nor database, and what they say where one is needed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{alone, example, json, refused, table};

#[test]
fn a_wrong_flow_file_ends_with_2_and_names_every_problem_with_its_place() {
    let tidegate = alone();
    let path = tidegate.home().join("nightly.toml");
    std::fs::write(
        &path,
        "[flow]\nname = \"nightly\"\ntimeut = \"3h\"\n\n[tasks.a]\nuses = \"trian\"\n",
    )
    .unwrap();
    let done = tidegate.run(&["check", path.to_str().unwrap()]);
    assert_eq!(done.code(), 2, "{done:?}");
    for word in ["timeut", "timeout", "trian", "train", "nightly.toml:3:1"] {
        assert!(done.stdout.contains(word), "{word} in {}", done.stdout);
    }
}

#[test]
fn keys_that_have_no_effect_together_are_refused() {
    let tidegate = alone();
    let path = tidegate.home().join("odd.toml");
    let flow = r#"[flow]
name = "odd"

[tasks.pull]
uses = "data_pull"
with = { source = "file:///lake", days = 3, table = "events" }

[tasks.features]
uses = "feature_build"
with = { events = "{{ tasks.pull.events }}", sql = "SELECT 1", sql_file = "ranking.sql" }

[tasks.train]
uses = "train"
with = { kind = "ranking", features = "{{ tasks.features.table }}", retrieval = {} }
"#;
    std::fs::write(&path, flow).unwrap();
    std::fs::write(tidegate.home().join("ranking.sql"), "SELECT 1").unwrap();
    let done = tidegate.run(&["check", path.to_str().unwrap()]);
    assert_eq!(done.code(), 2, "{done:?}");
    for words in [
        "odd.toml:6:",
        "`table` has no effect on a lake",
        "odd.toml:10:",
        "`sql_file` and `sql` both hold the statement",
        "odd.toml:14:",
        "`retrieval` has no effect with kind = \"ranking\"",
        "or train the kind it belongs to: kind = \"retrieval\"",
    ] {
        assert!(done.stdout.contains(words), "{words} in {}", done.stdout);
    }
}

#[test]
fn all_examples_check() {
    let folder = example("hello").parent().unwrap().to_owned();
    let done = alone().run(&["check", folder.to_str().unwrap()]);
    assert_eq!(done.code(), 0, "{done:?}");
}

/// Paths of all keys that the editors' schema knows, `*` for an entry of a list and for a name of the author's own.
fn keys_of_the_grammar(schema: &Value, path: &str, keys: &mut BTreeSet<String>) {
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        if key != "with" {
            keys_of_the_grammar(inner, &path, keys);
        }
        keys.insert(path);
    }
    for entry in ["additionalProperties", "items"] {
        if schema[entry].is_object() {
            keys_of_the_grammar(&schema[entry], &format!("{path}.*"), keys);
        }
    }
}

/// Paths of all keys of a file, as far as the grammar knows them.
fn keys_of_a_file(value: &Value, path: &str, (known, keys): (&BTreeSet<String>, &mut BTreeSet<String>)) {
    if known.contains(path) {
        keys.insert(path.to_owned());
    }
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                keys_of_a_file(value, &format!("{path}.{key}"), (known, keys));
                keys_of_a_file(value, &format!("{path}.*"), (known, keys));
            }
        }
        Value::Array(items) => {
            for value in items {
                keys_of_a_file(value, &format!("{path}.*"), (known, keys));
            }
        }
        _ => {}
    }
}

#[test]
fn every_key_of_the_grammar_stands_in_an_example() {
    let (mut known, mut shown) = (BTreeSet::new(), BTreeSet::new());
    keys_of_the_grammar(&json(&alone().run(&["schema"])), "", &mut known);
    assert!(known.contains(".tasks.*.gate.rule.*.max_drop"), "{known:?}");
    for file in std::fs::read_dir(example("hello").parent().unwrap()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&path).unwrap();
            keys_of_a_file(&toml::from_str(&text).unwrap(), "", (&known, &mut shown));
        }
    }
    let missing: Vec<&String> = known.difference(&shown).collect();
    assert!(missing.is_empty(), "no example shows {missing:?}");
}

#[test]
fn every_key_of_the_grammar_stands_in_the_reference() {
    let mut known = BTreeSet::new();
    keys_of_the_grammar(&json(&alone().run(&["schema"])), "", &mut known);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("flows/WRITING.md");
    let page = std::fs::read_to_string(page).unwrap();
    // What stands before the second bar of a table's line.
    let keys: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once(" |"))
        .flat_map(|(keys, _)| keys.split('`'))
        .collect();
    let shown = |path: &&String| {
        let key = path.rsplit('.').next().unwrap();
        keys.contains(key) || page.contains(&format!("[{key}]")) || page.contains(&format!("[{key}.NAME]"))
    };
    let missing: Vec<&String> = known.iter().filter(|path| !shown(path)).collect();
    assert!(missing.is_empty(), "the reference lacks {missing:?}");
}

#[test]
fn plugins_and_schema_are_json_for_programs() {
    let tidegate = alone();
    let listed = json(&tidegate.run(&["plugins", "-o", "json"]));
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
    assert_eq!(json(&tidegate.run(&["schema"]))["type"], "object");
    table(&tidegate.run(&["plugins", "promote"]), &["alias", "required"]);
    refused(
        &tidegate.run(&["plugins", "promot"]),
        6,
        &["promot", "did you mean `promote`?"],
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long a person waits is the point")]
fn help_is_there_at_once() {
    let tidegate = alone();
    let took = |()| {
        let began = Instant::now();
        assert_eq!(tidegate.run(&["--help"]).code(), 0);
        began.elapsed()
    };
    // The best of many: this machine has other things to do. The fixture looks every 15 ms.
    let best = std::iter::repeat_n((), 10).map(took).min().unwrap();
    assert!(best < Duration::from_millis(45), "{best:?}");
}

#[test]
fn without_a_database_the_way_out_is_named() {
    let tidegate = alone();
    for verb in [
        &["runs"][..],
        &["show", "last"],
        &["schedule", "list"],
        &["run", "nightly"],
        &["apply", "."],
    ] {
        refused(&tidegate.run(verb), 5, &["DATABASE_URL", "tidegate dev"]);
    }
    refused(&tidegate.run(&["server"]), 5, &["DATABASE_URL"]);
    let elsewhere = alone().env(
        "DATABASE_URL",
        "postgres://nobody@localhost/none?host=/nonexistent",
    );
    refused(&elsewhere.run(&["runs"]), 5, &["PostgreSQL does not answer"]);
    refused(
        &alone().env("DATABASE_URL", "mysql://x").run(&["runs"]),
        2,
        &["postgres://"],
    );
}

#[test]
fn a_configuration_that_cannot_be_meant_is_refused_with_its_place() {
    let tidegate = alone();
    std::fs::write(
        tidegate.home().join("tidegate.toml"),
        "[worker]\nslots = 2\nslot = 3\n",
    )
    .unwrap();
    let wrong = tidegate.run(&["runs"]);
    refused(&wrong, 2, &["tidegate.toml", "line 3", "slot"]);
    assert_eq!(wrong.stderr.matches("unknown field").count(), 1, "{wrong:?}");
    std::fs::write(tidegate.home().join("tidegate.toml"), "[worker]\nslots = 0\n").unwrap();
    let wrong = tidegate.run(&["runs"]);
    refused(&wrong, 2, &["tidegate.toml, line 2: worker.slots is too small"]);
    assert!(!wrong.stderr.contains("variable"), "{wrong:?}");
    refused(
        &alone().env("TIDEGATE_WEB__BIND", "8080").run(&["runs"]),
        2,
        &["TIDEGATE_WEB__BIND"],
    );
    refused(
        &alone()
            .env("TIDEGATE_CONFIG", "/nonexistent/t.toml")
            .run(&["runs"]),
        2,
        &["/nonexistent/t.toml"],
    );
}

#[test]
fn a_schedule_is_explained_from_its_file_alone() {
    let tidegate = alone();
    let file = example("ask-a-person");
    let file = file.to_str().unwrap();
    let next = json(&tidegate.run(&[
        "schedule",
        "next",
        file,
        "--after",
        "2026-03-27T12:00:00Z",
        "-n",
        "2",
        "-o",
        "json",
    ]));
    // Friday's is over; on Sunday the clock skips 02:30, on Monday it is summer.
    assert_eq!(next["items"][0]["at"], "2026-03-30T00:30:00Z");
    assert_eq!(next["items"][1]["at"], "2026-03-31T00:30:00Z");
    let explained = tidegate.run(&["schedule", "explain", file]);
    table(&explained, &["ask-a-person/workdays", "Europe/Berlin", "02:30"]);
    assert_eq!(
        explained.stdout.matches("The clock goes from").count(),
        2,
        "{}",
        explained.stdout
    );
    refused(
        &tidegate.run(&["schedule", "next", example("hello").to_str().unwrap()]),
        6,
        &["no schedule"],
    );
}

#[test]
fn a_file_may_be_explained_before_its_variables_are_known() {
    let playbook = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/flows/playbook/train-ranking-model.toml"
    );
    table(
        &alone().run(&["schedule", "explain", playbook]),
        &["Every day at 02:00"],
    );
}
