//! How the engine and its database fare.

use serde::{Deserialize, Serialize};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What: `database`, `clock`, `scheduler`, `queue gpu`, …
    pub name: String,
    /// `ok`, `warn`, `bad`.
    pub state: String,
    /// What was found, in words.
    pub detail: String,
    /// The way out, where there is one.
    pub help: Option<String>,
}

impl Check {
    /// All is well.
    pub fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(name, ("ok", detail.into()), None)
    }

    /// It works, but not for ever or not well.
    pub fn warn(name: impl Into<String>, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(name, ("warn", detail.into()), Some(help.into()))
    }

    /// Something does not work.
    pub fn bad(name: impl Into<String>, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(name, ("bad", detail.into()), Some(help.into()))
    }

    fn new(name: impl Into<String>, (state, detail): (&str, String), help: Option<String>) -> Self {
        Self {
            name: name.into(),
            state: state.to_owned(),
            detail,
            help,
        }
    }
}

/// What lies in the database, and how fast it grows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DbStatus {
    /// Migrations that ran.
    pub migrations: i64,
    /// Migrations that this program knows.
    pub known: i64,
    /// All of the database.
    pub bytes: i64,
    /// Largest first; a table's partitions are one.
    pub tables: Vec<TableSize>,
    /// What a day of events and logs took, on average of the last seven whole days; `null` before there was one.
    pub bytes_a_day: Option<f64>,
    /// Folder of the server's data, where this account may know it.
    pub directory: Option<String>,
}

/// What a table takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableSize {
    /// Table.
    pub table: String,
    /// Bytes, its indexes included.
    pub bytes: i64,
    /// Rows, as estimated.
    pub rows: i64,
    /// Dead rows that no vacuum has cleared yet, as estimated.
    pub dead: i64,
    /// Partitions; 0: it has none.
    pub partitions: i64,
}
