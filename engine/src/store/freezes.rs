//! Freeze windows: while one covers a flow, its guarded tasks (promote, maintain) wait for its end, but where a person lets them pass.
//!
//! ```text
//! attempt of a guarded task ─┬─ no window ──────────────────────────────────────► go on
//!                            ├─ an emergency run, a rollback by somebody with a
//!                            │  reason, or a yes with one ─────────────────────► go on, with an entry in the ledger
//!                            ├─ its gate still asks people ─────────────────────► ask: they may let it pass
//!                            └─ else ───────────────────────────────────────────► parked until the window ends
//! ```
//! A window with a flow stops its ticks too (skipped, `frozen`), and its runs by hand; one without stops no run.

use jiff::Timestamp;
use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::bell::{self, Rings};
use super::ledger::{self, Entry};
use super::{Result, Store, StoreError, instant, maybe_instant, pg};
use crate::clock;
use crate::id::RunId;
use crate::view::Freeze;

const COLUMNS: &str = "id, flow, from_at, until_at, reason, created_by, created_at, ended_at, ended_by,
       ended_at is null and from_at <= clock_timestamp() and until_at > clock_timestamp() as active";

/// A window to be.
#[derive(Debug, Clone)]
pub struct NewFreeze {
    /// Only this flow.
    pub flow: Option<String>,
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
}

impl Store {
    /// Makes a window; kept in the ledger.
    pub async fn add_freeze(&self, new: NewFreeze, (actor, now): (&str, Timestamp)) -> Result<Freeze> {
        let (id, actor) = (clock::new_id(), actor.to_owned());
        self.transact(move |conn| {
            let (new, actor) = (new.clone(), actor.clone());
            Box::pin(async move {
                let made = sqlx::query(
                    "insert into freeze_window (id, flow, from_at, until_at, reason, created_by, created_at)
                     values ($1, $2, $3, $4, $5, $6, $7) on conflict (id) do nothing",
                )
                .bind(id)
                .bind(&new.flow)
                .bind(pg(new.from))
                .bind(pg(new.until))
                .bind(&new.reason)
                .bind(&actor)
                .bind(pg(now))
                .execute(&mut *conn)
                .await?;
                // In a try whose COMMIT was carried out though its answer was lost it is written down already.
                if made.rows_affected() == 1 {
                    let body = json!({
                        "freeze": id, "flow": new.flow, "from": new.from, "until": new.until, "reason": new.reason,
                    });
                    note(conn, ("freeze_added", None, body), (&actor, now)).await?;
                }
                find(conn, id).await
            })
        })
        .await
    }

    /// Ends a window at once, wakes what it holds back; kept in the ledger. `Ok(false)`: it was over.
    pub async fn end_freeze(&self, id: Uuid, (actor, now): (&str, Timestamp)) -> Result<bool> {
        let actor = actor.to_owned();
        self.transact(move |conn| {
            let actor = actor.clone();
            Box::pin(async move { end(conn, id, (&actor, now)).await })
        })
        .await
    }

    /// Windows, those that begin last first; with `over` also those that are over.
    pub async fn freezes(&self, over: bool) -> Result<Vec<Freeze>> {
        let sql = format!(
            "select {COLUMNS} from freeze_window where $1 or (ended_at is null and until_at > clock_timestamp())
             order by from_at desc, id desc limit 200"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(over)
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(freeze).collect()
    }

    /// The window that covers a flow's guarded tasks now: the one that ends last. `whole`: only one that stops the flow itself.
    pub async fn freeze_over(&self, flow: &str, whole: bool) -> Result<Option<Freeze>> {
        let mut conn = self.pool().acquire().await?;
        over(&mut conn, flow, whole).await
    }

    /// Why a person lets a guarded task of a frozen flow pass: by the emergency that the run is, by the reason of a rollback, or by the comment
    /// of a yes that was given to its gate while the window was there. Kept in the ledger.
    pub async fn pass_freeze(
        &self,
        (run, idx, approval): (RunId, u32, Option<Uuid>),
        freeze: &Freeze,
        now: Timestamp,
    ) -> Result<Option<String>> {
        let freeze = freeze.clone();
        self.transact(move |conn| {
            let freeze = freeze.clone();
            Box::pin(async move {
                let Some((who, reason)) = leave(conn, (run, approval), &freeze).await? else {
                    return Ok(None);
                };
                let known = sqlx::query(
                    "select 1 from ledger where run = $1 and kind = 'freeze_passed' and body::jsonb ->> 'freeze' = $2
                       and (body::jsonb ->> 'task')::integer = $3",
                );
                let known = known.bind(run.0).bind(freeze.id.to_string()).bind(idx as i32);
                if known.fetch_optional(&mut *conn).await?.is_none() {
                    let body = json!({ "freeze": freeze.id, "task": idx, "approval": approval, "reason": reason });
                    note(conn, ("freeze_passed", Some(run), body), (&who, now)).await?;
                }
                Ok(Some(reason))
            })
        })
        .await
    }
}

/// Who lets a task pass, and the reason given.
async fn leave(
    conn: &mut PgConnection,
    (run, approval): (RunId, Option<Uuid>),
    freeze: &Freeze,
) -> Result<Option<(String, String)>> {
    let urgent = sqlx::query_as(
        "select confirmed_by, reason from emergency where run = $1 and confirmed_by is not null",
    );
    let urgent: Option<(String, String)> = urgent.bind(run.0).fetch_optional(&mut *conn).await?;
    if urgent.is_some() {
        return Ok(urgent);
    }
    let back = super::rollbacks::asked_by_somebody(conn, run).await?;
    if back.is_some() {
        return Ok(back);
    }
    let said = sqlx::query_as(
        "select actor, comment from vote where approval = $1 and decision = 'approve' and comment is not null and at >= $2
         order by at desc limit 1",
    );
    Ok(said
        .bind(approval)
        .bind(pg(freeze.from_at))
        .fetch_optional(conn)
        .await?)
}

/// The window that covers a flow now.
pub(super) async fn over(conn: &mut PgConnection, flow: &str, whole: bool) -> Result<Option<Freeze>> {
    let sql = format!(
        "select {COLUMNS} from freeze_window
         where ended_at is null and from_at <= clock_timestamp() and until_at > clock_timestamp()
           and (flow = $1 or (flow is null and not $2)) order by until_at desc limit 1"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(flow)
        .bind(whole)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(freeze).transpose()
}

async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Freeze> {
    let sql = format!("select {COLUMNS} from freeze_window where id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id)
        .fetch_optional(conn)
        .await?;
    let row = row.ok_or_else(|| StoreError::NotFound {
        what: "freeze",
        name: id.to_string(),
    })?;
    freeze(&row)
}

async fn end(conn: &mut PgConnection, id: Uuid, (actor, now): (&str, Timestamp)) -> Result<bool> {
    find(conn, id).await?;
    let ended = sqlx::query(
        "update freeze_window set ended_at = $2, ended_by = $3 where id = $1 and ended_at is null and until_at > $2",
    )
    .bind(id)
    .bind(pg(now))
    .bind(actor)
    .execute(&mut *conn)
    .await?;
    if ended.rows_affected() == 0 {
        return Ok(false);
    }
    // What it holds back looks again now: another window may cover it still.
    sqlx::query(
        "update ready r set at = $2, rank = least(r.rank, $2)
         from parking p where p.run = r.run and p.idx = r.idx and p.memory ->> 'freeze' = $1",
    )
    .bind(id.to_string())
    .bind(pg(now))
    .execute(&mut *conn)
    .await?;
    bell::note(Rings::WORKERS | Rings::CHANGED);
    note(
        conn,
        ("freeze_ended", None, json!({ "freeze": id })),
        (actor, now),
    )
    .await?;
    Ok(true)
}

fn freeze(row: &PgRow) -> Result<Freeze> {
    Ok(Freeze {
        id: row.try_get("id")?,
        flow: row.try_get("flow")?,
        from_at: instant(row, "from_at")?,
        until_at: instant(row, "until_at")?,
        reason: row.try_get("reason")?,
        created_by: row.try_get("created_by")?,
        created_at: instant(row, "created_at")?,
        ended_at: maybe_instant(row, "ended_at")?,
        ended_by: row.try_get("ended_by")?,
        active: row.try_get("active")?,
    })
}

pub(super) async fn note(
    conn: &mut PgConnection,
    (kind, run, body): (&str, Option<RunId>, serde_json::Value),
    (actor, now): (&str, Timestamp),
) -> Result<()> {
    let entry = Entry {
        kind: kind.to_owned(),
        actor: actor.to_owned(),
        run,
        body,
    };
    ledger::append(conn, entry, now).await?;
    Ok(())
}
