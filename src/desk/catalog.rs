//! Models, pools, freezes, the ledger, tokens.

use serde::Deserialize;
use serde_json::json;
use tidegate_engine::command::{RollbackRequest, Triggered, Way};
use tidegate_engine::store::freezes::NewFreeze;
use tidegate_engine::view::{AliasMove, Freeze, LedgerEntry, LedgerReport, Model, Page, Pool, Token};
use tidegate_engine::{clock, command};
use uuid::Uuid;

use super::Desk;
use crate::client::nothing;
use crate::failure::Failure;

/// What is read of a model.
#[derive(Deserialize)]
struct Known {
    moves: Vec<AliasMove>,
}

impl Desk {
    /// Registered models.
    pub async fn models(&self) -> Result<Vec<Model>, Failure> {
        match self {
            Self::Here(here) => Ok(here.store.models().await?),
            Self::Server(server) => server.all(&["models"], &[]).await,
        }
    }

    /// The moves of a model's aliases, newest first.
    pub async fn alias_moves(&self, model: &str) -> Result<Vec<AliasMove>, Failure> {
        match self {
            Self::Here(here) => Ok(here.store.alias_moves(model).await?),
            Self::Server(server) => {
                let known: Known = server.get(&["models", model], &[]).await?;
                Ok(known.moves)
            }
        }
    }

    /// Makes a run that moves an alias back.
    pub async fn roll_back(
        &self,
        (model, alias): (&str, &str),
        request: RollbackRequest,
    ) -> Result<Triggered, Failure> {
        match self {
            Self::Here(here) => {
                let way = Way {
                    registry: &tidegate_flows::registry(),
                    trigger: "manual",
                    key: None,
                };
                let asked = ((model, alias), request, way);
                Ok(command::roll_back(&here.store, &here.actor, asked, clock::now()).await?)
            }
            Self::Server(server) => {
                let path = ["models", model, "aliases", alias, "rollback"];
                let (run, created) = server.create(&path, (&request, None)).await?;
                Ok(Triggered { run, created })
            }
        }
    }

    /// All pools, with who holds their slots.
    pub async fn pools(&self) -> Result<Vec<Pool>, Failure> {
        match self {
            Self::Here(here) => Ok(here.store.pools().await?),
            Self::Server(server) => server.all(&["pools"], &[]).await,
        }
    }

    /// Makes or resizes a pool; `false`: it has that size already.
    pub async fn set_pool(&self, (name, size): (&str, u32)) -> Result<bool, Failure> {
        match self {
            Self::Here(here) => {
                Ok(command::set_pool(&here.store, &here.actor, (name, size), clock::now()).await?)
            }
            Self::Server(server) => {
                let before = self.pools().await?;
                let same = before.iter().any(|pool| pool.name == name && pool.size == size);
                let _: Page<Pool> = server.post(&["pools", name], &json!({ "size": size })).await?;
                Ok(!same)
            }
        }
    }

    /// Removes a pool that no flow names.
    pub async fn remove_pool(&self, name: &str) -> Result<(), Failure> {
        match self {
            Self::Here(here) => Ok(command::remove_pool(&here.store, &here.actor, name, clock::now()).await?),
            Self::Server(server) => {
                let _: Page<Pool> = server.post(&["pools", name, "remove"], &nothing()).await?;
                Ok(())
            }
        }
    }

    /// Freeze windows that are on or to come, or all.
    pub async fn freezes(&self, past_too: bool) -> Result<Vec<Freeze>, Failure> {
        match self {
            Self::Here(here) => Ok(here.store.freezes(past_too).await?),
            Self::Server(server) => server.all(&["freezes"], &[("all", past_too.to_string())]).await,
        }
    }

    /// Makes a freeze window.
    pub async fn add_freeze(&self, new: NewFreeze) -> Result<Freeze, Failure> {
        match self {
            Self::Here(here) => Ok(command::add_freeze(&here.store, &here.actor, new, clock::now()).await?),
            Self::Server(server) => {
                let body =
                    json!({"flow": new.flow, "from": new.from, "until": new.until, "reason": new.reason});
                server.post(&["freezes"], &body).await
            }
        }
    }

    /// Ends a freeze window before its time.
    pub async fn end_freeze(&self, id: Uuid) -> Result<(), Failure> {
        match self {
            Self::Here(here) => Ok(command::end_freeze(&here.store, &here.actor, id, clock::now()).await?),
            Self::Server(server) => {
                let _: Page<Freeze> = server
                    .post(&["freezes", &id.to_string(), "end"], &nothing())
                    .await?;
                Ok(())
            }
        }
    }

    /// Walks the ledger's chain.
    pub async fn verify_ledger(&self) -> Result<LedgerReport, Failure> {
        match self {
            Self::Here(here) => Ok(here.store.verify_ledger().await?),
            Self::Server(server) => server.get(&["ledger", "verify"], &[]).await,
        }
    }

    /// A page of the ledger, newest first; the entries before `before`.
    pub async fn ledger(&self, before: Option<i64>, limit: usize) -> Result<Page<LedgerEntry>, Failure> {
        match self {
            Self::Here(here) => Ok(here.store.ledger((before, limit)).await?),
            Self::Server(server) => {
                let mut query = vec![("limit", limit.to_string())];
                query.extend(before.map(|before| ("cursor", before.to_string())));
                server.get(&["ledger"], &query).await
            }
        }
    }

    /// The tokens of who asks; all for an admin.
    pub async fn tokens(&self) -> Result<Vec<Token>, Failure> {
        match self {
            Self::Here(here) => Ok(command::tokens(&here.store, &here.actor, clock::now()).await?),
            Self::Server(server) => server.all(&["tokens"], &[]).await,
        }
    }

    /// Ends a token at once.
    pub async fn revoke_token(&self, id: Uuid) -> Result<Token, Failure> {
        match self {
            Self::Here(here) => Ok(command::revoke_token(&here.store, &here.actor, id, clock::now()).await?),
            Self::Server(server) => {
                server
                    .post(&["tokens", &id.to_string(), "revoke"], &nothing())
                    .await
            }
        }
    }
}
