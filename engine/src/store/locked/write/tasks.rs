//! Task runs, and what they hand on.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::super::{Result, clean, pg};
use super::super::LockedRun;
use super::{Places, Written};
use crate::id::TaskIdx;
use crate::plan::TaskView;
use crate::state::Reason;

/// Task runs as columns.
#[derive(Default)]
pub(super) struct Columns {
    place: Places,
    state: Vec<&'static str>,
    reason: Vec<Option<&'static str>>,
    unmet: Vec<i32>,
    seen: Vec<i16>,
    epoch: Vec<i64>,
    attempt: Vec<i32>,
    lost: Vec<i32>,
    opened_by: Vec<Option<Uuid>>,
}

impl Columns {
    /// Those that are new, and those that changed.
    pub(super) fn of(runs: &[LockedRun]) -> (Self, Self) {
        let (mut new, mut changed) = (Self::default(), Self::default());
        for run in runs {
            let differs = |(idx, view): &(&TaskIdx, &TaskView)| {
                run.before.get(idx) != Some(view) || run.opened.contains_key(idx)
            };
            for (idx, view) in run.tasks.iter().filter(differs) {
                let columns = match run.before.contains_key(idx) {
                    true => &mut changed,
                    false => &mut new,
                };
                columns.push(run, (*idx, view));
            }
        }
        (new, changed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.place.is_empty()
    }

    fn push(&mut self, run: &LockedRun, (idx, task): (TaskIdx, &TaskView)) {
        self.place.push(run, idx);
        self.state.push(task.state.as_str());
        self.reason.push(task.state.reason().map(Reason::as_str));
        self.unmet.push(task.unmet as i32);
        self.seen.push(task.seen.0);
        self.epoch.push(task.epoch);
        self.attempt.push(task.attempt as i32);
        self.lost.push(task.lost as i32);
        self.opened_by.push(run.opened.get(&idx).copied());
    }

    pub(super) fn bind(self, query: Written<'_>) -> Written<'_> {
        self.place
            .bind(query)
            .bind(self.state)
            .bind(self.reason)
            .bind(self.unmet)
            .bind(self.seen)
            .bind(self.epoch)
            .bind(self.attempt)
            .bind(self.lost)
            .bind(self.opened_by)
    }
}

/// Inserts the items of maps that expanded; the first of them may run already, in the hands of who expanded the map.
pub(super) async fn insert(conn: &mut PgConnection, new: Columns, now: Timestamp) -> Result<()> {
    if !new.place.is_empty() {
        new.bind(sqlx::query(INSERT).bind(pg(now))).execute(conn).await?;
    }
    Ok(())
}

const INSERT: &str =
    "insert into task_run (run, idx, state, reason, unmet, seen, epoch, attempt, lost, opened_by, started_at, finished_at)
     select run, idx, state::task_state, reason, unmet, seen, epoch, attempt, lost, opened_by,
       case when state = 'running' then $1 end,
       case when state in ('succeeded', 'failed', 'rejected', 'skipped', 'cancelled') then $1 end
     from unnest($2::uuid[], $3::int[], $4::text[], $5::text[], $6::int[], $7::smallint[], $8::bigint[], $9::int[],
                 $10::int[], $11::uuid[]) as u(run, idx, state, reason, unmet, seen, epoch, attempt, lost, opened_by)";

/// What successes hand on, as columns. Nothing is no row: the view `handed_on` knows.
#[derive(Default)]
pub(super) struct HandedOn {
    place: Places,
    epoch: Vec<i64>,
    outputs: Vec<Value>,
}

impl HandedOn {
    pub(super) fn of(runs: &[LockedRun]) -> Self {
        let mut all = Self::default();
        for run in runs {
            let something = |outputs: &Value| outputs.as_object().is_none_or(|keys| !keys.is_empty());
            for (idx, (epoch, outputs)) in run.outputs.iter().filter(|(_, (_, outputs))| something(outputs)) {
                all.place.push(run, *idx);
                all.epoch.push(*epoch);
                all.outputs.push(clean(outputs.clone()));
            }
        }
        all
    }

    pub(super) fn bind(self, query: Written<'_>) -> Written<'_> {
        self.place.bind(query).bind(self.epoch).bind(self.outputs)
    }
}
