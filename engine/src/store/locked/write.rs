//! Writing what a transaction did to a run: each table once, whatever the number of its task runs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::{Result, bell, clean, day_of, leases, pg};
use super::{LockedRun, Record};
use crate::graph::Placement;
use crate::id::TaskIdx;
use crate::plan::TaskView;
use crate::state::Reason;
use crate::state::task_run::TaskState;

impl LockedRun {
    /// Writes all that changed.
    pub async fn write(self, conn: &mut PgConnection, now: Timestamp) -> Result<()> {
        bell::note(self.rings());
        self.write_tasks(conn, now).await?;
        self.write_ready(conn).await?;
        self.write_leases(conn).await?;
        self.write_slots(conn).await?;
        self.void_approvals(conn, now).await?;
        self.write_events(conn, now).await?;
        self.write_run(conn, now).await
    }

    async fn write_tasks(&self, conn: &mut PgConnection, now: Timestamp) -> Result<()> {
        let changed: Vec<(TaskIdx, &TaskView)> = self
            .tasks
            .iter()
            .filter(|(idx, view)| self.before.get(idx) != Some(view) || self.opened.contains_key(idx))
            .map(|(idx, view)| (*idx, view))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let pick = |f: &dyn Fn(&TaskView) -> Option<String>| -> Vec<Option<String>> {
            changed.iter().map(|(_, t)| f(t)).collect()
        };
        let insert = self.before.is_empty();
        let sql = if insert { INSERT_TASKS } else { UPDATE_TASKS };
        sqlx::query(sql)
            .bind(self.id.0)
            .bind(changed.iter().map(|(idx, _)| *idx as i32).collect::<Vec<_>>())
            .bind(pick(&|t| Some(t.state.as_str().to_owned())))
            .bind(pick(&|t| t.state.reason().map(|r| r.as_str().to_owned())))
            .bind(changed.iter().map(|(_, t)| t.unmet as i32).collect::<Vec<_>>())
            .bind(changed.iter().map(|(_, t)| t.seen.0).collect::<Vec<_>>())
            .bind(changed.iter().map(|(_, t)| t.epoch).collect::<Vec<_>>())
            .bind(changed.iter().map(|(_, t)| t.attempt as i32).collect::<Vec<_>>())
            .bind(changed.iter().map(|(_, t)| t.lost as i32).collect::<Vec<_>>())
            .bind(
                changed
                    .iter()
                    .map(|(idx, _)| self.opened.get(idx).copied())
                    .collect::<Vec<_>>(),
            )
            .bind(pg(now))
            .execute(conn)
            .await?;
        Ok(())
    }

    async fn write_ready(&self, conn: &mut PgConnection) -> Result<()> {
        for (placement, (idx, at)) in self.placed() {
            sqlx::query(
                "insert into ready (queue, rank, at, run, idx, pool)
                 select $4, at - $5 * interval '1 minute', at, $1, idx, $6
                 from unnest($2::int[], $3::timestamptz[]) as u(idx, at)
                 on conflict (run, idx) do nothing",
            )
            .bind(self.id.0)
            .bind(idx)
            .bind(at)
            .bind(&placement.queue)
            .bind(f64::from(placement.priority))
            .bind(&placement.pool)
            .execute(&mut *conn)
            .await?;
        }
        // A claimer may hold a row: it finds the task run no longer claimable under the run's lock and drops it.
        let gone = self.left(TaskState::comes_due, false);
        if gone.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "delete from ready where ctid = any(array(
               select ctid from ready where run = $1 and idx = any($2) order by idx for update skip locked))",
        )
        .bind(self.id.0)
        .bind(gone)
        .execute(conn)
        .await?;
        Ok(())
    }

    async fn write_leases(&self, conn: &mut PgConnection) -> Result<()> {
        let ended = self.left(|state| state == TaskState::Running, true);
        if !ended.is_empty() {
            sqlx::query(
                "delete from lease where ctid = any(array(
                   select ctid from lease where run = $1 and idx = any($2) order by idx for update))",
            )
            .bind(self.id.0)
            .bind(ended)
            .execute(&mut *conn)
            .await?;
        }
        if self.leases.is_empty() {
            return Ok(());
        }
        let idx: Vec<i32> = self.leases.keys().map(|idx| *idx as i32).collect();
        let epoch: Vec<i64> = self
            .leases
            .keys()
            .map(|idx| self.tasks.get(idx).map_or(0, |t| t.epoch))
            .collect();
        let worker: Vec<Uuid> = self.leases.values().copied().collect();
        sqlx::query(
            "insert into lease (run, idx, epoch, worker, until)
             select $1, idx, epoch, worker, clock_timestamp() + $5 * interval '1 millisecond'
             from unnest($2::int[], $3::bigint[], $4::uuid[]) as u(idx, epoch, worker)",
        )
        .bind(self.id.0)
        .bind(idx)
        .bind(epoch)
        .bind(worker)
        .bind(leases::LEASE.as_millis() as f64)
        .execute(conn)
        .await?;
        Ok(())
    }

    /// What became ready, by where it waits: usually at one place.
    fn placed(&self) -> BTreeMap<&Placement, (Vec<i32>, Vec<jiff_sqlx::Timestamp>)> {
        let mut placed: BTreeMap<_, (Vec<_>, Vec<_>)> = BTreeMap::new();
        for (idx, at) in &self.ready {
            let (places, times) = placed.entry(&self.flow.graph.task(*idx).placement).or_default();
            places.push(*idx as i32);
            times.push(pg(*at));
        }
        placed
    }

    /// Task runs whose attempt has ended here, and with it their hold on a slot.
    pub(super) fn freed_slots(&self) -> Vec<i32> {
        let pooled = |idx: &i32| {
            let task = self.flow.graph.task(*idx as TaskIdx);
            task.placement.pool.is_some()
        };
        let mut ended = self.left(|state| state == TaskState::Running, true);
        ended.retain(pooled);
        ended
    }

    async fn write_slots(&self, conn: &mut PgConnection) -> Result<()> {
        let freed = self.freed_slots();
        if !freed.is_empty() {
            sqlx::query(
                "update slot set run = null, idx = null, epoch = null where run = $1 and idx = any($2)",
            )
            .bind(self.id.0)
            .bind(freed)
            .execute(&mut *conn)
            .await?;
        }
        for (idx, no) in &self.slots {
            let task = self.flow.graph.task(*idx);
            // The claim that picked it has locked it while it was free.
            sqlx::query("update slot set run = $3, idx = $4, epoch = $5 where pool = $1 and no = $2")
                .bind(&task.placement.pool)
                .bind(no)
                .bind(self.id.0)
                .bind(*idx as i32)
                .bind(self.tasks.get(idx).map_or(0, |t| t.epoch))
                .execute(&mut *conn)
                .await?;
        }
        Ok(())
    }

    /// Closes what still asks for task runs that no longer wait: nobody decided, their run was stopped.
    async fn void_approvals(&self, conn: &mut PgConnection, now: Timestamp) -> Result<()> {
        let waits = TaskState::Waiting {
            reason: Reason::Approval,
        };
        let gone = self.left(|state| state == waits, false);
        if gone.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "update approval set state = 'void', closed_at = $3
             where run = $1 and idx = any($2) and state = 'open'",
        )
        .bind(self.id.0)
        .bind(gone)
        .bind(pg(now))
        .execute(conn)
        .await?;
        Ok(())
    }

    /// Task runs that were in such a state and are no longer (or, claimed anew in this transaction, are again).
    fn left(&self, such: impl Fn(TaskState) -> bool, renewed: bool) -> Vec<i32> {
        let moved = |idx: &TaskIdx, before: &TaskView| {
            self.tasks
                .get(idx)
                .is_some_and(|now| now.state != before.state || (renewed && now.epoch != before.epoch))
        };
        self.before
            .iter()
            .filter(|(idx, before)| such(before.state) && moved(idx, before))
            .map(|(idx, _)| *idx as i32)
            .collect()
    }

    async fn write_events(&self, conn: &mut PgConnection, now: Timestamp) -> Result<()> {
        if self.journal.is_empty() {
            return Ok(());
        }
        let seq: Vec<i64> = (self.next_seq..).take(self.journal.len()).collect();
        let kind: Vec<&str> = self.journal.iter().map(|r| r.kind).collect();
        let idx: Vec<String> = self.journal.iter().map(|r| array_literal(&r.idx)).collect();
        let data: Vec<Option<Value>> = self.journal.iter().map(Record::data).collect();
        sqlx::query(
            "insert into event (day, run, seq, kind, idx, at, data)
             select $1, $2, seq, kind, idx::int[], $7, data
             from unnest($3::bigint[], $4::text[], $5::text[], $6::jsonb[]) as u(seq, kind, idx, data)",
        )
        .bind(day_of(self.id))
        .bind(self.id.0)
        .bind(seq)
        .bind(kind)
        .bind(idx)
        .bind(data)
        .bind(pg(now))
        .execute(conn)
        .await?;
        Ok(())
    }

    async fn write_run(&self, conn: &mut PgConnection, now: Timestamp) -> Result<()> {
        sqlx::query(
            "update run set state = $2::run_state, reason = $3, open = $4, active = $5, seen = $6,
               next_seq = next_seq + $7,
               started_at = case when $2 <> 'queued' then coalesce(started_at, $8) end,
               finished_at = case when $9 then $8 end,
               waited = waited + case when waiting_since is not null and $2 <> 'waiting'
                                      then $8 - waiting_since else '0' end,
               waiting_since = case when $2 = 'waiting' then coalesce(waiting_since, $8) end
             where id = $1",
        )
        .bind(self.id.0)
        .bind(self.view.state.as_str())
        .bind(self.view.reason.map(Reason::as_str))
        .bind(self.view.open as i32)
        .bind(self.view.active as i32)
        .bind(self.view.seen.0)
        .bind(self.journal.len() as i64)
        .bind(pg(now))
        .bind(self.view.state.is_terminal())
        .execute(&mut *conn)
        .await?;
        if self.view.state.is_terminal() {
            sqlx::query("delete from active_run where run = $1")
                .bind(self.id.0)
                .execute(conn)
                .await?;
        }
        Ok(())
    }
}

impl Record {
    fn data(&self) -> Option<Value> {
        let mut fields = Map::new();
        if let Some(reason) = self.reason {
            fields.insert("reason".to_owned(), json!(reason));
        }
        if !self.detail.is_empty() {
            fields.insert("detail".to_owned(), Value::Object(self.detail.clone()));
        }
        (!fields.is_empty()).then(|| clean(Value::Object(fields)))
    }
}

fn array_literal(idx: &[TaskIdx]) -> String {
    let numbers: Vec<String> = idx.iter().map(ToString::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}

const UPDATE_TASKS: &str =
    "update task_run t set state = u.state::task_state, reason = u.reason, unmet = u.unmet, seen = u.seen,
       epoch = u.epoch, attempt = u.attempt, lost = u.lost,
       opened_by = case when u.reason is distinct from 'approval' then coalesce(u.opened_by, t.opened_by) end,
       started_at = case when u.state = 'running' then coalesce(t.started_at, $11) else t.started_at end,
       finished_at = case when u.state in ('succeeded', 'failed', 'rejected', 'skipped', 'cancelled') then $11 end
     from unnest($2::int[], $3::text[], $4::text[], $5::int[], $6::smallint[], $7::bigint[], $8::int[], $9::int[],
                 $10::uuid[]) as u(idx, state, reason, unmet, seen, epoch, attempt, lost, opened_by)
     where t.run = $1 and t.idx = u.idx";

const INSERT_TASKS: &str =
    "insert into task_run (run, idx, state, reason, unmet, seen, epoch, attempt, lost, opened_by, finished_at)
     select $1, idx, state::task_state, reason, unmet, seen, epoch, attempt, lost, opened_by,
       case when state in ('succeeded', 'failed', 'rejected', 'skipped', 'cancelled') then $11 end
     from unnest($2::int[], $3::text[], $4::text[], $5::int[], $6::smallint[], $7::bigint[], $8::int[], $9::int[],
                 $10::uuid[]) as u(idx, state, reason, unmet, seen, epoch, attempt, lost, opened_by)";
