//! Which runs of a flow may move: `max_active`, the line behind it, freeze windows. Under the flow's row lock.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::locked::LockedRun;
use super::runs::{NewRun, Origin};
use super::{Result, Store, StoreError};
use crate::id::{RunId, VersionHash};
use crate::state::run::RunState;

impl Store {
    /// Starts queued runs, oldest first, of flows that have room. Answers how many.
    pub async fn admit_queued(&self, now: Timestamp) -> Result<usize> {
        let queued: Vec<(Uuid, String, bool)> = sqlx::query_as(
            "select r.id, r.flow, r.trigger = 'backfill' from active_run a join run r on r.id = a.run
             where r.state = 'queued' and not r.urgent order by r.id",
        )
        .fetch_all(self.pool())
        .await?;
        let (mut started, mut full) = (0, BTreeSet::new());
        for (id, flow, fills) in queued {
            if full.contains(&(flow.clone(), fills)) {
                continue;
            }
            if self.admit(RunId(id), (flow.clone(), fills), now).await? {
                started += 1;
            } else {
                full.insert((flow, fills));
            }
        }
        Ok(started)
    }

    /// `fills`: the run belongs to a backfill, which has places of its own.
    async fn admit(&self, id: RunId, (flow, fills): (String, bool), now: Timestamp) -> Result<bool> {
        let store = self.clone();
        self.transact(move |conn| {
            let (store, flow) = (store.clone(), flow.clone());
            Box::pin(async move {
                lock_flow(conn, &flow).await?;
                let Some(mut run) = LockedRun::lock(&store, conn, id).await? else {
                    return Ok(false);
                };
                let standing = Standing::of(conn, (&flow, fills)).await?;
                let most = match fills {
                    true => places_of_backfill(conn, id).await?.unwrap_or(run.flow.max_active),
                    false => run.flow.max_active,
                };
                if run.view.state != RunState::Queued || !standing.admits(most) {
                    return Ok(false);
                }
                run.load_all(conn).await?;
                run.start(now)?;
                run.write(conn, now).await?;
                Ok(true)
            })
        })
        .await
    }
}

/// Whether a new run of a flow that is locked begins at once. An emergency waits for a second person.
pub(super) async fn starts_now(
    conn: &mut PgConnection,
    (new, origin): (&NewRun, &Origin),
    max_active: u32,
) -> Result<bool> {
    if origin.emergency.is_some() || origin.regardless {
        return Ok(origin.emergency.is_none());
    }
    let standing = Standing::of(conn, (&new.flow, origin.filling.is_some())).await?;
    let most = origin.filling.as_ref().and_then(|filling| filling.max_active);
    Ok(standing.has_room(most.unwrap_or(max_active)))
}

/// How many runs of its backfill may run at once; `None`: as many as the flow says.
async fn places_of_backfill(conn: &mut PgConnection, run: RunId) -> Result<Option<u32>> {
    let most: Option<Option<i32>> = sqlx::query_scalar("select max_active from backfill where run = $1")
        .bind(run.0)
        .fetch_optional(conn)
        .await?;
    Ok(most.flatten().map(i32::unsigned_abs))
}

/// What a lock on a flow shows.
pub(super) struct Admission {
    /// Its current version.
    pub version: VersionHash,
    /// It was removed: nobody asks for a run of it any more.
    pub removed: bool,
    /// A freeze window stops the flow itself.
    pub frozen: bool,
}

/// Serialises admission to a flow.
pub(super) async fn lock_flow(conn: &mut PgConnection, flow: &str) -> Result<Admission> {
    let found = lock_flows(conn, &[flow]).await?.remove(flow);
    found.ok_or_else(|| StoreError::NotFound {
        what: "flow",
        name: flow.to_owned(),
    })
}

/// Serialises admission to flows, in the order of their names; those that do not exist are left out.
pub(super) async fn lock_flows(
    conn: &mut PgConnection,
    flows: &[&str],
) -> Result<BTreeMap<String, Admission>> {
    let found: Vec<(String, String, bool, bool)> = sqlx::query_as(
        "select name, version, removed_at is not null, exists (
           select from freeze_window z where z.flow = flow.name and z.ended_at is null
             and z.from_at <= clock_timestamp() and z.until_at > clock_timestamp())
         from flow where name = any($1) order by name for no key update",
    )
    .bind(flows)
    .fetch_all(conn)
    .await?;
    let admission = |(name, version, removed, frozen)| {
        let version = VersionHash(version);
        (
            name,
            Admission {
                version,
                removed,
                frozen,
            },
        )
    };
    Ok(found.into_iter().map(admission).collect())
}

/// The runs of a flow that are not over, as far as admission asks. Those that wait for people do not count.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// `running` or `cancelling`.
    pub active: usize,
    /// Behind `max_active`.
    pub queued: usize,
    /// Those of them that a tick made.
    pub queued_ticks: usize,
    /// A freeze window stops the flow itself.
    pub frozen: bool,
}

impl Standing {
    /// Counts under the flow's lock; the runs of backfills (`fills`) and the others have places of their own. An emergency that waits for
    /// a second person stands in nobody's way.
    pub(super) async fn of(conn: &mut PgConnection, (flow, fills): (&str, bool)) -> Result<Self> {
        let found = Self::of_all(conn, (&[flow], fills)).await?.remove(flow);
        Ok(found.unwrap_or_default())
    }

    /// The same of several flows.
    pub(super) async fn of_all(
        conn: &mut PgConnection,
        (flows, fills): (&[&str], bool),
    ) -> Result<BTreeMap<String, Self>> {
        let rows: Vec<(String, i64, i64, i64, bool)> = sqlx::query_as(
            "select f.name, count(*) filter (where r.state in ('running', 'cancelling')),
               count(*) filter (where r.state = 'queued' and not r.urgent),
               count(*) filter (where r.state = 'queued' and r.schedule is not null),
               exists (select from freeze_window z where z.flow = f.name and z.ended_at is null
                         and z.from_at <= clock_timestamp() and z.until_at > clock_timestamp())
             from unnest($1::text[]) as f(name)
             left join (active_run a join run r on r.id = a.run and (r.trigger = 'backfill') = $2) on a.flow = f.name
             group by f.name",
        )
        .bind(flows)
        .bind(fills)
        .fetch_all(conn)
        .await?;
        let standing = |(name, active, queued, queued_ticks, frozen)| {
            let [active, queued, queued_ticks] =
                [active, queued, queued_ticks].map(|count: i64| count as usize);
            (
                name,
                Self {
                    active,
                    queued,
                    queued_ticks,
                    frozen,
                },
            )
        };
        Ok(rows.into_iter().map(standing).collect())
    }

    /// What a newer tick takes the place of under `overlap = "cancel_previous"`, by id.
    pub(super) async fn to_be_replaced(conn: &mut PgConnection, flow: &str) -> Result<Vec<RunId>> {
        let runs: Vec<Uuid> = sqlx::query_scalar(
            "select r.id from active_run a join run r on r.id = a.run
             where a.flow = $1 and r.trigger <> 'backfill' and (r.state = 'running' or (r.state = 'queued' and r.schedule is not null))
             order by r.id",
        )
        .bind(flow)
        .fetch_all(conn)
        .await?;
        Ok(runs.into_iter().map(RunId).collect())
    }

    /// Whether a new run may start now: there is room, and nobody waits for it.
    pub(super) fn has_room(&self, max_active: u32) -> bool {
        self.queued == 0 && self.admits(max_active)
    }

    /// Counts a new run; whether it starts now.
    pub(super) fn take_in(&mut self, max_active: u32) -> bool {
        let starts = self.has_room(max_active);
        match starts {
            true => self.active += 1,
            false => self.queued += 1,
        }
        starts
    }

    /// Whether one that waits may start now.
    fn admits(&self, max_active: u32) -> bool {
        self.active < max_active as usize
    }
}
