//! Ticks: what becomes of every due instant of a schedule, in one transaction with the cursor that says so.
//!
//! ```text
//! lock flows (skipping: who holds one is at it) ─► lock schedules ─► due since the cursor ─► for each tick
//!     a row that says skipped, or a run and a row that names it ─► cursor ─► commit
//! ```
//! Some schedules share a transaction: a thousand that are due in one second are twenty commits.
//!
//! Any number of schedulers may do this at once. The locks save them work; what keeps a tick from running twice is the unique index
//! on runs and the key of the tick's row, whatever happened to the cursor.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::admission::Standing;
use super::locked::{self, LockedRun};
use super::runs::{NewRun, Origin};
use super::schedules::Locked;
use super::{Result, Store, StoreError, pg, runs};
use crate::clock;
use crate::graph::{Flow, Missed, Overlap, ScheduleSpec};
use crate::id::{RunId, VersionHash};
use crate::schedule::{Catchup, ON_TIME, SkipReason, SkippedTicks};
use crate::spec::params;
use crate::state::Reason;

/// What firing a schedule came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fired {
    /// Runs that were made.
    pub runs: usize,
    /// Ticks that were skipped.
    pub skipped: u64,
    /// Another is at this flow: come again soon.
    pub busy: bool,
}

/// What a tick does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Start,
    StartBeside,
    Queue,
    CancelPrevious,
    Skip,
}

impl Store {
    /// Schedules, as flow and name, of which something may be due.
    pub async fn due_schedules(&self, now: Timestamp) -> Result<Vec<(String, String)>> {
        let due = sqlx::query_as(
            "select s.flow, s.name from schedule s join flow f on f.name = s.flow
             where f.removed_at is null and s.paused_at is null and (s.next_at is null or s.next_at <= $1)
             order by s.next_at nulls first, s.flow, s.name",
        )
        .bind(pg(now));
        Ok(due.fetch_all(self.pool()).await?)
    }

    /// Gives every tick of some schedules that is due its outcome, in one transaction. Where it fails as a whole, each is fired by
    /// itself: one that cannot be read says so in its row, and stops nobody else's.
    pub async fn fire_some(&self, which: Vec<(String, String)>, now: Timestamp) -> Result<Fired> {
        let error = match self.fire_together(which.clone(), now).await {
            Err(error) if which.len() > 1 => error,
            Err(error @ StoreError::Database(_)) => return Err(error),
            Err(error) => {
                for (flow, name) in &which {
                    let why = crate::plugin::chain(&error);
                    tracing::error!(flow, schedule = name, why, "a schedule is broken");
                    self.break_schedule((flow, name), &why, now).await?;
                }
                return Ok(Fired::default());
            }
            fired => return fired,
        };
        tracing::debug!(
            error = crate::plugin::chain(&error),
            "some schedules are fired one by one"
        );
        let mut fired = Fired::default();
        for one in which {
            fired.add(Box::pin(self.fire_some(vec![one], now)).await?);
        }
        Ok(fired)
    }

    async fn fire_together(&self, which: Vec<(String, String)>, now: Timestamp) -> Result<Fired> {
        let (store, which) = (self.clone(), Arc::new(which));
        self.transact(move |conn| {
            let (store, which) = (store.clone(), Arc::clone(&which));
            Box::pin(async move { fire(&store, conn, &which, now).await })
        })
        .await
    }

    /// The same of one schedule.
    pub async fn fire(&self, which: (String, String), now: Timestamp) -> Result<Fired> {
        self.fire_some(vec![which], now).await
    }
}

impl Fired {
    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.skipped += other.skipped;
        self.busy |= other.busy;
    }
}

async fn fire(
    store: &Store,
    conn: &mut PgConnection,
    which: &[(String, String)],
    now: Timestamp,
) -> Result<Fired> {
    let flows: Vec<&str> = which.iter().map(|(flow, _)| flow.as_str()).collect();
    let free: BTreeSet<String> = sqlx::query_scalar(
        "select name from flow where name = any($1) and removed_at is null order by name
         for no key update skip locked",
    )
    .bind(flows)
    .fetch_all(&mut *conn)
    .await?
    .into_iter()
    .collect();
    let here: Vec<&(String, String)> = which.iter().filter(|(flow, _)| free.contains(flow)).collect();
    if here.len() < which.len() {
        let schedules = which.len() - here.len();
        tracing::debug!(schedules, "another scheduler is making these ticks");
    }
    let mut fired = Fired {
        busy: here.len() < which.len(),
        ..Fired::default()
    };
    let mut drafts = Vec::new();
    for schedule in Locked::lock_all(conn, &here).await? {
        if schedule.paused_at.is_none() {
            let settled = settle_into(store, conn, (&schedule, &mut drafts), now).await?;
            if settled == Fired::default() {
                tracing::debug!(schedule.flow, "another scheduler made its tick");
            }
            fired.add(settled);
        }
    }
    locked::write_new(conn, &drafts, now).await?;
    Ok(fired)
}

/// Gives every due tick of a locked schedule of a locked flow its outcome.
pub(super) async fn settle(
    store: &Store,
    conn: &mut PgConnection,
    schedule: &Locked,
    now: Timestamp,
) -> Result<Fired> {
    let mut drafts = Vec::new();
    let fired = settle_into(store, conn, (schedule, &mut drafts), now).await?;
    locked::write_new(conn, &drafts, now).await?;
    Ok(fired)
}

/// The same; what belongs to the runs is left to be written with that of others.
async fn settle_into(
    store: &Store,
    conn: &mut PgConnection,
    (schedule, drafts): (&Locked, &mut Vec<LockedRun>),
    now: Timestamp,
) -> Result<Fired> {
    let (spec, table) = schedule.read()?;
    let due = table.due(&Catchup {
        cursor: schedule.cursor,
        now,
        missed: spec.missed,
        window: spec.missed_window,
        effective_from: schedule.effective_from,
    });
    let mut fired = Fired::default();
    let mut cursor = schedule.cursor;
    for range in &due.skipped {
        let skip = Skip::range(range, range.reason.as_str());
        skip.record(conn, schedule, now).await?;
        fired.skipped += range.count;
        cursor = cursor.max(range.last);
    }
    if !due.run.is_empty() {
        let mut firing = Firing::prepare(store, conn, (schedule, spec), now).await?;
        for tick in &due.run {
            if firing.fire(conn, tick.at, drafts).await? {
                fired.runs += 1;
            } else {
                fired.skipped += 1;
            }
            cursor = cursor.max(tick.at);
        }
    }
    let next = table.next(cursor.max(now)).map(|tick| tick.at);
    schedule.move_on(conn, (cursor, next)).await?;
    Ok(fired)
}

/// Records what fell due while a schedule was paused, as one range.
pub(super) async fn skip_paused(conn: &mut PgConnection, schedule: &Locked, now: Timestamp) -> Result<()> {
    let from = schedule.cursor.max(schedule.effective_from);
    if let Ok((_, table)) = schedule.read()
        && let Some(range) = table.skip(from, now, SkipReason::Missed)
    {
        Skip::range(&range, "paused").record(conn, schedule, now).await?;
    }
    schedule.move_on(conn, (now, None)).await
}

/// Ticks in a row that make no run.
struct Skip<'a> {
    first: Timestamp,
    last: Timestamp,
    count: u64,
    reason: &'a str,
}

impl<'a> Skip<'a> {
    fn range(range: &SkippedTicks, reason: &'a str) -> Self {
        Self {
            first: range.first,
            last: range.last,
            count: range.count,
            reason,
        }
    }

    fn one(at: Timestamp, reason: &'a str) -> Self {
        Self {
            first: at,
            last: at,
            count: 1,
            reason,
        }
    }

    async fn record(self, conn: &mut PgConnection, schedule: &Locked, now: Timestamp) -> Result<()> {
        sqlx::query(
            "insert into tick (flow, schedule, scheduled_for, last, count, outcome, reason, at)
             values ($1, $2, $3, $4, $5, 'skipped', $6, $7) on conflict do nothing",
        )
        .bind(&schedule.flow)
        .bind(&schedule.name)
        .bind(pg(self.first))
        .bind(pg(self.last))
        .bind(self.count as i64)
        .bind(self.reason)
        .bind(pg(now))
        .execute(conn)
        .await?;
        Ok(())
    }
}

/// A schedule that makes runs now.
struct Firing<'a> {
    store: &'a Store,
    schedule: &'a Locked,
    spec: ScheduleSpec,
    version: VersionHash,
    flow: Arc<Flow>,
    params: BTreeMap<String, Value>,
    now: Timestamp,
}

impl<'a> Firing<'a> {
    async fn prepare(
        store: &'a Store,
        conn: &mut PgConnection,
        (schedule, spec): (&'a Locked, ScheduleSpec),
        now: Timestamp,
    ) -> Result<Self> {
        let version = super::flows::current_version(conn, &schedule.flow).await?;
        let flow = store.definition(conn, &version).await?;
        let given: Map<_, _> = spec.params.clone().into_iter().collect();
        let params = params::resolve(&flow, given).map_err(|problems| StoreError::Corrupt {
            what: "schedule",
            why: problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
        })?;
        Ok(Self {
            store,
            schedule,
            spec,
            version,
            flow,
            params,
            now,
        })
    }

    /// Gives one tick its outcome; `true`: a run.
    async fn fire(
        &mut self,
        conn: &mut PgConnection,
        at: Timestamp,
        drafts: &mut Vec<LockedRun>,
    ) -> Result<bool> {
        if self.is_recorded(conn, at).await? {
            return Ok(false);
        }
        let standing = Standing::of(conn, (&self.schedule.flow, false)).await?;
        if standing.frozen {
            Skip::one(at, "frozen")
                .record(conn, self.schedule, self.now)
                .await?;
            return Ok(false);
        }
        let regardless = match self.turn(&standing, at) {
            Turn::Skip => {
                Skip::one(at, "overlap")
                    .record(conn, self.schedule, self.now)
                    .await?;
                return Ok(false);
            }
            Turn::CancelPrevious => {
                // They may be among those that are not written yet.
                locked::write_new(conn, &std::mem::take(drafts), self.now).await?;
                let replaced = Standing::to_be_replaced(conn, &self.schedule.flow).await?;
                self.cancel(conn, replaced).await?;
                false
            }
            // There is room, and nobody takes it while the flow is locked.
            turn => matches!(turn, Turn::Start | Turn::StartBeside),
        };
        let run = self.run(conn, (at, regardless)).await?;
        let made = run.is_some();
        drafts.extend(run);
        Ok(made)
    }

    fn turn(&self, standing: &Standing, at: Timestamp) -> Turn {
        let room = standing.has_room(self.flow.max_active);
        let age = self.now.duration_since(at).unsigned_abs();
        // All of what was missed is to run: each behind the one before.
        let made_up = self.spec.missed == Missed::All && age > ON_TIME;
        match self.flow.overlap {
            Overlap::Allow => Turn::StartBeside,
            _ if room => Turn::Start,
            _ if made_up => Turn::Queue,
            Overlap::Skip => Turn::Skip,
            Overlap::Queue if standing.queued_ticks == 0 => Turn::Queue,
            Overlap::Queue => Turn::Skip,
            Overlap::CancelPrevious => Turn::CancelPrevious,
        }
    }

    /// The row of the tick, or of a range that holds it, whatever the cursor says.
    async fn is_recorded(&self, conn: &mut PgConnection, at: Timestamp) -> Result<bool> {
        let found = sqlx::query(
            "select 1 from tick where flow = $1 and schedule = $2 and scheduled_for <= $3 and last >= $3",
        )
        .bind(&self.schedule.flow)
        .bind(&self.schedule.name)
        .bind(pg(at))
        .fetch_optional(conn)
        .await?;
        Ok(found.is_some())
    }

    async fn cancel(&self, conn: &mut PgConnection, runs: Vec<RunId>) -> Result<()> {
        for id in runs {
            let Some(mut run) = LockedRun::lock(self.store, conn, id).await? else {
                continue;
            };
            if run.view.state.is_terminal() {
                continue;
            }
            run.load_all(conn).await?;
            run.cancel(Reason::Overlap, self.now)?;
            run.write(conn, self.now).await?;
        }
        Ok(())
    }

    async fn run(
        &self,
        conn: &mut PgConnection,
        (at, regardless): (Timestamp, bool),
    ) -> Result<Option<LockedRun>> {
        let new = NewRun {
            id: clock::new_run_id(),
            flow: self.schedule.flow.clone(),
            version: None,
            trigger: "schedule".to_owned(),
            requester: "system".to_owned(),
            tick: Some((self.schedule.name.clone(), at)),
            params: self.params.clone(),
        };
        let origin = Origin {
            regardless,
            ..Origin::default()
        };
        runs::draft(self.store, conn, (&new, &self.version, &origin), self.now).await
    }
}
