//! A client for MLflow's REST interface: as much of it as logging a model and moving its aliases takes.
//!
//! Written against MLflow 3.17. Requests and answers are typed, because MLflow ignores unknown fields without a word.
//! Nothing here repeats a request by itself: a reply that got lost says nothing about whether the server acted, so those
//! who call look first, act, and look again (`mlflow_log`, `promote`), and leave the repeating to the task's retry policy.
//!
//! Read [`transport`] (address, credentials, time limits), [`error`] (what is passing trouble), then the nouns:
//! [`runs`], [`logged_models`], [`artifacts`], [`registry`].

pub mod artifacts;
pub mod error;
pub mod logged_models;
pub mod registry;
pub mod runs;
pub mod transport;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use error::MlflowError;
pub use transport::Mlflow;

/// A label of a run, a logged model or a version. Keys have at most 250 characters, values at most 8000 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// Name.
    pub key: String,
    /// Text.
    #[serde(default)]
    pub value: String,
}

impl Tag {
    /// A tag of two texts.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
        }
    }
}

/// A text as a literal of MLflow's filter language, which has no escapes: a text with a quote can't be searched for.
fn quoted(text: &str) -> Result<String, MlflowError> {
    if text.contains(['\'', '\\']) {
        return Err(MlflowError::Unsearchable {
            text: text.to_owned(),
        });
    }
    Ok(format!("'{text}'"))
}
