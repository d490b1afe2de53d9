//! One look at what a scheduler has to do: a quiet database is asked one small question a second, and nothing else.

use jiff::Timestamp;
use sqlx::{PgConnection, Row};

use super::{Result, maybe_instant, pg};

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Glance {
    /// Schedules have something due.
    pub due: bool,
    /// When the next schedule after those is due.
    pub next_at: Option<Timestamp>,
    /// Leases ended.
    pub expired: bool,
    /// Runs wait behind `max_active`.
    pub queued: bool,
    /// Runs move, and may take too long.
    pub running: bool,
    /// Approvals are open.
    pub asking: bool,
    /// Some of them ran out of time.
    pub late: bool,
    /// Runs ended that others follow.
    pub ended: bool,
    /// Runs wait for runs that they made, or such runs move.
    pub nested: bool,
}

impl Glance {
    /// No run moves, nobody is asked: there is nothing whose time could run out.
    pub fn is_quiet(&self) -> bool {
        !(self.due || self.expired || self.queued || self.running || self.asking)
    }
}

const GLANCE: &str = "select
     exists (select from schedule s join flow f on f.name = s.flow
             where f.removed_at is null and s.paused_at is null and (s.next_at is null or s.next_at <= $1)) as due,
     (select min(next_at) from schedule where paused_at is null and next_at > $1) as next_at,
     exists (select from lease where until < clock_timestamp()) as expired,
     exists (select from active_run a join run r on r.id = a.run where r.state = 'queued' and not r.urgent) as queued,
     exists (select from active_run a join run r on r.id = a.run where r.state = 'running') as running,
     exists (select from approval where state = 'open') as asking,
     exists (select from approval where state = 'open' and expires_at <= clock_timestamp()) as late,
     exists (select from ended_run) as ended,
     exists (select from active_run a join sub_run s on s.run = a.run)
       or exists (select from active_run a join sub_run s on s.parent = a.run) as nested";

/// Looks, on a connection of the caller's own.
pub async fn glance(conn: &mut PgConnection, now: Timestamp) -> Result<Glance> {
    let row = sqlx::query(GLANCE).bind(pg(now)).fetch_one(conn).await?;
    Ok(Glance {
        due: row.try_get("due")?,
        next_at: maybe_instant(&row, "next_at")?,
        expired: row.try_get("expired")?,
        queued: row.try_get("queued")?,
        running: row.try_get("running")?,
        asking: row.try_get("asking")?,
        late: row.try_get("late")?,
        ended: row.try_get("ended")?,
        nested: row.try_get("nested")?,
    })
}
