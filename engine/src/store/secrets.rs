//! Secrets, sealed; each change is in the ledger, by name.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::json;
use sqlx::{PgConnection, Row};

use super::{Result, Store, instant, ledger, pg};
use crate::command::Actor;
use crate::secrets::Sealed;
use crate::view::Secret;

impl Store {
    /// Puts a secret in place. `true`: there was none of that name.
    pub async fn set_secret(
        &self,
        by: &Actor,
        (name, sealed): (&str, Sealed),
        now: Timestamp,
    ) -> Result<bool> {
        let (by, name) = (by.name.clone(), name.to_owned());
        self.transact(move |conn| {
            let (by, name, sealed) = (by.clone(), name.clone(), sealed.clone());
            Box::pin(async move { set(conn, (&by, &name, &sealed), now).await })
        })
        .await
    }

    /// Removes a secret. `false`: there is none of that name.
    pub async fn remove_secret(&self, by: &Actor, name: &str, now: Timestamp) -> Result<bool> {
        let (by, name) = (by.name.clone(), name.to_owned());
        self.transact(move |conn| {
            let (by, name) = (by.clone(), name.clone());
            Box::pin(async move {
                let done = sqlx::query("delete from secret where name = $1")
                    .bind(&name)
                    .execute(&mut *conn)
                    .await?;
                if done.rows_affected() == 0 {
                    return Ok(false);
                }
                note(conn, ("secret_removed", &by, &name), now).await?;
                Ok(true)
            })
        })
        .await
    }

    /// All secrets by name, without their values.
    pub async fn secrets(&self) -> Result<Vec<Secret>> {
        let rows =
            sqlx::query("select name, key, created_at, updated_at, updated_by from secret order by name")
                .fetch_all(self.pool())
                .await?;
        let shown = |row: &sqlx::postgres::PgRow| -> Result<Secret> {
            Ok(Secret {
                name: row.try_get("name")?,
                key: row.try_get("key")?,
                created_at: instant(row, "created_at")?,
                updated_at: instant(row, "updated_at")?,
                updated_by: row.try_get("updated_by")?,
            })
        };
        rows.iter().map(shown).collect()
    }

    /// Those of these names that exist, sealed.
    pub async fn sealed(&self, names: &BTreeSet<String>) -> Result<Vec<(String, Sealed)>> {
        let names: Vec<&String> = names.iter().collect();
        let rows: Vec<(String, String, Vec<u8>, Vec<u8>)> =
            sqlx::query_as("select name, key, nonce, bytes from secret where name = any($1)")
                .bind(names)
                .fetch_all(self.pool())
                .await?;
        let sealed = |(name, key, nonce, bytes)| (name, Sealed { key, nonce, bytes });
        Ok(rows.into_iter().map(sealed).collect())
    }
}

async fn set(
    conn: &mut PgConnection,
    (by, name, sealed): (&str, &str, &Sealed),
    now: Timestamp,
) -> Result<bool> {
    let made: bool = sqlx::query_scalar(
        "insert into secret (name, key, nonce, bytes, created_at, updated_at, updated_by)
         values ($1, $2, $3, $4, $5, $5, $6)
         on conflict (name) do update set key = $2, nonce = $3, bytes = $4, updated_at = $5, updated_by = $6
         returning xmax = 0",
    )
    .bind(name)
    .bind(&sealed.key)
    .bind(&sealed.nonce)
    .bind(&sealed.bytes)
    .bind(pg(now))
    .bind(by)
    .fetch_one(&mut *conn)
    .await?;
    note(conn, ("secret_set", by, name), now).await?;
    Ok(made)
}

async fn note(conn: &mut PgConnection, (kind, by, name): (&str, &str, &str), now: Timestamp) -> Result<()> {
    let entry = ledger::Entry::act(kind, by, json!({ "secret": name }));
    ledger::append(conn, entry, now).await.map(drop)
}
