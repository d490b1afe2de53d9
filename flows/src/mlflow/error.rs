//! What can go wrong with MLflow, and which of it passes by itself.

use std::io;
use std::path::PathBuf;

use tidegate_engine::plugin::TaskError;

/// Why a request to MLflow did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum MlflowError {
    /// The configured address is none that a client over HTTP can use.
    #[error("MLFLOW_TRACKING_URI is not an http:// or https:// address: `{0}`")]
    Address(String),
    /// The HTTP client can't be made: no roots of trust, bad header.
    #[error("can't set up the client for MLflow")]
    Client(#[source] reqwest::Error),
    /// Nothing came back, or not all of it: the server may have acted or not.
    #[error("MLflow at {server} did not answer {request}")]
    Unanswered {
        /// Scheme, host and port.
        server: String,
        /// Method and path.
        request: String,
        /// What the connection says.
        source: reqwest::Error,
    },
    /// The server said no.
    #[error("MLflow refused {request}: {status} {code}: {message}")]
    Refused {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// MLflow's `error_code`; `-` where the answer is none of MLflow's.
        code: String,
        /// MLflow's words, or the head of the answer.
        message: String,
    },
    /// The server said yes in a shape this client doesn't know.
    #[error("MLflow's answer to {request} has an unexpected shape")]
    Shape {
        /// Method and path.
        request: String,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// A file to upload can't be read.
    #[error("can't read `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server keeps artifacts where only itself, or a client of that store, can write.
    #[error(
        "this MLflow keeps artifacts in `{0}` and doesn't take them over HTTP; start it with --artifacts-destination \
         (and without --no-serve-artifacts), and use an experiment made after that"
    )]
    NoProxy(String),
    /// The experiment was deleted; MLflow keeps its name taken.
    #[error("the MLflow experiment `{0}` is deleted: restore it, or name another one in `experiment`")]
    ExperimentDeleted(String),
    /// MLflow's filter language can't express this text.
    #[error("MLflow can't search for `{text}`: it contains a quote or a backslash")]
    Unsearchable {
        /// What was to be searched for.
        text: String,
    },
    /// Something was made and can't be found again.
    #[error("MLflow made {what} and does not find it afterwards")]
    Vanished {
        /// What was made.
        what: &'static str,
    },
}

impl MlflowError {
    /// Whether the same request may succeed later: lost connections, overload, a server that restarts.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unanswered { .. } | Self::Vanished { .. } => true,
            Self::Refused { status, code, .. } => {
                matches!(status, 408 | 425 | 429 | 500..) && *status != 501
                    || matches!(
                        code.as_str(),
                        "TEMPORARILY_UNAVAILABLE" | "REQUEST_LIMIT_EXCEEDED" | "INTERNAL_ERROR"
                    )
            }
            _ => false,
        }
    }

    /// Whether the server refused with this `error_code`. The status says less: what exists already is a 400.
    pub fn has_code(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }

    /// Whether the thing asked for does not exist.
    pub fn is_absent(&self) -> bool {
        self.has_code("RESOURCE_DOES_NOT_EXIST")
    }

    /// Whether the server doesn't have this part of the interface, by its version.
    pub fn is_unknown_endpoint(&self) -> bool {
        match self {
            Self::Refused {
                status: 404 | 405,
                code,
                ..
            } => code == "-" || code == "ENDPOINT_NOT_FOUND",
            Self::Refused { status: 501, .. } => true,
            _ => false,
        }
    }
}

impl From<MlflowError> for TaskError {
    fn from(error: MlflowError) -> Self {
        if error.is_passing() {
            Self::retry_chain(&error)
        } else {
            Self::fail_chain(&error)
        }
    }
}
