//! Models and the ledger.

use super::super::{Result, Store, StoreError};
use crate::view::{AliasMove, LedgerEntry, Model, ModelVersion, Page};

fn absent<T>() -> Result<T> {
    Err(StoreError::Broken("reading is not there yet".to_owned()))
}

impl Store {
    /// Registered models, by name.
    pub async fn models(&self) -> Result<Vec<Model>> {
        absent()
    }

    /// Versions of a model, newest first; empty when there is no such model.
    pub async fn model_versions(&self, model: &str) -> Result<Vec<ModelVersion>> {
        let _ = model;
        absent()
    }

    /// Moves of a model's aliases, newest first.
    pub async fn alias_moves(&self, model: &str) -> Result<Vec<AliasMove>> {
        let _ = model;
        absent()
    }

    /// Entries of the ledger, newest first. `before`: the cursor.
    pub async fn ledger(&self, (before, limit): (Option<i64>, usize)) -> Result<Page<LedgerEntry>> {
        let _ = (before, limit);
        absent()
    }
}
