//! What a person at a terminal sees.

mod bench;
mod care;
mod decisions;
mod demo;
mod limits;
mod local;
mod nested;
mod offline;
mod outside;
mod quiet;
mod remote;
mod rollbacks;
mod runs;
mod settings;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tidegate_test_fixtures::postgres::{Database, database};
use tidegate_test_fixtures::process::Process;
use tidegate_test_fixtures::tidegate::{Finished, Tidegate};

const SOON: Duration = Duration::from_secs(30);

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

/// Writes a flow file into a home; answers its path.
fn flow(tidegate: &Tidegate, name: &str, tasks: &str) -> String {
    let path = tidegate.home().join(format!("{name}.toml"));
    std::fs::write(&path, format!("[flow]\nname = \"{name}\"\n\n{tasks}")).unwrap();
    path.display().to_string()
}

/// A task that runs a shell.
fn shell(name: &str, script: &str) -> String {
    format!("[tasks.{name}]\nuses = \"command\"\nwith = {{ shell = \"{script}\" }}\n\n")
}

/// The program beside a server with a worker, on a database of its own.
struct Served {
    tidegate: Tidegate,
    server: Process,
    /// Of its pages and its API.
    address: String,
    database: Option<Database>,
}

impl std::ops::Deref for Served {
    type Target = Tidegate;
    fn deref(&self) -> &Tidegate {
        &self.tidegate
    }
}

async fn served() -> Served {
    served_from(alone(), database().await)
}

/// The same with a home that was made ready before.
fn served_from(tidegate: Tidegate, database: Database) -> Served {
    let tidegate = tidegate.env("DATABASE_URL", &database.url);
    Served {
        database: Some(database),
        ..serve(tidegate)
    }
}

/// Starts a server with a worker on the database that the environment names.
fn serve(tidegate: Tidegate) -> Served {
    serve_as(tidegate, &["server", "--worker", "--bind", "127.0.0.1:0"])
}

/// The same by other words.
fn serve_as(tidegate: Tidegate, words: &[&str]) -> Served {
    let mut server = tidegate.spawn(words);
    let up = server.wait_for_line("server is up", SOON);
    let address = up.split(['"', '=', ' ']).find(|word| word.starts_with("http://"));
    let address = address.expect("its address").to_owned();
    Served {
        tidegate,
        server,
        address,
        database: None,
    }
}

impl Served {
    /// Where its database is.
    fn url(&self) -> &str {
        &self
            .database
            .as_ref()
            .expect("it is on a database of the fixtures")
            .url
    }

    /// Applies an example.
    fn apply(&self, name: &str) {
        let done = self.run(&["apply", example(name).to_str().unwrap()]);
        assert_eq!(done.code(), 0, "{done:?}");
    }

    /// Creates a run; answers its id.
    fn start(&self, words: &[&str]) -> String {
        let run = json(&self.run(&[&["run", "-o", "json"], words].concat()));
        run["id"].as_str().unwrap().to_owned()
    }
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
