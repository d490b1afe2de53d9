//! Pools: how many task runs, of whatever flows, hold a slot at once.
//!
//! A slot is a row. A claim locks a free one before it takes the task run that wants it (`claim.rs`); the transaction that ends the
//! attempt, however it ends, sets it free (`locked/write.rs`). Nothing is counted, so nothing is counted wrongly.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::json;
use sqlx::{PgConnection, Row};

use super::bell::{self, Rings};
use super::ledger::{self, Entry};
use super::{Result, Store, StoreError, instant, pg};
use crate::graph::Flow;
use crate::id::{RunId, TaskIdx};
use crate::view::{Pool, SlotHolder};

impl Store {
    /// Makes a pool, or gives it another size. A smaller one takes nothing away from who holds a slot: it is given to nobody after.
    /// `Ok(false)`: it had that size.
    pub async fn set_pool(&self, name: &str, size: u32, (actor, now): (&str, Timestamp)) -> Result<bool> {
        let (name, actor) = (name.to_owned(), actor.to_owned());
        self.transact(move |conn| {
            let (name, actor) = (name.clone(), actor.clone());
            Box::pin(async move { set(conn, (&name, size), (&actor, now)).await })
        })
        .await
    }

    /// Removes a pool. `Refused`: a flow, or a run that is not over, names it. `Ok(false)`: there is none.
    pub async fn remove_pool(&self, name: &str, (actor, now): (&str, Timestamp)) -> Result<bool> {
        let (name, actor) = (name.to_owned(), actor.to_owned());
        self.transact(move |conn| {
            let (name, actor) = (name.clone(), actor.clone());
            Box::pin(async move { remove(conn, &name, (&actor, now)).await })
        })
        .await
    }

    /// All pools by name, with who holds their slots and how many wait.
    pub async fn pools(&self) -> Result<Vec<Pool>> {
        let mut conn = self.pool().acquire().await?;
        let rows = sqlx::query(
            "select p.name, p.size, p.updated_at, p.updated_by,
               (select count(*) from ready r where r.pool = p.name and r.at <= clock_timestamp()) as waiting
             from pool p order by p.name",
        )
        .fetch_all(&mut *conn)
        .await?;
        let mut pools = Vec::with_capacity(rows.len());
        for row in &rows {
            let name: String = row.try_get("name")?;
            pools.push(Pool {
                holders: self.holders(&mut conn, &name).await?,
                size: row.try_get::<i32, _>("size")?.unsigned_abs(),
                waiting: row.try_get("waiting")?,
                updated_at: instant(row, "updated_at")?,
                updated_by: row.try_get("updated_by")?,
                name,
            });
        }
        Ok(pools)
    }

    /// Who holds the slots of a pool, in the order in which they got them.
    pub(super) async fn holders(&self, conn: &mut PgConnection, pool: &str) -> Result<Vec<SlotHolder>> {
        let rows: Vec<(uuid::Uuid, i32, String, jiff_sqlx::Timestamp)> = sqlx::query_as(
            "select s.run, s.idx, r.flow, coalesce(t.started_at, r.created_at) from slot s join run r on r.id = s.run
             join task_run t on t.run = s.run and t.idx = s.idx where s.pool = $1 order by 4, 1, 2",
        )
        .bind(pool)
        .fetch_all(&mut *conn)
        .await?;
        let mut holders = Vec::with_capacity(rows.len());
        for (run, idx, flow, since) in rows {
            let known = self.flow_of(conn, RunId(run)).await?;
            let task = known.map(|known| known.graph.label(idx as TaskIdx));
            holders.push(SlotHolder {
                run,
                flow,
                task: task.unwrap_or_default(),
                since: since.to_jiff(),
            });
        }
        Ok(holders)
    }
}

/// Fails with the way out when a flow names a pool that is not there; those that are stay until the transaction ends.
pub(super) async fn require(conn: &mut PgConnection, flow: &Flow) -> Result<()> {
    let tasks = flow.graph.tasks().iter();
    let wanted: BTreeSet<&str> = tasks.filter_map(|task| task.placement.pool.as_deref()).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let there: Vec<String> =
        sqlx::query_scalar("select name from pool where name = any($1) order by name for key share")
            .bind(wanted.iter().copied().collect::<Vec<_>>())
            .fetch_all(conn)
            .await?;
    let missing = wanted
        .into_iter()
        .find(|name| !there.iter().any(|known| known == name));
    missing.map_or(Ok(()), |pool| {
        Err(StoreError::Refused {
            why: format!(
                "flow `{}` wants slots of the pool `{pool}`, which does not exist; make it with `tidegate pool set {pool} 1`",
                flow.name
            ),
        })
    })
}

async fn set(
    conn: &mut PgConnection,
    (name, size): (&str, u32),
    (actor, now): (&str, Timestamp),
) -> Result<bool> {
    let before: Option<i32> = sqlx::query_scalar("select size from pool where name = $1 for update")
        .bind(name)
        .fetch_optional(&mut *conn)
        .await?;
    if before == Some(size as i32) {
        return Ok(false);
    }
    sqlx::query(
        "insert into pool (name, size, updated_at, updated_by) values ($1, $2, $3, $4)
         on conflict (name) do update set size = $2, updated_at = $3, updated_by = $4",
    )
    .bind(name)
    .bind(size as i32)
    .bind(pg(now))
    .bind(actor)
    .execute(&mut *conn)
    .await?;
    for sql in RENUMBER {
        sqlx::query(sql)
            .bind(name)
            .bind(size as i32)
            .execute(&mut *conn)
            .await?;
    }
    let body = json!({ "pool": name, "size": size, "before": before });
    note(conn, ("pool_set", body), (actor, now)).await?;
    Ok(true)
}

/// Gives a pool `$1` the slots 1 to `$2`: free ones go, holders move down as far as there is room, what is missing is added. Who holds a
/// slot keeps its row, so that an attempt that ends meanwhile finds it. While somebody holds one above the size, none is given away.
const RENUMBER: [&str; 3] = [
    "delete from slot where pool = $1 and run is null and $2 >= 0",
    "update slot s set no = g.no
     from (select no, row_number() over (order by no) as nth from generate_series(1, $2::integer) as all_of(no)
           where not exists (select from slot t where t.pool = $1 and t.no = all_of.no)) g
     join (select no as at, row_number() over (order by no) as nth from slot where pool = $1 and no > $2) h using (nth)
     where s.pool = $1 and s.no = h.at",
    "insert into slot (pool, no) select $1, no from generate_series(1, $2::integer) as no on conflict do nothing",
];

/// Flows, and runs that are not over, with a task that names the pool.
const NAMED_BY: &str = "select distinct u.flow from (
       select f.name as flow, f.version from flow f where f.removed_at is null
       union all select r.flow, r.version from active_run a join run r on r.id = a.run) u
     join flow_version v on v.hash = u.version
     where exists (select from json_array_elements(v.definition -> 'graph') t where t -> 'placement' ->> 'pool' = $1)
     order by 1";

async fn remove(conn: &mut PgConnection, name: &str, (actor, now): (&str, Timestamp)) -> Result<bool> {
    let size: Option<i32> = sqlx::query_scalar("select size from pool where name = $1 for update")
        .bind(name)
        .fetch_optional(&mut *conn)
        .await?;
    let Some(size) = size else { return Ok(false) };
    let users: Vec<String> = sqlx::query_scalar(NAMED_BY)
        .bind(name)
        .fetch_all(&mut *conn)
        .await?;
    if !users.is_empty() {
        let users = users.join("`, `");
        return Err(StoreError::Refused {
            why: format!(
                "pool `{name}` is wanted by the flow `{users}`; `tidegate pool set {name} 0` lets nothing start"
            ),
        });
    }
    for sql in [
        "delete from slot where pool = $1",
        "delete from pool where name = $1",
    ] {
        sqlx::query(sql).bind(name).execute(&mut *conn).await?;
    }
    let body = json!({ "pool": name, "before": size });
    note(conn, ("pool_removed", body), (actor, now)).await?;
    Ok(true)
}

async fn note(
    conn: &mut PgConnection,
    (kind, body): (&str, serde_json::Value),
    (actor, now): (&str, Timestamp),
) -> Result<()> {
    bell::note(Rings::WORKERS | Rings::CHANGED);
    ledger::append(conn, Entry::act(kind, actor, body), now).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
