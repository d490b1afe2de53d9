//! The usual report in one statement: an attempt succeeded, and the next task of its run begins here.
//!
//! A run that this process moved last is known as it left it, so nothing is locked and loaded first: all is written under the
//! condition that the run's next event still has the number it had then. Where somebody else has moved it meanwhile, the statement fails as a whole,
//! and the report goes the long way. So does everything that is not usual.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::super::lately::Left;
use super::super::locked::write::{self, Ahead};
use super::super::locked::{Details, LockedRun, Slices};
use super::super::{Result, Store};
use super::{Advanced, Report, holds, takes};
use crate::id::{RunId, TaskIdx};
use crate::plan::{self, Outcome};
use crate::store::bell::Rings;
use crate::store::claim::{Claimer, claim_of, take_loaded};

type Conn = sqlx::pool::PoolConnection<sqlx::Postgres>;

/// Task runs that are looked up for the step after this one, at most.
const MOST_AHEAD: usize = 32;

/// What is to be written, and what will have been done then.
struct Moves {
    runs: Vec<LockedRun>,
    done: Advanced,
    ahead: Slices,
}

/// Reports in one statement. `None`: nothing is done, it must go the long way.
pub(super) async fn advance(
    store: &Store,
    (reports, claimer): (&[Report], &Claimer),
    now: Timestamp,
) -> Option<Advanced> {
    let moves = plan(store, (reports, claimer.clone()), now)?;
    let (store, conn) = (store.clone(), store.connection_at_hand()?);
    // In a task of its own: a caller that is dropped drops no statement half-way.
    let written = tokio::spawn(async move { write(&store, conn, moves, now).await }).await;
    match written {
        Ok(Ok(done)) => Some(done),
        Ok(Err(error)) => {
            tracing::debug!(error = crate::plugin::chain(&error), "a report goes the long way");
            None
        }
        Err(_) => None,
    }
}

/// What follows from reports, by what is known; no more is asked.
fn plan(store: &Store, (reports, mut claimer): (&[Report], Claimer), now: Timestamp) -> Option<Moves> {
    if claimer.crowded.cut_short || !reports.iter().all(is_usual) {
        return None;
    }
    let mut by_run: BTreeMap<RunId, Vec<&Report>> = BTreeMap::new();
    for report in reports {
        by_run.entry(report.run).or_default().push(report);
    }
    let mut done = Advanced {
        accepted: vec![true; reports.len()],
        ..Advanced::default()
    };
    let (mut runs, mut ahead) = (Vec::new(), Slices::new());
    for (id, reports) in by_run {
        let (flow, left) = store.lately.take(id)?;
        let mut run = LockedRun::as_left(id, flow, left);
        succeed(&mut run, &reports, now)?;
        let handed = hand_over(&mut run, (&mut claimer, &mut done), now)?;
        if !write::is_plain(&run) {
            return None;
        }
        let next = plan::frontier(&run.flow.graph, handed).into_iter();
        let unknown: BTreeSet<TaskIdx> = next.filter(|idx| !run.tasks.contains_key(idx)).collect();
        if unknown.len() <= MOST_AHEAD {
            ahead.insert(id, unknown);
        }
        runs.push(run);
    }
    Some(Moves { runs, done, ahead })
}

fn is_usual(report: &Report) -> bool {
    let Report {
        outcome,
        items,
        gate,
        cached,
        ..
    } = report;
    *outcome == Outcome::Succeeded && items.is_none() && gate.is_none() && cached.is_none()
}

/// `None`: more must be loaded to know what follows.
fn succeed(run: &mut LockedRun, reports: &[&Report], now: Timestamp) -> Option<()> {
    let graph = &run.flow.graph;
    let of_map = |report: &&&Report| graph.item(report.idx).is_some();
    let frontier = plan::frontier(graph, reports.iter().map(|report| report.idx));
    let known = frontier.iter().all(|idx| run.tasks.contains_key(idx));
    let held = reports.iter().all(|report| holds(run, report));
    if !known || !held || reports.iter().any(|report| of_map(&report)) {
        return None;
    }
    let outcomes: Vec<(TaskIdx, Outcome)> = reports.iter().map(|r| (r.idx, r.outcome)).collect();
    run.advance_loaded(&outcomes, (&Details::new(), now)).ok()?;
    for report in reports {
        if let Some(outputs) = &report.outputs {
            run.hand_on(report.idx, (report.epoch, outputs.clone()));
        }
    }
    (!run.has_ended()).then_some(())
}

/// `None`: others may be more urgent.
fn hand_over(
    run: &mut LockedRun,
    (claimer, done): (&mut Claimer, &mut Advanced),
    now: Timestamp,
) -> Option<Vec<TaskIdx>> {
    let fresh = run.fresh(now);
    let mut next = Vec::new();
    for light in [false, true] {
        let mut such: Vec<TaskIdx> = fresh
            .iter()
            .copied()
            .filter(|idx| takes((run, light), claimer, *idx))
            .collect();
        if !such.is_empty() && claimer.is_crowded(light) {
            return None;
        }
        such.truncate(*claimer.room(light));
        *claimer.room(light) -= such.len();
        next.extend(such);
    }
    take_loaded(run, (&next, claimer.worker), now).ok()?;
    done.handed.extend(next.iter().map(|&idx| claim_of(run, idx)));
    done.readied |= next.len() < fresh.len();
    Some(next)
}

async fn write(store: &Store, mut conn: Conn, moves: Moves, now: Timestamp) -> Result<Advanced> {
    let Moves { runs, done, ahead } = moves;
    let loaded: Ahead = write::write_at_once(&mut conn, (&runs, &ahead), now).await?;
    store.kept.put(conn);
    for run in &runs {
        let left = Left::of(run).map(|mut left| {
            left.tasks.extend(
                loaded
                    .get(&run.id)
                    .into_iter()
                    .flatten()
                    .map(|(idx, task)| (*idx, task.clone())),
            );
            left
        });
        store.lately.leave(run.id, left);
    }
    let rings = runs
        .iter()
        .fold(Rings::default(), |rings, run| rings | run.rings());
    store.bell.ring(rings);
    Ok(done)
}

#[cfg(test)]
mod tests;
