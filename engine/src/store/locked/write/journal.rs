//! The runs' own rows, and the events that tell what became of them.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres};
use uuid::Uuid;

use super::super::super::{Result, clean, day_of, pg};
use super::super::{LockedRun, Record};
use crate::id::TaskIdx;
use crate::state::Reason;

/// Events as columns.
#[derive(Default)]
struct Journal {
    day: Vec<jiff_sqlx::Date>,
    run: Vec<Uuid>,
    seq: Vec<i64>,
    kind: Vec<&'static str>,
    /// Array literals: PostgreSQL has no arrays of arrays of different lengths.
    idx: Vec<String>,
    data: Vec<Option<Value>>,
}

impl Journal {
    fn of(runs: &[LockedRun]) -> Self {
        let mut all = Self::default();
        for locked in runs {
            for (number, record) in (locked.next_seq..).zip(&locked.journal) {
                all.day.push(day_of(locked.id));
                all.run.push(locked.id.0);
                all.seq.push(number);
                all.kind.push(record.kind);
                all.idx.push(array_literal(&record.idx));
                all.data.push(record.data());
            }
        }
        all
    }

    fn bind(self, query: Written) -> Written {
        query
            .bind(self.day)
            .bind(self.run)
            .bind(self.seq)
            .bind(self.kind)
            .bind(self.idx)
            .bind(self.data)
    }
}

type Written = Query<'static, Postgres, PgArguments>;

/// Writes the events of a new run.
pub(super) async fn write_events(conn: &mut PgConnection, runs: &[LockedRun], now: Timestamp) -> Result<()> {
    let journal = Journal::of(runs);
    if !journal.run.is_empty() {
        journal
            .bind(sqlx::query(INSERT_EVENTS).bind(pg(now)))
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Writes the runs and their events, in one round trip.
pub(super) async fn write_runs(conn: &mut PgConnection, runs: &[LockedRun], now: Timestamp) -> Result<()> {
    let views = || runs.iter().map(|run| &run.view);
    let ended = runs.iter().filter(|run| run.view.state.is_terminal());
    let ended: Vec<Uuid> = ended.map(|run| run.id.0).collect();
    let update = Journal::of(runs)
        .bind(sqlx::query(UPDATE_RUNS).bind(pg(now)))
        .bind(runs.iter().map(|run| run.id.0).collect::<Vec<_>>())
        .bind(views().map(|view| view.state.as_str()).collect::<Vec<_>>())
        .bind(
            views()
                .map(|view| view.reason.map(Reason::as_str))
                .collect::<Vec<_>>(),
        )
        .bind(views().map(|view| view.open as i32).collect::<Vec<_>>())
        .bind(views().map(|view| view.active as i32).collect::<Vec<_>>())
        .bind(views().map(|view| view.seen.0).collect::<Vec<_>>())
        .bind(
            runs.iter()
                .map(|run| run.journal.len() as i64)
                .collect::<Vec<_>>(),
        )
        .bind(views().map(|view| view.state.is_terminal()).collect::<Vec<_>>());
    update.execute(&mut *conn).await?;
    if !ended.is_empty() {
        // A row for the scheduler, only where a flow waits for this end.
        sqlx::query(
            "with gone as (delete from active_run where run = any($1))
             insert into ended_run (run, flow, state)
             select r.id, r.flow, r.state::text from run r
             where r.id = any($1) and exists (
               select from flow_trigger t where t.source = r.flow and r.state::text = any(t.states))
             on conflict do nothing",
        )
        .bind(ended)
        .execute(conn)
        .await?;
    }
    Ok(())
}

impl Record {
    fn data(&self) -> Option<Value> {
        let mut fields = Map::new();
        if let Some(reason) = self.reason {
            fields.insert("reason".to_owned(), json!(reason));
        }
        match self.detail_of_each() {
            Some(detail) => drop(fields.insert("each".to_owned(), detail.clone())),
            None if self.detail.is_empty() => {}
            None => drop(fields.insert("detail".to_owned(), Value::Object(self.detail.clone()))),
        }
        (!fields.is_empty()).then(|| clean(Value::Object(fields)))
    }

    /// What all its task runs have in common, where that is all there is to say: a batch of claims tells its worker once.
    fn detail_of_each(&self) -> Option<&Value> {
        let first = self.detail.values().next()?;
        let common = self.detail.len() == self.idx.len()
            && self.idx.len() > 1
            && first.get("message").is_none()
            && self.detail.values().all(|detail| detail == first);
        common.then_some(first)
    }
}

fn array_literal(idx: &[TaskIdx]) -> String {
    let numbers: Vec<String> = idx.iter().map(ToString::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}

const INSERT_EVENTS: &str = "insert into event (day, run, seq, kind, idx, at, data)
     select day, run, seq, kind, idx::int[], $1, data
     from unnest($2::date[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::jsonb[])
       as u(day, run, seq, kind, idx, data)";

const UPDATE_RUNS: &str = "with told as (
       insert into event (day, run, seq, kind, idx, at, data)
       select day, run, seq, kind, idx::int[], $1, data
       from unnest($2::date[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::jsonb[])
         as u(day, run, seq, kind, idx, data))
     update run r set state = u.state::run_state, reason = u.reason, open = u.open, active = u.active, seen = u.seen,
       next_seq = r.next_seq + u.events,
       started_at = case when u.state <> 'queued' then coalesce(r.started_at, $1) end,
       finished_at = case when u.over then $1 end,
       waited = r.waited + case when r.waiting_since is not null and u.state <> 'waiting'
                                then $1 - r.waiting_since else '0' end,
       waiting_since = case when u.state = 'waiting' then coalesce(r.waiting_since, $1) end
     from unnest($8::uuid[], $9::text[], $10::text[], $11::int[], $12::int[], $13::smallint[], $14::bigint[],
                 $15::boolean[]) as u(id, state, reason, open, active, seen, events, over)
     where r.id = u.id";
