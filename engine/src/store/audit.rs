//! The auditor: what must hold whatever happened. Every test calls it at its end; it reads only.
//!
//! It folds each run's events through the state machines and compares the result with the rows, so a transition that was
//! written without its event, twice, or against the rules is found.

mod sub_runs;
mod ticks;

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::Row;
use uuid::Uuid;

use super::{Result, Store};
use crate::plugin::digest_file;
use crate::state::run::{RunEvent, RunState};
use crate::state::task_run::{TaskEvent, TaskState};

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which invariant is broken.
    pub invariant: &'static str,
    /// Where, and how.
    pub detail: String,
}

/// Queries that must answer no row; each row is one finding, told by its first column.
const CENSUS: &[(&str, &str)] = &[
    (
        "a lease belongs to a running task run of the same epoch",
        "select format('%s/%s epoch %s', l.run, l.idx, l.epoch) from lease l
         left join task_run t on t.run = l.run and t.idx = l.idx and t.state = 'running' and t.epoch = l.epoch
         where t.run is null",
    ),
    (
        "a running task run has a lease",
        "select format('%s/%s', t.run, t.idx) from task_run t
         left join lease l on l.run = t.run and l.idx = t.idx where t.state = 'running' and l.run is null",
    ),
    (
        "the slots of a pool are held by the attempts that run and want one, each one of its pool",
        "select format('%s/%s epoch %s holds a slot of %s, wants one of %s', coalesce(s.run, t.run),
             coalesce(s.idx, t.idx), coalesce(s.epoch, t.epoch), coalesce(s.pool, 'nothing'), coalesce(t.pool, 'nothing'))
         from (select * from slot where run is not null) s
         full join (select t.run, t.idx, t.epoch, v.definition -> 'graph' -> (t.idx % json_array_length(v.definition -> 'graph'))
                      -> 'placement' ->> 'pool' as pool
                    from task_run t join run r on r.id = t.run join flow_version v on v.hash = r.version
                    where t.state = 'running') t on t.run = s.run and t.idx = s.idx and t.epoch = s.epoch
         where s.pool is distinct from t.pool",
    ),
    (
        "what took the place of work is what an attempt with the same key had made",
        "select format('%s/%s', h.run, h.idx) from cache_hit h
         join handed_on o on o.run = h.run and o.idx = h.idx
         where not exists (select from handed_on made where made.run = h.origin and made.outputs = o.outputs)",
    ),
    (
        "what can be claimed is in ready, and nothing else",
        "select format('%s/%s', coalesce(t.run, r.run), coalesce(t.idx, r.idx))
         from (select run, idx from task_run where state in ('ready', 'backoff') or (state = 'waiting' and reason in ('timer', 'poll'))) t
         full join ready r on r.run = t.run and r.idx = t.idx where t.run is null or r.run is null",
    ),
    (
        "a run counts its task runs",
        "select format('%s: %s open and %s active, counted %s and %s', r.id, r.open, r.active, c.open, c.active)
         from run r join (select run,
           count(*) filter (where finished_at is null) as open,
           count(*) filter (where state in ('ready', 'running', 'backoff')
                              or (state = 'waiting' and reason not in ('approval', 'items'))) as active
           from task_run group by run) c on c.run = r.id
         where (r.open, r.active) is distinct from (c.open::int, c.active::int)",
    ),
    (
        "a run is in active_run exactly while it is not terminal",
        "select coalesce(r.id, a.run)::text from (select id from run where finished_at is null) r
         full join active_run a on a.run = r.id where r.id is null or a.run is null",
    ),
    (
        "the head of a map counts its items, and ends after them",
        "with size as (select r.id as run, json_array_length(v.definition -> 'graph') as n
           from run r join flow_version v on v.hash = r.version),
         map as (select t.run, t.idx % s.n as head, count(*) filter (where t.finished_at is null) as open
           from task_run t join size s on s.run = t.run where t.idx >= s.n group by 1, 2)
         select format('%s/%s: %s items open, head %s %s with %s unmet', m.run, m.head, m.open, h.state, h.reason, h.unmet)
         from map m left join task_run h on h.run = m.run and h.idx = m.head
         where h.run is null or case when h.state = 'waiting' and h.reason = 'items' then h.unmet <> m.open or m.open = 0
                                     else m.open > 0 or h.finished_at is null end",
    ),
    (
        "a map has so many items under way as it may",
        "select format('%s/%s: %s under way, %s may be', t.run, t.head, t.moving, t.most)
         from (select t.run, t.idx % s.n as head, count(*) as moving,
                 max((s.graph -> (t.idx % s.n) ->> 'max_parallel')::int) as most
               from task_run t join (select r.id as run, v.definition -> 'graph' as graph,
                                       json_array_length(v.definition -> 'graph') as n
                                     from run r join flow_version v on v.hash = r.version) s on s.run = t.run
               where t.idx >= s.n and t.finished_at is null and t.state <> 'blocked' group by 1, 2) t
         where t.moving > t.most",
    ),
    (
        "an item has a value",
        "select format('%s/%s', t.run, t.idx) from task_run t join run r on r.id = t.run
         join flow_version v on v.hash = r.version left join map_item i on i.run = t.run and i.idx = t.idx
         where t.idx >= json_array_length(v.definition -> 'graph') and i.run is null",
    ),
    (
        "a task run that runs, or has run, says since when",
        "select format('%s/%s', run, idx) from task_run
         where started_at is null and (state = 'running' or (attempt > 0 and state = 'succeeded' and reason is null))",
    ),
    (
        "outputs belong to a task run that succeeded",
        "select format('%s/%s', o.run, o.idx) from task_output o
         join task_run t on t.run = o.run and t.idx = o.idx where t.state <> 'succeeded'",
    ),
    (
        "a tick that made a run has that run",
        "select format('%s/%s %s', k.flow, k.schedule, k.scheduled_for) from tick k
         left join run r on r.id = k.run where k.outcome = 'run' and r.id is null",
    ),
    (
        "no two runs share a tick",
        "select format('%s/%s %s', flow, schedule, scheduled_for) from run where schedule is not null
         group by flow, schedule, scheduled_for having count(*) > 1",
    ),
    (
        "a run of a tick is the outcome of that tick",
        "select r.id::text from run r
         left join tick k on k.flow = r.flow and k.schedule = r.schedule and k.scheduled_for = r.scheduled_for
           and k.run = r.id
         where r.schedule is not null and k.run is null",
    ),
    (
        "accepted outputs are those of the newest epoch",
        "select format('%s/%s: outputs of epoch %s, newest is %s', o.run, o.idx, o.epoch, t.epoch) from task_output o
         join task_run t on t.run = o.run and t.idx = o.idx
         where o.epoch <> t.epoch and t.reason is distinct from 'carried'",
    ),
    (
        "no lease stands that ended ten seconds ago",
        "select format('%s/%s epoch %s until %s', run, idx, epoch, until) from lease
         where until < clock_timestamp() - interval '10 seconds'",
    ),
    (
        "the number of a log line has no gap",
        "select format('%s/%s epoch %s: %s lines, numbered from %s to %s', run, idx, epoch, count(*), min(seq), max(seq))
         from log group by run, idx, epoch having count(*) <> max(seq) or min(seq) <> 1",
    ),
    (
        "nothing was written under an epoch that was never given",
        "select format('%s/%s epoch %s', w.run, w.idx, w.epoch) from (
           select run, idx, epoch from log union select run, idx, epoch from metric
           union select run, idx, epoch from artifact) w
         left join task_run t on t.run = w.run and t.idx = w.idx and w.epoch between 1 and t.epoch
         where t.run is null",
    ),
    (
        "the moves of an alias follow one another",
        "select format('%s@%s move %s: from %s, but the move before it left %s', model, alias, number,
             coalesce(before::text, 'nothing'), coalesce(left_at::text, 'nothing'))
         from (select *, lag(version) over w as left_at, row_number() over w as nth from alias_move
               window w as (partition by model, alias order by number)) m
         where before is distinct from left_at or number <> nth",
    ),
    (
        "an alias points to where its newest move left it",
        "select format('%s@%s', coalesce(a.model, m.model), coalesce(a.alias, m.alias))
         from (select * from model_alias where alias <> 'previous' and version is not null) a
         full join (select distinct on (model, alias) model, alias, version from alias_move
                    order by model, alias, number desc) m on m.model = a.model and m.alias = a.alias
         where a.version is distinct from m.version",
    ),
    (
        "a move starts from what its approval showed",
        "select format('%s@%s move %s', m.model, m.alias, m.number) from alias_move m
         join approval a on a.id = m.approval
         where a.evidence #>> '{world,alias}' = m.model || '@' || m.alias
           and a.evidence #>> '{world,version}' is distinct from m.before::text",
    ),
    (
        "a move is in the ledger",
        "select format('%s@%s move %s', m.model, m.alias, m.number) from alias_move m
         where m.run is not null and not exists (select from ledger l where l.run = m.run and l.kind = 'alias_moved'
           and l.body::jsonb @> jsonb_build_object('model', m.model, 'alias', m.alias, 'to', m.version))",
    ),
    (
        "what waits for an approval has exactly one that is open, and the other way round",
        "select format('%s/%s', coalesce(t.run, a.run), coalesce(t.idx, a.idx))
         from (select run, idx from task_run where state = 'waiting' and reason = 'approval') t
         full join (select run, idx from approval where state = 'open') a on a.run = t.run and a.idx = t.idx
         where t.run is null or a.run is null",
    ),
    (
        "a decision by people has the votes for it, on its evidence",
        "select format('%s: %s', a.id, a.state) from approval a
         cross join lateral (select count(*) filter (where decision = 'approve') as yes,
                               count(*) filter (where decision = 'reject') as no,
                               count(*) filter (where digest <> a.digest) as other
                             from vote where approval = a.id) v
         where (a.state = 'approved' and (v.yes < a.required or v.no > 0)) or (a.state = 'rejected' and v.no = 0)
            or v.other > 0",
    ),
    (
        "nobody decides on a run they asked for",
        "select format('%s: %s', a.id, v.actor) from vote v join approval a on a.id = v.approval
         where v.actor = a.requester and not a.allow_requester",
    ),
    (
        "a decision and an expiry are in the ledger, once",
        "select format('%s: %s', a.id, a.state) from approval a
         where a.state in ('approved', 'rejected', 'expired') and 1 <> (
           select count(*) from ledger l where l.run = a.run and l.body::jsonb ->> 'approval' = a.id::text
             and l.kind = case a.state when 'expired' then 'approval_expired' else 'approval_decided' end)",
    ),
    (
        "the digest of an approval is that of its evidence",
        "select id::text from approval
         where digest <> encode(sha256(convert_to(evidence::text, 'UTF8')), 'hex')",
    ),
    (
        "what opened a gate is an approved approval of that task run",
        "select format('%s/%s by %s', t.run, t.idx, t.opened_by) from task_run t
         left join approval a on a.id = t.opened_by and a.run = t.run and a.idx = t.idx and a.state = 'approved'
         where t.opened_by is not null and a.id is null",
    ),
    (
        "nothing behind a gate succeeded before the gate had opened",
        "select format('%s/%s', t.run, t.idx) from task_run t
         join run r on r.id = t.run join flow_version v on v.hash = r.version
         where t.state = 'succeeded' and (t.reason is null or t.reason = 'cached') and t.opened_by is null
           and json_typeof(v.definition -> 'graph' -> t.idx -> 'gate') = 'object'
           and not exists (select from gate_result g where g.run = t.run and g.idx = t.idx and g.epoch = t.epoch
                             and g.opening = 'opens')",
    ),
    (
        "the number of an event has no gap",
        "select format('%s: %s events, numbered to %s', run, count(*), max(seq)) from event
         group by run having count(*) <> max(seq)",
    ),
];

impl Store {
    /// All findings; empty when all is well.
    pub async fn audit(&self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for (invariant, sql) in CENSUS.iter().chain(sub_runs::CENSUS) {
            let rows: Vec<String> = sqlx::query_scalar(*sql).fetch_all(self.pool()).await?;
            findings.extend(rows.into_iter().map(|detail| Finding { invariant, detail }));
        }
        self.fold_events(&mut findings).await?;
        let ledger = self.verify_ledger().await?.broken;
        findings.extend(ledger.map(|broken| Finding {
            invariant: "the ledger's chain verifies",
            detail: format!("entry {}: {}", broken.seq, broken.why),
        }));
        self.check_files(&mut findings).await?;
        ticks::check(self, &mut findings).await?;
        Ok(findings)
    }

    /// What accepted attempts made lies where it was recorded, byte for byte; on this machine's disks only.
    async fn check_files(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let rows: Vec<(String, i64, String)> = sqlx::query_as(
            "select a.uri, a.size, a.sha256 from artifact a
             join task_run t on t.run = a.run and t.idx = a.idx and t.epoch = a.epoch
             where t.state = 'succeeded' and a.uri like 'file://%'",
        )
        .fetch_all(self.pool())
        .await?;
        for (uri, size, sha256) in rows {
            let path = uri.strip_prefix("file://").unwrap_or(&uri);
            let found = digest_file(path.into()).await;
            let detail = match found {
                Ok((bytes, sum)) if bytes == size as u64 && sum == sha256 => continue,
                Ok((bytes, sum)) => {
                    format!("{uri}: {size} bytes and {sha256} recorded, {bytes} and {sum} found")
                }
                Err(error) => format!("{uri}: {error}"),
            };
            findings.push(Finding {
                invariant: "the artifacts of what succeeded are there and unchanged",
                detail,
            });
        }
        Ok(())
    }

    async fn fold_events(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let rows = sqlx::query("select run, kind, idx, data from event order by run, seq")
            .fetch_all(self.pool())
            .await?;
        let mut folded = Folded::default();
        for row in &rows {
            let data: Option<Value> = row.try_get("data")?;
            let reason = data
                .as_ref()
                .and_then(|d| d.get("reason"))
                .and_then(Value::as_str);
            folded.take(
                (row.try_get("run")?, row.try_get("kind")?, row.try_get("idx")?),
                reason,
                findings,
            );
        }
        folded.compare(self, findings).await
    }
}

/// States as the events tell them.
#[derive(Default)]
struct Folded {
    runs: BTreeMap<Uuid, RunState>,
    tasks: BTreeMap<(Uuid, i32), TaskState>,
}

impl Folded {
    fn take(
        &mut self,
        (run, kind, idx): (Uuid, String, Vec<i32>),
        reason: Option<&str>,
        findings: &mut Vec<Finding>,
    ) {
        if let Some(event) = RunEvent::parse(&kind) {
            let state = self.runs.entry(run).or_insert(RunState::Queued);
            match state.apply(event) {
                Ok(next) => *state = next,
                Err(e) => findings.push(illegal(format!("{run}: {e}"))),
            }
            return;
        }
        let Some(event) = TaskEvent::parse(&kind, reason) else {
            findings.push(illegal(format!("{run}: no event is called `{kind}`")));
            return;
        };
        for idx in idx {
            let state = self.tasks.entry((run, idx)).or_insert(TaskState::Blocked);
            match state.apply(event) {
                Ok(next) => *state = next,
                Err(e) => findings.push(illegal(format!("{run}/{idx}: {e}"))),
            }
        }
    }

    async fn compare(self, store: &Store, findings: &mut Vec<Finding>) -> Result<()> {
        let differs = |what: String, row: &str, events: &str| Finding {
            invariant: "the events of a run, folded, give its rows",
            detail: format!("{what}: row says {row}, events say {events}"),
        };
        let runs: Vec<(Uuid, String)> = sqlx::query_as("select id, state::text from run")
            .fetch_all(store.pool())
            .await?;
        for (id, row) in runs {
            let told = self.runs.get(&id).map_or("queued", |s| s.as_str());
            if told != row {
                findings.push(differs(id.to_string(), &row, told));
            }
        }
        let tasks: Vec<(Uuid, i32, String)> = sqlx::query_as("select run, idx, state::text from task_run")
            .fetch_all(store.pool())
            .await?;
        for (run, idx, row) in tasks {
            let told = self.tasks.get(&(run, idx)).map_or("blocked", |s| s.as_str());
            if told != row {
                findings.push(differs(format!("{run}/{idx}"), &row, told));
            }
        }
        Ok(())
    }
}

fn illegal(detail: String) -> Finding {
    Finding {
        invariant: "every event is a legal edge",
        detail,
    }
}
