//! Files of runs and logged models, through the server's artifact proxy.

use std::path::Path;

use reqwest::Body;
use tokio::fs::File;

use super::transport::Upload;
use super::{Mlflow, MlflowError};

/// A folder that the server stores for us: the part of an artifact URI below the store's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store(String);

impl Store {
    /// The folder of `mlflow-artifacts:/…` or `mlflow-artifacts://host/…`. Roots of any other scheme are refused: their
    /// files would have to be written past the server, with credentials of their own.
    pub fn of(artifact_uri: &str) -> Result<Self, MlflowError> {
        let refused = || MlflowError::NoProxy(artifact_uri.to_owned());
        let rest = artifact_uri
            .strip_prefix("mlflow-artifacts:")
            .ok_or_else(refused)?;
        let path = match rest.strip_prefix("//") {
            Some(with_host) => with_host.split_once('/').ok_or_else(refused)?.1,
            None => rest,
        };
        Ok(Self(path.trim_matches('/').to_owned()))
    }
}

impl Mlflow {
    /// Stores a text under that name, in place of what was there.
    pub async fn put_text(&self, store: &Store, name: &str, text: String) -> Result<(), MlflowError> {
        let size = text.len() as u64;
        self.put(
            &format!("{}/{name}", store.0),
            Upload {
                body: Body::from(text),
                size,
            },
        )
        .await
    }

    /// Stores a file under that name, in place of what was there; it is streamed.
    pub async fn put_file(&self, store: &Store, name: &str, path: &Path) -> Result<(), MlflowError> {
        let unreadable = |source| MlflowError::File {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).await.map_err(unreadable)?;
        let size = file.metadata().await.map_err(unreadable)?.len();
        self.put(
            &format!("{}/{name}", store.0),
            Upload {
                body: Body::from(file),
                size,
            },
        )
        .await
    }
}
