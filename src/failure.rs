//! Why a verb did not do what it was asked: a sentence, the way out, and the exit code.

use tidegate_engine::command::CommandError;
use tidegate_engine::embedded::EmbeddedError;
use tidegate_engine::plugin::chain;
use tidegate_engine::store::{ConnectError, StoreError};

use crate::config::ConfigError;
use crate::term::{Style, Term, complain, paint};

/// Exit codes, as the contract has them.
pub mod code {
    /// Done.
    pub const DONE: u8 = 0;
    /// The run failed.
    pub const FAILED: u8 = 1;
    /// Wrong usage, or a flow file that does not check.
    pub const USAGE: u8 = 2;
    /// The run was rejected.
    pub const REJECTED: u8 = 3;
    /// The run was cancelled.
    pub const CANCELLED: u8 = 4;
    /// Server or database cannot be reached.
    pub const UNREACHABLE: u8 = 5;
    /// Not allowed, not found, already decided, evidence changed.
    pub const REFUSED: u8 = 6;
    /// `--timeout` passed.
    pub const TIMEOUT: u8 = 124;
    /// Interrupted.
    pub const INTERRUPTED: u8 = 130;
}

/// The end of a verb that did not go well.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    why: String,
    help: Option<String>,
}

impl Failure {
    /// An end with a code and a sentence.
    pub fn new(code: u8, why: impl Into<String>) -> Self {
        Self {
            code,
            why: why.into(),
            help: None,
        }
    }

    /// Wrong usage.
    pub fn usage(why: impl Into<String>) -> Self {
        Self::new(code::USAGE, why)
    }

    /// Not allowed, not found.
    pub fn refused(why: impl Into<String>) -> Self {
        Self::new(code::REFUSED, why)
    }

    /// Nobody answers.
    pub fn unreachable(why: impl Into<String>) -> Self {
        Self::new(code::UNREACHABLE, why)
    }

    /// Adds the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Server or database did not answer; that may pass.
    pub fn is_unreachable(&self) -> bool {
        self.code == code::UNREACHABLE
    }

    /// The sentence.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The way out; empty where there is none.
    pub fn way_out(&self) -> &str {
        self.help.as_deref().unwrap_or_default()
    }

    /// Tells it on standard error; answers the exit code.
    pub fn report(&self, term: &Term) -> u8 {
        let head = paint("error:", Style::Red, term.color_err);
        let help = self
            .help
            .as_ref()
            .map(|help| format!("  {help}\n"))
            .unwrap_or_default();
        complain(&format!("{head} {}\n{help}", self.why));
        self.code
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(chain(&error))
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let failure = Self::unreachable(chain(&error));
        match error {
            ConnectError::Pooled => failure.help(
                "give the address of PostgreSQL itself: each process keeps no more than `database.connections` of its own",
            ),
            _ => failure,
        }
    }
}

impl From<EmbeddedError> for Failure {
    fn from(error: EmbeddedError) -> Self {
        match &error {
            EmbeddedError::Held { .. } => Self::refused(chain(&error))
                .help("work beside it from another terminal, end it, or set TIDEGATE_HOME to another folder"),
            _ => Self::unreachable(chain(&error)),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NotFound { .. } | StoreError::Stale | StoreError::Plan(_) => {
                Self::refused(chain(&error))
            }
            StoreError::Refused { .. } => Self::usage(chain(&error)),
            _ => Self::unreachable(chain(&error)),
        }
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Store(error) => error.into(),
            CommandError::Params(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                Self::usage(lines.join("\n       "))
            }
            CommandError::Flows(found) => {
                let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
                Self::usage(lines.join("\n       "))
            }
            CommandError::Invalid { why } => Self::usage(why),
            other => Self::refused(other.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(code::FAILED, error.to_string())
    }
}
