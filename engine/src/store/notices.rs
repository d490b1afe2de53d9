//! What people are to be told: written in the transaction of what it tells of, delivered afterwards by a courier.
//!
//! ```text
//! written ─► pending ─► delivered
//!              │  ▲ └──► dead      after too many tries; the last error stands with it
//!              └──┘ a try that failed, or whose courier is gone: later again
//! ```
//! A courier takes a notice for a while and says how it went; one that dies meanwhile leaves it to be taken again. So each is
//! delivered at least once, and the receiver can tell a repeat by its id.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::leases::{Holder, fence};
use super::locked::LockedRun;
use super::{Result, Store, StoreError, clean, clean_text, instant, maybe_instant, pg};
use crate::clock;
use crate::graph::{Flow, Moment};
use crate::id::{RunId, VersionHash};
use crate::plan;
use crate::plugin::HostError;
use crate::state::run::RunState;
use crate::view::Notice;

/// For how long a courier may be busy with a notice it took.
const TAKEN: Duration = Duration::from_secs(60);
/// Tries before a notice is dead: about seven hours.
pub const TRIES: i32 = 16;
/// Pause after the first try; it doubles.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Characters of an error that are kept.
const SHOWN: usize = 500;

/// A notice on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Parcel {
    /// Identity: the same in every try.
    pub id: Uuid,
    /// Where to.
    pub channel: String,
    /// `failed`, …; `message` of the plugin `notify`.
    pub event: String,
    /// Flow.
    pub flow: String,
    /// Run.
    pub run: RunId,
    /// What belongs to the event: `task`, `approval`, `text`, `title`.
    pub body: Value,
    /// Number of this try, from 1.
    pub tries: i32,
    /// When it was written.
    pub created_at: Timestamp,
}

/// What is to be told of a run to all channels that want it.
pub(super) struct Telling<'a> {
    pub flow: &'a Flow,
    pub run: RunId,
    pub moment: Moment,
    /// Tells several of one moment of one run apart; empty where there is one.
    pub which: String,
    pub body: Value,
}

/// Writes a notice for each channel; what was told already is not told again.
pub(super) async fn tell(conn: &mut PgConnection, telling: Telling<'_>, now: Timestamp) -> Result<()> {
    let channels = telling.flow.told(telling.moment);
    if channels.is_empty() {
        return Ok(());
    }
    let event = telling.moment.as_str();
    let key = |channel: &&str| format!("{}/{event}{}/{channel}", telling.run, telling.which);
    let keys: Vec<String> = channels.iter().map(key).collect();
    let ids: Vec<Uuid> = channels.iter().map(|_| clock::new_id()).collect();
    sqlx::query(
        "insert into notice (id, key, channel, event, flow, run, body, due_at, created_at)
         select id, key, channel, $4, $5, $6, $7, $8, $8 from unnest($1::uuid[], $2::text[], $3::text[]) as u(id, key, channel)
         on conflict (key) do nothing",
    )
    .bind(ids)
    .bind(keys)
    .bind(channels)
    .bind(event)
    .bind(telling.flow.name.as_str())
    .bind(telling.run.0)
    .bind(clean(telling.body))
    .bind(pg(now))
    .execute(conn)
    .await?;
    Ok(())
}

/// Tells how a run ended, where this transaction ended it.
pub(super) async fn tell_end(conn: &mut PgConnection, run: &LockedRun, now: Timestamp) -> Result<()> {
    if run.flow.notify.is_empty() || !run.has_ended() {
        return Ok(());
    }
    let moment = match run.view.state {
        RunState::Failed => Moment::Failed,
        RunState::Rejected => Moment::Rejected,
        RunState::Cancelled => Moment::Cancelled,
        _ => Moment::Succeeded,
    };
    let telling = Telling {
        flow: &run.flow,
        run: run.id,
        moment,
        which: String::new(),
        body: json!({}),
    };
    tell(conn, telling, now).await
}

impl Store {
    /// Writes what a task has to say to a channel, once per task run. `Refused`: no server knows the channel.
    pub(crate) async fn post_notice(
        &self,
        holder: Holder,
        (channel, body): (String, Value),
        now: Timestamp,
    ) -> Result<Uuid> {
        self.transact(move |conn| {
            let (channel, body) = (channel.clone(), body.clone());
            Box::pin(async move { post(conn, holder, (&channel, body), now).await })
        })
        .await
    }

    /// Notes which channels a server knows.
    pub async fn enroll_channels(&self, channels: &[(String, &'static str)]) -> Result<()> {
        let (names, kinds): (Vec<String>, Vec<&str>) = channels.iter().cloned().unzip();
        sqlx::query(
            "with gone as (delete from channel where seen_at < clock_timestamp() - interval '1 day')
             insert into channel (name, kind, seen_at) select name, kind, clock_timestamp()
             from unnest($1::text[], $2::text[]) as u(name, kind)
             on conflict (name) do update set kind = excluded.kind, seen_at = excluded.seen_at",
        )
        .bind(names)
        .bind(kinds)
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Which of these channels no server knows.
    pub async fn unknown_channels(&self, names: Vec<String>) -> Result<Vec<String>> {
        Ok(sqlx::query_scalar(
            "select distinct name from unnest($1::text[]) as u(name) where not exists (
               select from channel c where c.name = u.name and c.seen_at > clock_timestamp() - interval '1 day')
             order by name",
        )
        .bind(names)
        .fetch_all(self.pool())
        .await?)
    }

    /// Takes notices that are due, for a while.
    pub async fn take_notices(&self, limit: i64, now: Timestamp) -> Result<Vec<Parcel>> {
        let rows = sqlx::query(
            "with due as materialized (
               select id from notice where state = 'pending' and due_at <= $1 order by due_at, id limit $2
               for update skip locked)
             update notice n set tries = tries + 1, due_at = $1 + $3 * interval '1 millisecond' from due where n.id = due.id
             returning n.id, n.channel, n.event, n.flow, n.run, n.body, n.tries, n.created_at",
        )
        .bind(pg(now))
        .bind(limit)
        .bind(TAKEN.as_millis() as f64)
        .fetch_all(self.pool())
        .await?;
        let parcel = |row: &sqlx::postgres::PgRow| -> Result<Parcel> {
            Ok(Parcel {
                id: row.try_get("id")?,
                channel: row.try_get("channel")?,
                event: row.try_get("event")?,
                flow: row.try_get("flow")?,
                run: RunId(row.try_get("run")?),
                body: row.try_get("body")?,
                tries: row.try_get("tries")?,
                created_at: instant(row, "created_at")?,
            })
        };
        rows.iter().map(parcel).collect()
    }

    /// Says how a try went. One that failed is tried again later, or is dead.
    pub async fn settle_notice(&self, parcel: &Parcel, failed: Option<String>, now: Timestamp) -> Result<()> {
        let state = match &failed {
            None => "delivered",
            Some(_) if parcel.tries >= TRIES => "dead",
            Some(_) => "pending",
        };
        let exponent = u32::try_from(parcel.tries - 1).unwrap_or(0).min(20);
        let pause = PAUSE.saturating_mul(1 << exponent).min(LONGEST_PAUSE);
        let error = failed.map(|text| clean_text(text).chars().take(SHOWN).collect::<String>());
        sqlx::query(
            "update notice set state = $2, error = $3, due_at = $4 + $5 * interval '1 millisecond',
               ended_at = case when $2 <> 'pending' then $4 end
             where id = $1 and state = 'pending' and tries = $6",
        )
        .bind(parcel.id)
        .bind(state)
        .bind(error)
        .bind(pg(now))
        .bind(pause.as_millis() as f64)
        .bind(parcel.tries)
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Tells of runs that take longer than their flow expects. Answers how many there are.
    pub async fn tell_overdue(&self, now: Timestamp) -> Result<usize> {
        let mut conn = self.pool().acquire().await?;
        let rows = sqlx::query(
            "select r.id, r.version, r.started_at, extract(epoch from r.waited)::float8 as waited
             from active_run a join run r on r.id = a.run where r.state = 'running'
               and not exists (select from notice n where n.run = r.id and n.event = 'overdue') order by r.id",
        )
        .fetch_all(&mut *conn)
        .await?;
        let mut told = 0;
        for row in &rows {
            let flow = self
                .definition(&mut conn, &VersionHash(row.try_get("version")?))
                .await?;
            let waited = Duration::try_from_secs_f64(row.try_get("waited")?).unwrap_or_default();
            let started = instant(row, "started_at")?;
            let late = |expected| plan::deadline(started, waited, expected) <= now;
            if flow.told(Moment::Overdue).is_empty() || !flow.expected.is_some_and(late) {
                continue;
            }
            let telling = Telling {
                flow: &flow,
                run: RunId(row.try_get("id")?),
                moment: Moment::Overdue,
                which: String::new(),
                body: json!({}),
            };
            tell(&mut conn, telling, now).await?;
            told += 1;
        }
        Ok(told)
    }

    /// Forgets what was delivered long ago. Answers how many.
    pub(super) async fn sweep_notices(&self, now: Timestamp) -> Result<usize> {
        let swept =
            sqlx::query("delete from notice where state <> 'pending' and ended_at < $1 - interval '30 days'")
                .bind(pg(now))
                .execute(self.pool())
                .await?;
        Ok(swept.rows_affected() as usize)
    }
}

async fn post(
    conn: &mut PgConnection,
    holder: Holder,
    (channel, body): (&str, Value),
    now: Timestamp,
) -> Result<Uuid> {
    fence(conn, holder).await?;
    let known: bool = sqlx::query_scalar(
        "select exists (select from channel where name = $1 and seen_at > clock_timestamp() - interval '1 day')",
    )
    .bind(channel)
    .fetch_one(&mut *conn)
    .await?;
    if !known {
        let message = format!(
            "no server knows the channel `{channel}`: it needs a [channels.{channel}] in tidegate.toml"
        );
        return Err(StoreError::Host(HostError::Refused { message }));
    }
    Ok(sqlx::query_scalar(
        "insert into notice (id, key, channel, event, flow, run, body, due_at, created_at)
         select $1, $2, $3, 'message', flow, id, $4, $5, $5 from run where id = $6
         on conflict (key) do update set key = excluded.key returning id",
    )
    .bind(clock::new_id())
    .bind(format!("{}/task {}/{channel}", holder.run, holder.idx))
    .bind(channel)
    .bind(clean(body))
    .bind(pg(now))
    .bind(holder.run.0)
    .fetch_one(conn)
    .await?)
}

/// The notices of a run that did not arrive yet, or never will.
pub(super) async fn of_run(conn: &mut PgConnection, run: RunId) -> Result<Vec<Notice>> {
    let rows = sqlx::query(
        "select * from notice where run = $1 and state <> 'delivered' and tries > 0 order by created_at, id",
    )
    .bind(run.0)
    .fetch_all(conn)
    .await?;
    rows.iter().map(shown).collect()
}

fn shown(row: &sqlx::postgres::PgRow) -> Result<Notice> {
    Ok(Notice {
        id: row.try_get("id")?,
        channel: row.try_get("channel")?,
        event: row.try_get("event")?,
        flow: row.try_get("flow")?,
        run: row.try_get("run")?,
        state: row.try_get("state")?,
        tries: row.try_get("tries")?,
        error: row.try_get("error")?,
        created_at: instant(row, "created_at")?,
        ended_at: maybe_instant(row, "ended_at")?,
    })
}
