//! Names and identities. A name is checked once, when it enters; afterwards its type vouches for it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was written.
    #[error("a name must not be empty")]
    Empty,
    /// More than 63 bytes.
    #[error("a name has at most 63 characters, this has {0}")]
    TooLong(usize),
    /// The first character that does not belong.
    #[error("a name starts with a letter and holds letters, digits, `-` and `_`; {0:?} does not belong")]
    Character(char),
}

fn check_name(text: &str) -> Result<(), NameError> {
    let first = text.chars().next().ok_or(NameError::Empty)?;
    if text.len() > 63 {
        return Err(NameError::TooLong(text.len()));
    }
    if !first.is_ascii_alphabetic() {
        return Err(NameError::Character(first));
    }
    let stranger = text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')));
    stranger.map_or(Ok(()), |c| Err(NameError::Character(c)))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the text: 1–63 ASCII letters, digits, `-`, `_`, a letter first.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                check_name(&text)?;
                Ok(Self(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The name of a flow; equals its file's stem.
    FlowName
);
name!(
    /// The name of a task within its flow.
    TaskName
);
name!(
    /// The stable identity of a schedule within its flow.
    ScheduleName
);

/// Identity of a run: a UUIDv7, so that its order is the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

/// Content hash of a flow version: SHA-256 over source, named files and resolved vars, as 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionHash(pub String);

impl VersionHash {
    /// The first twelve digits, as shown to people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for VersionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Position of a task in its flow's graph, and of its task run in the run.
pub type TaskIdx = u32;

/// Fencing token of a task run: grows by one with each claim, never shrinks, never repeats.
pub type Epoch = i64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_is_wrong_with_it() {
        assert_eq!(FlowName::new(""), Err(NameError::Empty));
        assert_eq!(FlowName::new("9lives"), Err(NameError::Character('9')));
        assert_eq!(FlowName::new("a b"), Err(NameError::Character(' ')));
        assert_eq!(FlowName::new("x".repeat(64)), Err(NameError::TooLong(64)));
        assert!(FlowName::new("train-ranking_model2").is_ok());
    }
}
