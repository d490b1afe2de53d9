//! Models and the ledger.

use std::collections::BTreeMap;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::super::rollbacks::REQUESTED;
use super::super::{Result, Store, StoreError, instant, maybe_instant};
use super::{bounded, json, page};
use crate::view::{Alias, AliasMove, LedgerEntry, Model, ModelVersion, Page};

impl Store {
    /// Registered models, by name.
    pub async fn models(&self) -> Result<Vec<Model>> {
        let mut aliases = self.aliases().await?;
        let rows: Vec<(String, Option<i64>, i64)> = sqlx::query_as(
            "select m.name, max(v.version), count(v.version) from model m
             left join model_version v on v.model = m.name group by m.name order by m.name",
        )
        .fetch_all(self.pool())
        .await?;
        let model = |(name, newest, versions): (String, Option<i64>, i64)| Model {
            aliases: aliases.remove(&name).unwrap_or_default(),
            name,
            newest,
            versions,
        };
        Ok(rows.into_iter().map(model).collect())
    }

    async fn aliases(&self) -> Result<BTreeMap<String, Vec<Alias>>> {
        let rows = sqlx::query(
            "select model, alias, version, moved_at from model_alias where version is not null order by model, alias",
        )
        .fetch_all(self.pool())
        .await?;
        let mut all: BTreeMap<String, Vec<Alias>> = BTreeMap::new();
        for row in &rows {
            let alias = Alias {
                alias: row.try_get("alias")?,
                version: row.try_get("version")?,
                moved_at: maybe_instant(row, "moved_at")?,
            };
            all.entry(row.try_get("model")?).or_default().push(alias);
        }
        Ok(all)
    }

    /// Versions of a model, newest first; empty when there is no such model.
    pub async fn model_versions(&self, model: &str) -> Result<Vec<ModelVersion>> {
        let rows = sqlx::query(
            "select v.version, v.source, v.sha256, v.external_run, v.facts, v.run, v.created_at,
                    array(select alias from model_alias a where a.model = v.model and a.version = v.version
                          order by alias) as aliases
             from model_version v where v.model = $1 order by v.version desc",
        )
        .bind(model)
        .fetch_all(self.pool())
        .await?;
        let version = |row: &PgRow| -> Result<ModelVersion> {
            Ok(ModelVersion {
                version: row.try_get("version")?,
                source: row.try_get("source")?,
                sha256: row.try_get("sha256")?,
                external_run: row.try_get("external_run")?,
                facts: json(row, "facts")?,
                run: row.try_get("run")?,
                created_at: instant(row, "created_at")?,
                aliases: row.try_get("aliases")?,
            })
        };
        rows.iter().map(version).collect()
    }

    /// Moves of a model's aliases, newest first.
    pub async fn alias_moves(&self, model: &str) -> Result<Vec<AliasMove>> {
        let mut conn = self.pool().acquire().await?;
        moves_of(&mut conn, model).await
    }

    /// Entries of the ledger, newest first. `before`: the cursor.
    pub async fn ledger(&self, (before, limit): (Option<i64>, usize)) -> Result<Page<LedgerEntry>> {
        let limit = bounded(limit);
        let rows = sqlx::query(
            "select seq, at, kind, actor, run, body, prev, hash from ledger
             where ($1::bigint is null or seq < $1) order by seq desc limit $2",
        )
        .bind(before)
        .bind(limit as i64 + 1)
        .fetch_all(self.pool())
        .await?;
        let entries: Vec<LedgerEntry> = rows.iter().map(ledger_entry).collect::<Result<_>>()?;
        Ok(page(entries, limit, |entry| entry.seq.to_string()))
    }
}

/// Moves of a model's aliases, newest first. Why one was a rollback stands in the ledger.
pub(in crate::store) async fn moves_of(conn: &mut PgConnection, model: &str) -> Result<Vec<AliasMove>> {
    let rows = sqlx::query(
        "select m.alias, m.number, m.before, m.version, m.at, m.actor, m.run, m.approval, a.digest,
           l.body::jsonb ->> 'reason' as rollback
         from alias_move m left join approval a on a.id = m.approval
         left join ledger l on l.run = m.run and l.kind = $2
         where m.model = $1 order by m.at desc, m.alias, m.number desc",
    )
    .bind(model)
    .bind(REQUESTED)
    .fetch_all(conn)
    .await?;
    let moved = |row: &PgRow| -> Result<AliasMove> {
        Ok(AliasMove {
            alias: row.try_get("alias")?,
            number: row.try_get("number")?,
            before: row.try_get("before")?,
            version: row.try_get("version")?,
            at: instant(row, "at")?,
            actor: row.try_get("actor")?,
            run: row.try_get("run")?,
            approval: row.try_get("approval")?,
            evidence: row.try_get("digest")?,
            rollback: row.try_get("rollback")?,
        })
    };
    rows.iter().map(moved).collect()
}

fn ledger_entry(row: &PgRow) -> Result<LedgerEntry> {
    let body: String = row.try_get("body")?;
    let body = serde_json::from_str(&body).map_err(|e| StoreError::Corrupt {
        what: "ledger entry",
        why: e.to_string(),
    })?;
    Ok(LedgerEntry {
        seq: row.try_get("seq")?,
        at: instant(row, "at")?,
        kind: row.try_get("kind")?,
        actor: row.try_get("actor")?,
        run: row.try_get("run")?,
        body,
        prev: row.try_get("prev")?,
        hash: row.try_get("hash")?,
    })
}
