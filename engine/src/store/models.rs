//! Registered models: versions, aliases, and moves of aliases by compare-and-swap.
//!
//! ```text
//!             begin_move                      finish_move
//! free ───────────────────► locked ─────────────────────────► free, alias → to, `previous` → from, history, ledger
//!  ▲     alias = from          │ abandon_move, or the end
//!  └───────────────────────────┘ of the attempt's lease
//! ```
//! Every transaction that writes passes the fence first, then locks the model's row, so that the moves of a model follow one
//! another. Between begin and finish the attempt moves the alias in an outside registry; the lock is a note on the alias's
//! row that names the attempt, and counts only while that attempt's lease does. All of it may be repeated: a reply that was
//! lost, or a new attempt of the same task run, finds what was done.

mod basis;
mod moves;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::leases::{Holder, fence};
use super::{Result, Store, clean, instant, pg};
use crate::plugin::{HostError, ModelVersion, NewVersion};

/// Bytes of a name of a model or alias.
const NAME_CAP: usize = 200;

const VERSION: &str = "v.model, v.version, v.source, v.sha256, v.external_run, v.facts, v.created_at";

impl Store {
    /// What an alias points to.
    pub async fn model_at(&self, model: &str, alias: &str) -> Result<Option<ModelVersion>> {
        let sql = format!(
            "select {VERSION} from model_alias a join model_version v on v.model = a.model and v.version = a.version
             where a.model = $1 and a.alias = $2"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(model)
            .bind(alias)
            .fetch_optional(self.pool())
            .await?;
        row.as_ref().map(read_version).transpose()
    }

    /// A version of a model.
    pub async fn model_version(&self, model: &str, version: i64) -> Result<Option<ModelVersion>> {
        let mut conn = self.pool().acquire().await?;
        version_of(&mut conn, model, version).await
    }

    /// Registers a version in the name of an attempt; its task run gets the same version again.
    pub async fn register_version(
        &self,
        holder: Holder,
        version: NewVersion,
        now: Timestamp,
    ) -> Result<ModelVersion> {
        self.transact(move |conn| {
            let version = version.clone();
            Box::pin(async move { register(conn, holder, &version, now).await })
        })
        .await
    }
}

async fn register(
    conn: &mut PgConnection,
    holder: Holder,
    new: &NewVersion,
    now: Timestamp,
) -> Result<ModelVersion> {
    check_name("a model", &new.model)?;
    fence(conn, holder).await?;
    sqlx::query("insert into model (name, created_at) values ($1, $2) on conflict do nothing")
        .bind(&new.model)
        .bind(pg(now))
        .execute(&mut *conn)
        .await?;
    lock_model(conn, &new.model).await?;
    if let Some(known) = registered_by(conn, holder, &new.model).await? {
        return Ok(known);
    }
    if let Some(number) = new.version
        && let Some(known) = version_of(conn, &new.model, number).await?
    {
        return same_or_refused(known, new);
    }
    insert_version(conn, holder, new, now).await
}

/// A number that another registry gave twice must mean the same version twice.
fn same_or_refused(known: ModelVersion, new: &NewVersion) -> Result<ModelVersion> {
    let facts = |source: &str, sha256: &Option<String>, run: &Option<String>| {
        (source.to_owned(), sha256.clone(), run.clone())
    };
    let same = facts(&known.source, &known.sha256, &known.external_run)
        == facts(&new.source, &new.sha256, &new.external_run);
    if same {
        return Ok(known);
    }
    refused(format!(
        "{} v{} is registered already, with other files: {}",
        known.model, known.version, known.source
    ))
}

async fn registered_by(conn: &mut PgConnection, holder: Holder, model: &str) -> Result<Option<ModelVersion>> {
    let sql = format!("select {VERSION} from model_version v where run = $1 and idx = $2 and model = $3");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(holder.run.0)
        .bind(holder.idx as i32)
        .bind(model)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(read_version).transpose()
}

async fn insert_version(
    conn: &mut PgConnection,
    holder: Holder,
    new: &NewVersion,
    now: Timestamp,
) -> Result<ModelVersion> {
    if new.version.is_some_and(|number| number < 1) {
        return refused("versions are numbered from 1".to_owned());
    }
    let sql = format!(
        "insert into model_version as v (model, version, source, sha256, external_run, facts, run, idx, created_at)
         select $1, coalesce($2, (select coalesce(max(version), 0) + 1 from model_version where model = $1)),
           $3, $4, $5, $6, $7, $8, $9
         returning {VERSION}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(&new.model)
        .bind(new.version)
        .bind(&new.source)
        .bind(&new.sha256)
        .bind(&new.external_run)
        .bind(clean(new.facts.clone()))
        .bind(holder.run.0)
        .bind(holder.idx as i32)
        .bind(pg(now))
        .fetch_one(conn)
        .await?;
    read_version(&row)
}

/// Serialises what happens to a model. `Refused` when there is none of that name.
async fn lock_model(conn: &mut PgConnection, model: &str) -> Result<()> {
    let found = sqlx::query("select 1 from model where name = $1 for no key update")
        .bind(model)
        .fetch_optional(conn)
        .await?;
    match found {
        Some(_) => Ok(()),
        None => refused(format!("no model is called {model}")),
    }
}

async fn version_of(conn: &mut PgConnection, model: &str, version: i64) -> Result<Option<ModelVersion>> {
    let sql = format!("select {VERSION} from model_version v where model = $1 and version = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(model)
        .bind(version)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(read_version).transpose()
}

fn read_version(row: &PgRow) -> Result<ModelVersion> {
    Ok(ModelVersion {
        model: row.try_get("model")?,
        version: row.try_get("version")?,
        source: row.try_get("source")?,
        sha256: row.try_get("sha256")?,
        external_run: row.try_get("external_run")?,
        facts: row.try_get::<Value, _>("facts")?,
        created_at: instant(row, "created_at")?,
    })
}

fn check_name(what: &str, name: &str) -> Result<()> {
    let fits = |c: char| !c.is_control() && !c.is_whitespace() && c != '@';
    if !name.is_empty() && name.len() <= NAME_CAP && name.chars().all(fits) {
        return Ok(());
    }
    refused(format!(
        "{name:?} can't name {what}: use 1 to {NAME_CAP} bytes without spaces and `@`"
    ))
}

fn refused<T>(message: String) -> Result<T> {
    Err(HostError::Refused { message }.into())
}
