//! What the verbs work through: a database, or a server's API. Few lines a verb, both ways beside each other; the verbs know neither.

mod catalog;
mod flows;
mod follow;
mod runs;

use crate::backend::Backend;
use crate::client::Client;
use crate::config::Config;
use crate::failure::Failure;

pub use follow::Tail;

/// A database, or a server.
#[derive(Clone)]
pub enum Desk {
    /// A database, as an account of the operating system.
    Here(Backend),
    /// A server, as whom the token stands for.
    Server(Client),
}

impl From<&Backend> for Desk {
    fn from(backend: &Backend) -> Self {
        Self::Here(backend.clone())
    }
}

impl Desk {
    /// The server that the environment names, else the database.
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        match Client::of(config)? {
            Some(client) => Ok(Self::Server(client)),
            None => Ok(Self::Here(Backend::open(config).await?)),
        }
    }
}
