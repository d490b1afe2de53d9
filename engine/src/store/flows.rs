//! Flows and their immutable versions.

use jiff::Timestamp;
use serde_json::json;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::bell::{self, Rings};
use super::ledger::{self, Entry};
use super::{Result, Store, StoreError, pg};
use crate::graph::Flow;
use crate::id::VersionHash;
use crate::rollback;
use crate::view::FlowChange;

/// A checked flow on its way into the store.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// The sealed flow.
    pub flow: Flow,
    /// Hash of source, named files and vars.
    pub hash: VersionHash,
    /// Path of the file, as given.
    pub path: String,
    /// Text of the file.
    pub source: String,
    /// Who applies it.
    pub actor: String,
}

/// What applying a version did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The flow is new.
    Created,
    /// The flow got another version.
    Changed,
    /// This version was current already.
    Unchanged,
}

impl Applied {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
        }
    }
}

impl Store {
    /// Makes a version current, stores it when new, and keeps the flow's schedules in step.
    pub async fn apply_version(&self, version: NewVersion, now: Timestamp) -> Result<Applied> {
        let store = self.clone();
        self.transact(move |conn| {
            let (store, version) = (store.clone(), version.clone());
            Box::pin(async move {
                let applied = apply(&store, conn, (&version, &[]), now).await?;
                note_applied(conn, &[(&version, applied)], now).await?;
                Ok(applied)
            })
        })
        .await
    }

    /// Makes versions current, all or none; in the name of whom `prune` names all other flows are removed, with their schedules.
    pub async fn apply_versions(
        &self,
        versions: Vec<NewVersion>,
        prune: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<FlowChange>> {
        let (store, prune) = (self.clone(), prune.map(str::to_owned));
        self.transact(move |conn| {
            let (store, versions, prune) = (store.clone(), versions.clone(), prune.clone());
            Box::pin(async move { apply_all(&store, conn, (&versions, prune.as_deref()), now).await })
        })
        .await
    }
}

async fn apply_all(
    store: &Store,
    conn: &mut PgConnection,
    (versions, prune): (&[NewVersion], Option<&str>),
    now: Timestamp,
) -> Result<Vec<FlowChange>> {
    let names: Vec<String> = versions.iter().map(|new| new.flow.name.to_string()).collect();
    // In the order in which everybody locks several.
    sqlx::query("select 1 from flow where name = any($1) order by name for update")
        .bind(&names)
        .execute(&mut *conn)
        .await?;
    let mut changes = Vec::new();
    let mut done = Vec::new();
    for new in versions {
        let applied = apply(store, conn, (new, &names), now).await?;
        done.push((new, applied));
        changes.push(FlowChange {
            flow: new.flow.name.to_string(),
            version: Some(new.hash.0.clone()),
            change: applied.as_str().to_owned(),
        });
    }
    let removed = match prune {
        Some(_) => remove_but(store, conn, &names, now).await?,
        None => Vec::new(),
    };
    // Last of all: whoever appends holds the ledger's head until the end.
    note_applied(conn, &done, now).await?;
    if let Some(actor) = prune {
        note_removed(conn, (&removed, actor), now).await?;
        changes.extend(removed.into_iter().map(|flow| FlowChange {
            flow,
            version: None,
            change: "removed".to_owned(),
        }));
    }
    Ok(changes)
}

/// Keeps in the ledger which versions were made current, by whom. What was current already is no news.
async fn note_applied(
    conn: &mut PgConnection,
    done: &[(&NewVersion, Applied)],
    now: Timestamp,
) -> Result<()> {
    for (new, _) in done.iter().filter(|(_, applied)| *applied != Applied::Unchanged) {
        let number: i64 = sqlx::query_scalar("select number from flow_version where hash = $1")
            .bind(&new.hash.0)
            .fetch_one(&mut *conn)
            .await?;
        let body = json!({ "flow": new.flow.name, "version": new.hash, "number": number });
        ledger::append(conn, Entry::act("flow_applied", &new.actor, body), now).await?;
    }
    Ok(())
}

async fn note_removed(
    conn: &mut PgConnection,
    (flows, actor): (&[String], &str),
    now: Timestamp,
) -> Result<()> {
    for flow in flows {
        let body = json!({ "flow": flow });
        ledger::append(conn, Entry::act("flow_removed", actor, body), now).await?;
    }
    Ok(())
}

async fn remove_but(
    store: &Store,
    conn: &mut PgConnection,
    keep: &[String],
    now: Timestamp,
) -> Result<Vec<String>> {
    // What the program brings along has no file that could be gone.
    let gone: Vec<String> = sqlx::query_scalar(
        "select name from flow where removed_at is null and name <> all($1) and name <> $2 order by name for update",
    )
    .bind(keep)
    .bind(rollback::FLOW)
    .fetch_all(&mut *conn)
    .await?;
    for flow in &gone {
        super::schedules::settle_all(store, conn, flow, now).await?;
    }
    sqlx::query("update flow set removed_at = $2, updated_at = $2 where name = any($1)")
        .bind(&gone)
        .bind(pg(now))
        .execute(&mut *conn)
        .await?;
    sqlx::query("delete from flow_trigger where flow = any($1)")
        .bind(&gone)
        .execute(&mut *conn)
        .await?;
    sqlx::query("delete from sub_flow where flow = any($1)")
        .bind(&gone)
        .execute(&mut *conn)
        .await?;
    sqlx::query("delete from schedule where flow = any($1)")
        .bind(&gone)
        .execute(conn)
        .await?;
    bell::note(Rings::CHANGED);
    Ok(gone)
}

/// Makes one version current; `beside`: the names of the flows that are applied with it. What the ledger keeps of it is the caller's.
pub(super) async fn apply(
    store: &Store,
    conn: &mut PgConnection,
    (new, beside): (&NewVersion, &[String]),
    now: Timestamp,
) -> Result<Applied> {
    let name = new.flow.name.as_str();
    let current: Option<String> =
        sqlx::query_scalar("select version from flow where name = $1 and removed_at is null for update")
            .bind(name)
            .fetch_optional(&mut *conn)
            .await?;
    if current.as_deref() == Some(new.hash.0.as_str()) {
        return Ok(Applied::Unchanged);
    }
    super::pools::require(conn, &new.flow).await?;
    match &current {
        Some(_) => super::schedules::settle_all(store, conn, name, now).await?,
        None => super::schedules::forget(conn, name).await?,
    }
    sqlx::query(
        "insert into flow (name, version, created_at, updated_at) values ($1, $2, $3, $3)
         on conflict (name) do update set version = $2, updated_at = $3, removed_at = null",
    )
    .bind(name)
    .bind(&new.hash.0)
    .bind(pg(now))
    .execute(&mut *conn)
    .await?;
    insert_version(conn, new, now).await?;
    super::schedules::replace(conn, &new.flow, now).await?;
    replace_ways(store, conn, (new, beside)).await?;
    bell::note(Rings::SCHEDULER | Rings::CHANGED);
    Ok(if current.is_some() {
        Applied::Changed
    } else {
        Applied::Created
    })
}

/// What the flow follows and what it runs.
async fn replace_ways(
    store: &Store,
    conn: &mut PgConnection,
    (new, beside): (&NewVersion, &[String]),
) -> Result<()> {
    let flow = &new.flow;
    let leads_on =
        !flow.triggers.is_empty() || flow.graph.tasks().iter().any(|task| task.sub_flow().is_some());
    if leads_on {
        super::sub_flows::lock_ways(conn).await?;
    }
    super::follow::replace(conn, flow).await?;
    super::sub_flows::replace(store, conn, (new, beside)).await?;
    if leads_on {
        super::sub_flows::refuse_circle(conn, flow.name.as_str()).await?;
    }
    Ok(())
}

async fn insert_version(conn: &mut PgConnection, new: &NewVersion, now: Timestamp) -> Result<()> {
    sqlx::query(
        "insert into flow_version (hash, flow, number, path, source, definition, created_at, created_by)
         select $1, $2, coalesce(max(number), 0) + 1, $3, $4, $5, $6, $7 from flow_version where flow = $2
         on conflict (hash) do nothing",
    )
    .bind(&new.hash.0)
    .bind(new.flow.name.as_str())
    .bind(&new.path)
    .bind(&new.source)
    .bind(Json(&new.flow))
    .bind(pg(now))
    .bind(&new.actor)
    .execute(conn)
    .await?;
    Ok(())
}

/// Reads a sealed flow by its version.
pub async fn load_definition(conn: &mut PgConnection, version: &VersionHash) -> Result<Flow> {
    let row = sqlx::query("select definition::text as definition from flow_version where hash = $1")
        .bind(&version.0)
        .fetch_optional(conn)
        .await?
        .ok_or_else(|| StoreError::NotFound {
            what: "flow version",
            name: version.0.clone(),
        })?;
    let text: String = row.try_get("definition")?;
    serde_json::from_str(&text).map_err(|e| StoreError::Corrupt {
        what: "flow version",
        why: e.to_string(),
    })
}

/// The current version of a flow that was not removed.
pub async fn current_version(conn: &mut PgConnection, flow: &str) -> Result<VersionHash> {
    let hash: Option<String> =
        sqlx::query_scalar("select version from flow where name = $1 and removed_at is null")
            .bind(flow)
            .fetch_optional(conn)
            .await?;
    hash.map(VersionHash).ok_or_else(|| StoreError::NotFound {
        what: "flow",
        name: flow.to_owned(),
    })
}
