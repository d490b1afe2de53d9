//! Approvals, as inbox and one by one.

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::super::{Result, Store, instant, maybe_instant};
use super::{bounded, json, page};
use crate::id::RunId;
use crate::view::{Approval, Page, Vote};

const COLUMNS: &str =
    "id, run, flow, task, state::text as state, message, evidence, digest, requester, by, required,
       allow_requester, asked_at, expires_at, on_expire, reminded_at, closed_at";

impl Store {
    /// Approvals, newest first; only open ones unless told. `before`: the cursor.
    pub async fn approvals(
        &self,
        closed_too: bool,
        (before, limit): (Option<Uuid>, usize),
    ) -> Result<Page<Approval>> {
        let limit = bounded(limit);
        let sql = format!(
            "select {COLUMNS} from approval where ($1 or state = 'open') and ($2::uuid is null or id < $2)
             order by id desc limit $3"
        );
        let mut conn = self.pool().acquire().await?;
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(closed_too)
            .bind(before)
            .bind(limit as i64 + 1)
            .fetch_all(&mut *conn)
            .await?;
        Ok(page(with_votes(&mut conn, &rows).await?, limit, |a| {
            a.id.to_string()
        }))
    }

    /// One approval.
    pub async fn approval(&self, id: Uuid) -> Result<Option<Approval>> {
        let sql = format!("select {COLUMNS} from approval where id = $1");
        let mut conn = self.pool().acquire().await?;
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .fetch_all(&mut *conn)
            .await?;
        Ok(with_votes(&mut conn, &rows).await?.pop())
    }

    /// The newest approval of a task run; an open one is the newest.
    pub async fn approval_of(&self, run: RunId, task: &str) -> Result<Option<Approval>> {
        let sql =
            format!("select {COLUMNS} from approval where run = $1 and task = $2 order by id desc limit 1");
        let mut conn = self.pool().acquire().await?;
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(run.0)
            .bind(task)
            .fetch_all(&mut *conn)
            .await?;
        Ok(with_votes(&mut conn, &rows).await?.pop())
    }
}

async fn with_votes(conn: &mut PgConnection, rows: &[PgRow]) -> Result<Vec<Approval>> {
    let mut approvals: Vec<Approval> = rows.iter().map(approval).collect::<Result<_>>()?;
    let ids: Vec<Uuid> = approvals.iter().map(|a| a.id).collect();
    let rows = sqlx::query(
        "select approval, actor, decision, comment, at from vote where approval = any($1) order by at, actor",
    )
    .bind(&ids)
    .fetch_all(conn)
    .await?;
    let mut votes: BTreeMap<Uuid, Vec<Vote>> = BTreeMap::new();
    for row in &rows {
        let vote = Vote {
            actor: row.try_get("actor")?,
            decision: row.try_get("decision")?,
            comment: row.try_get("comment")?,
            at: instant(row, "at")?,
        };
        votes.entry(row.try_get("approval")?).or_default().push(vote);
    }
    for approval in &mut approvals {
        approval.votes = votes.remove(&approval.id).unwrap_or_default();
    }
    Ok(approvals)
}

fn approval(row: &PgRow) -> Result<Approval> {
    let evidence = json(row, "evidence")?;
    Ok(Approval {
        id: row.try_get("id")?,
        run: row.try_get("run")?,
        flow: row.try_get("flow")?,
        task: row.try_get("task")?,
        state: row.try_get("state")?,
        message: row.try_get("message")?,
        action: evidence.get("action").and_then(Value::as_str).map(str::to_owned),
        evidence,
        digest: row.try_get("digest")?,
        requester: row.try_get("requester")?,
        by: row.try_get("by")?,
        required: row.try_get("required")?,
        allow_requester: row.try_get("allow_requester")?,
        asked_at: instant(row, "asked_at")?,
        expires_at: instant(row, "expires_at")?,
        on_expire: row.try_get("on_expire")?,
        reminded_at: maybe_instant(row, "reminded_at")?,
        closed_at: maybe_instant(row, "closed_at")?,
        votes: Vec::new(),
    })
}
