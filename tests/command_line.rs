//! What a person at a terminal sees.

mod offline;

use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate_test_fixtures::tidegate::{Finished, Tidegate};

/// The program, in a home of its own, without a database.
fn alone() -> Tidegate {
    Tidegate::new(env!("CARGO_BIN_EXE_tidegate"))
}

/// A flow file of `examples/`.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(format!("{name}.toml"))
}

/// Standard output as JSON, of a verb that succeeded.
fn json(done: &Finished) -> Value {
    assert_eq!(done.code(), 0, "{done:?}");
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"))
}

/// Fails unless the verb ended with `code` and said all of `words` on standard error.
fn refused(done: &Finished, code: i32, words: &[&str]) {
    assert_eq!(done.code(), code, "{done:?}");
    for word in words {
        assert!(done.stderr.contains(word), "{word:?} in {done:?}");
    }
}

/// Fails unless every line fits into 80 columns and shows all of `words` somewhere.
fn table(done: &Finished, words: &[&str]) {
    assert_eq!(done.code(), 0, "{done:?}");
    for line in done.stdout.lines() {
        assert!(
            line.chars().count() <= 80,
            "{} columns: {line}",
            line.chars().count()
        );
    }
    for word in words {
        assert!(done.stdout.contains(word), "{word:?} in {done:?}");
    }
}
