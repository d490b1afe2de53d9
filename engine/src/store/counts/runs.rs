//! Runs that are over, and attempts, by their runs' events.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::super::{Result, day_of, instant, leases, pg};
use super::tally::Tally;
use super::{ATTEMPTS, BEHIND, LAST_SUCCESS, REAPED, RUN_DURATION, RUNS, TASK_DURATION, Turn};
use crate::id::RunId;
use crate::state::task_run::TaskEvent;

/// Runs that a transaction finds, and whose events it reads.
const RUNS_AT_ONCE: i64 = 1000;
/// Events that a transaction reads.
const EVENTS_AT_ONCE: i64 = 20_000;

/// Counts what is new of runs.
pub(super) async fn count(conn: &mut PgConnection, tally: &mut Tally) -> Result<Turn> {
    let found = find(conn).await?;
    let spans = spans(conn).await?;
    if spans.is_empty() {
        return Ok(Turn::default());
    }
    let mut attempts = Attempts::load(conn, &spans).await?;
    for event in events(conn, &spans).await? {
        attempts.take(&event, tally);
    }
    attempts.write(conn).await?;
    for span in spans.iter().filter(|span| span.is_last()) {
        span.end(tally);
    }
    move_on(conn, &spans).await?;
    Ok(Turn {
        counted: spans.len(),
        more: found >= RUNS_AT_ONCE || spans.len() as i64 >= RUNS_AT_ONCE || spans.iter().any(Span::is_cut),
    })
}

/// Takes up runs that are new, moves the head, and forgets runs that are counted and that it had passed before. Answers how many are new.
async fn find(conn: &mut PgConnection) -> Result<i64> {
    Ok(sqlx::query_scalar(FIND)
        .bind(RUNS_AT_ONCE)
        .bind(BEHIND)
        .fetch_one(conn)
        .await?)
}

/// Bound: how many, how far the head stays behind. A cut look moves the head no further than it has looked.
pub(super) const FIND: &str = "with fresh as materialized (
       select id from run r where id > (select run from counting_head)
         and not exists (select from counting c where c.run = r.id) order by id limit $1),
     active as materialized (
       select run as id from active_run a where not exists (select from counting c where c.run = a.run) limit $1),
     added as (
       insert into counting (run) select id from fresh union select id from active on conflict do nothing returning run),
     moved as (
       update counting_head set run = greatest(run, least(
         case when (select count(*) from fresh) >= $1 then (select id from fresh order by id desc limit 1) end,
         (lpad(to_hex((extract(epoch from clock_timestamp() - $2::interval) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid))),
     gone as (
       delete from counting where done and run <= (select run from counting_head))
     select count(*) from added";

/// Events of a run that are to be counted.
struct Span {
    run: Uuid,
    after: i64,
    upto: i64,
    /// The number of its newest event.
    last: i64,
    flow: String,
    state: String,
    trigger: String,
    /// When it was over, in seconds since 1970.
    finished: Option<f64>,
    seconds: Option<f64>,
}

impl Span {
    /// With it the run is counted for ever.
    fn is_last(&self) -> bool {
        self.finished.is_some() && !self.is_cut()
    }

    fn is_cut(&self) -> bool {
        self.upto < self.last
    }

    fn end(&self, tally: &mut Tally) {
        tally.add(RUNS, &[&self.flow, &self.state, &self.trigger], 1.0);
        if let Some(seconds) = self.seconds {
            tally.observe(&RUN_DURATION, &[&self.flow], seconds);
        }
        if let Some(at) = self.finished
            && (self.state.as_str(), self.trigger.as_str()) == ("succeeded", "schedule")
        {
            tally.latest(LAST_SUCCESS, &[&self.flow], at);
        }
    }
}

/// Bound: how many. The offset keeps the planner from walking all runs beside the few that are asked for.
pub(super) const SPANS: &str =
    "select c.run, c.seq as after, r.last, r.flow, r.state, r.trigger, r.finished, r.seconds
     from counting c cross join lateral (
       select next_seq - 1 as last, flow, state::text as state, trigger,
         extract(epoch from finished_at)::float8 as finished,
         extract(epoch from finished_at - started_at - waited)::float8 as seconds
       from run where id = c.run offset 0) r
     where not c.done and (r.last > c.seq or r.finished is not null) order by c.run limit $1";

/// What is to be counted of which runs, in the order of their ids, as much as there is room for.
async fn spans(conn: &mut PgConnection) -> Result<Vec<Span>> {
    let rows = sqlx::query(SPANS).bind(RUNS_AT_ONCE).fetch_all(conn).await?;
    let mut room = EVENTS_AT_ONCE;
    let mut spans = Vec::with_capacity(rows.len());
    for row in &rows {
        let (after, last): (i64, i64) = (row.try_get("after")?, row.try_get("last")?);
        let upto = last.min(after + room);
        room -= upto - after;
        spans.push(Span {
            run: row.try_get("run")?,
            after,
            upto,
            last,
            flow: row.try_get("flow")?,
            state: row.try_get("state")?,
            trigger: row.try_get("trigger")?,
            finished: row.try_get("finished")?,
            seconds: row.try_get("seconds")?,
        });
    }
    Ok(spans)
}

/// An event, as far as it matters here.
struct Happened {
    run: Uuid,
    kind: String,
    reason: Option<String>,
    idx: Vec<i32>,
    at: Timestamp,
    /// Those of `idx` whose lease was taken away.
    reaped: Vec<i32>,
}

async fn events(conn: &mut PgConnection, spans: &[Span]) -> Result<Vec<Happened>> {
    let days: Vec<_> = spans.iter().map(|span| day_of(RunId(span.run))).collect();
    let runs: Vec<_> = spans.iter().map(|span| span.run).collect();
    let after: Vec<_> = spans.iter().map(|span| span.after).collect();
    let upto: Vec<_> = spans.iter().map(|span| span.upto).collect();
    let rows = sqlx::query(
        "select e.run, e.kind, e.data ->> 'reason' as reason, e.idx, e.at,
           case when e.kind in ('released', 'failed', 'cancelled') then array(
             select d.key::int from jsonb_each(e.data -> 'detail') d where d.value ->> 'message' = $5) else '{}' end as reaped
         from unnest($1::date[], $2::uuid[], $3::bigint[], $4::bigint[]) as u(day, run, after, upto)
         cross join lateral (
           select * from event v where v.day = u.day and v.run = u.run and v.seq > u.after and v.seq <= u.upto
           order by v.seq offset 0) e
         order by e.run, e.seq",
    )
    .bind(days)
    .bind(runs)
    .bind(after)
    .bind(upto)
    .bind(leases::REAPED)
    .fetch_all(conn)
    .await?;
    let happened = |row: &sqlx::postgres::PgRow| -> Result<Happened> {
        Ok(Happened {
            run: row.try_get("run")?,
            kind: row.try_get("kind")?,
            reason: row.try_get("reason")?,
            idx: row.try_get("idx")?,
            at: instant(row, "at")?,
            reaped: row.try_get("reaped")?,
        })
    };
    rows.iter().map(happened).collect()
}

/// Attempts that were begun and not ended, by run and position. Whatever a running task run is told next ends its attempt.
#[derive(Default)]
struct Attempts {
    begun: BTreeMap<(Uuid, i32), Timestamp>,
    /// Those of them that have a row.
    kept: BTreeMap<(Uuid, i32), Timestamp>,
}

impl Attempts {
    async fn load(conn: &mut PgConnection, spans: &[Span]) -> Result<Self> {
        let runs: Vec<_> = spans.iter().map(|span| span.run).collect();
        let rows: Vec<(Uuid, i32, jiff_sqlx::Timestamp)> =
            sqlx::query_as("select run, idx, at from counting_attempt where run = any($1)")
                .bind(runs)
                .fetch_all(conn)
                .await?;
        let kept: BTreeMap<_, _> = rows
            .into_iter()
            .map(|(run, idx, at)| ((run, idx), at.to_jiff()))
            .collect();
        Ok(Self {
            begun: kept.clone(),
            kept,
        })
    }

    fn take(&mut self, event: &Happened, tally: &mut Tally) {
        // What happens to a run itself is no task run's event.
        let Some(kind) = TaskEvent::parse(&event.kind, event.reason.as_deref()) else {
            return;
        };
        for idx in &event.idx {
            if kind == TaskEvent::Claimed {
                self.begun.insert((event.run, *idx), event.at);
            } else if let Some(begun) = self.begun.remove(&(event.run, *idx)) {
                let reaped = event.reaped.contains(idx);
                let seconds = event.at.duration_since(begun).as_secs_f64();
                end((kind, reaped), seconds, tally);
            }
        }
    }

    async fn write(self, conn: &mut PgConnection) -> Result<()> {
        let (begun, kept) = (&self.begun, &self.kept);
        let gone: Vec<_> = kept.keys().filter(|key| !begun.contains_key(key)).collect();
        if !gone.is_empty() {
            sqlx::query(
                "delete from counting_attempt a using unnest($1::uuid[], $2::int[]) as u(run, idx)
                 where a.run = u.run and a.idx = u.idx",
            )
            .bind(gone.iter().map(|(run, _)| *run).collect::<Vec<_>>())
            .bind(gone.iter().map(|(_, idx)| *idx).collect::<Vec<_>>())
            .execute(&mut *conn)
            .await?;
        }
        let fresh: Vec<_> = begun
            .iter()
            .filter(|(key, at)| kept.get(key) != Some(at))
            .collect();
        if !fresh.is_empty() {
            sqlx::query(
                "insert into counting_attempt (run, idx, at) select * from unnest($1::uuid[], $2::int[], $3::timestamptz[])
                 on conflict (run, idx) do update set at = excluded.at",
            )
            .bind(fresh.iter().map(|((run, _), _)| *run).collect::<Vec<_>>())
            .bind(fresh.iter().map(|((_, idx), _)| *idx).collect::<Vec<_>>())
            .bind(fresh.iter().map(|(_, at)| pg(**at)).collect::<Vec<_>>())
            .execute(conn)
            .await?;
        }
        Ok(())
    }
}

/// Counts the end of an attempt. To ask, to park, to expand, to be left out by a `when` or given back is none, as the planner has it.
fn end((kind, reaped): (TaskEvent, bool), seconds: f64, tally: &mut Tally) {
    let counts = match kind {
        TaskEvent::Succeeded
        | TaskEvent::Cached
        | TaskEvent::Failed { .. }
        | TaskEvent::RetryPlanned
        | TaskEvent::Rejected { .. }
        | TaskEvent::Cancelled { .. } => true,
        _ => reaped,
    };
    if counts {
        tally.add(ATTEMPTS, &[], 1.0);
    }
    if reaped {
        tally.add(REAPED, &[], 1.0);
    }
    // Where a gate closed or earlier outputs were taken, the plugin did not run.
    if counts && !matches!(kind, TaskEvent::Cached | TaskEvent::Rejected { .. }) {
        tally.observe(&TASK_DURATION, &[], seconds);
    }
}

async fn move_on(conn: &mut PgConnection, spans: &[Span]) -> Result<()> {
    sqlx::query(
        "update counting c set seq = u.seq, done = u.done
         from unnest($1::uuid[], $2::bigint[], $3::boolean[]) as u(run, seq, done) where c.run = u.run",
    )
    .bind(spans.iter().map(|span| span.run).collect::<Vec<_>>())
    .bind(spans.iter().map(|span| span.upto).collect::<Vec<_>>())
    .bind(spans.iter().map(Span::is_last).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}
