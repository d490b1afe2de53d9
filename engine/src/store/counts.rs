//! What happened, added up for machines that watch: afterwards, in the background, and once.
//!
//! ```text
//! runs beyond the head ─► `counting`: up to which event each is counted ─► its events after that ─┐
//! skipped ticks, gate results, closed approvals, moves of aliases: rows not yet marked `counted` ─┴─► `counter`
//! ```
//! Cursors, marks and sums change in one transaction, of which one runs at a time: nothing is counted twice, however many schedulers
//! there are and wherever one breaks off. Who moves runs writes nothing for this.
//!
//! A run's events are numbered without gaps under its lock, so a cursor never passes one that is still to be committed. The ids of
//! runs are in no such order: a run may be committed after one whose id is later. So the head stays [`BEHIND`] the clock, and what lies
//! beyond it is known by its row in `counting`. A run that is not over is found through `active_run`, however old its id is.

mod marks;
mod runs;
mod tally;

pub use tally::{APPROVAL_WAIT, RUN_DURATION, SUM, Spread, TASK_DURATION};

use sqlx::PgConnection;

use self::tally::Tally;
use super::{Result, Store};

/// Runs that are over, by flow, state and trigger.
pub const RUNS: &str = "runs";
/// Attempts that ended.
pub const ATTEMPTS: &str = "attempts";
/// Attempts whose lease was taken away.
pub const REAPED: &str = "reaped";
/// Ticks that made no run, by flow and reason.
pub const SKIPPED: &str = "skipped";
/// Instant of the last success of a scheduled run, in seconds since 1970, by flow.
pub const LAST_SUCCESS: &str = "last_success";
/// What gates came to, by flow, task and result.
pub const GATES: &str = "gates";
/// What promotions came to, by model and result.
pub const PROMOTIONS: &str = "promotions";

/// Lock under which one process at a time counts.
const LOCK: (i32, i32) = (7368, 3);
/// Takes the lock, where it is free, and looks whether anything is not marked yet: where nothing happens, it asks no more.
const LOOK: &str = "select pg_try_advisory_xact_lock($1, $2),
     exists (select from tick where outcome = 'skipped' and not counted)
       or exists (select from gate_result where not counted)
       or exists (select from approval where state <> 'open' and not counted)
       or exists (select from alias_move where not counted)";
/// How far the head stays behind the clock: longer than a run takes from its id to its commit.
const BEHIND: &str = "2 minutes";
/// Transactions in a row: of a long history some is left for the next time.
const TURNS: usize = 50;

impl Store {
    /// Adds up what happened since the last time; answers how many things.
    pub async fn count_up(&self) -> Result<usize> {
        let mut counted = 0;
        for _ in 0..TURNS {
            let turn = self.transact(|conn| Box::pin(turn(conn))).await?;
            counted += turn.counted;
            if !turn.more {
                break;
            }
        }
        Ok(counted)
    }
}

/// What a transaction counted.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    counted: usize,
    /// There is more than it had room for.
    more: bool,
}

impl Turn {
    fn add(&mut self, other: Self) {
        self.counted += other.counted;
        self.more |= other.more;
    }
}

async fn turn(conn: &mut PgConnection) -> Result<Turn> {
    let look = sqlx::query_as(LOOK).bind(LOCK.0).bind(LOCK.1);
    let (free, unmarked): (bool, bool) = look.fetch_one(&mut *conn).await?;
    if !free {
        return Ok(Turn::default());
    }
    let mut tally = Tally::default();
    let mut turn = runs::count(conn, &mut tally).await?;
    if unmarked {
        turn.add(marks::count(conn, &mut tally).await?);
    }
    tally.write(conn).await?;
    Ok(turn)
}

#[cfg(test)]
mod tests;
