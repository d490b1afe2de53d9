//! Approvals: asked by an attempt that reached its gate, closed by people, by time, by a newer run, or with their run.
//!
//! ```text
//! open ─► approved    enough people said yes: the task run is ready, opened by it
//!   ├───► rejected    one said no: `rejected`, declined
//!   ├───► expired     nobody said enough in time: `rejected` or `failed`, expired
//!   ├───► superseded  a newer run of the flow reached the same gate: `rejected`, superseded
//!   └───► void        the run was stopped
//! ```
//!
//! Whoever closes one holds its run's lock, then the approval's. Whether it is too late, the database's clock says, in the statement
//! that closes it. The end of the approval and that of its task run are one transaction; a decision's ledger entry belongs to it.

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::advance::Report;
use super::claim::Claim;
use super::ledger::{self, Entry};
use super::locked::{Details, LockedRun};
use super::notices::{self, Telling};
use super::{Result, Store, StoreError, pg};
use crate::gate::{ApprovalSpec, Evidence, JudgedRule, OnExpire};
use crate::graph::Moment;
use crate::id::{RunId, TaskIdx};
use crate::plan::Outcome;
use crate::state::Reason;
use crate::state::task_run::TaskState;

/// What a gate that did not open by itself came to.
#[derive(Debug, Clone)]
pub struct Reached {
    /// Each rule with what it came to.
    pub rules: Vec<JudgedRule>,
    /// What people are asked; `None`: a rule failed.
    pub ask: Option<Ask>,
}

/// A question to people.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Identity of the approval, chosen by the attempt.
    pub id: Uuid,
    /// What the decision rests on.
    pub evidence: Evidence,
    /// Who may decide, and by when.
    pub spec: ApprovalSpec,
    /// The question in words.
    pub message: Option<String>,
}

/// What an approval that opened a gate was given on.
#[derive(Debug, Clone)]
pub struct OpenedOn {
    /// The facts of the world, as frozen.
    pub world: Value,
    /// The task run has acted on it already: the world is another by its own doing.
    pub acted: bool,
}

impl Store {
    /// Notes that a gate opened by its rules; a lost lease notes nothing.
    pub async fn note_open_gate(&self, claim: &Claim, rules: &[JudgedRule], now: Timestamp) -> Result<()> {
        let rules = text_of(&rules)?;
        sqlx::query(
            "insert into gate_result (run, idx, epoch, opening, rules, at)
             select run, idx, epoch, 'opens', $4::text::json, $5 from task_run
             where run = $1 and idx = $2 and epoch = $3 and state = 'running'
             on conflict (run, idx, epoch) do update set opening = 'opens', rules = excluded.rules, at = excluded.at",
        )
        .bind(claim.run.0)
        .bind(claim.idx as i32)
        .bind(claim.epoch)
        .bind(rules)
        .bind(pg(now))
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// What an approval was given on.
    pub async fn opened_on(&self, approval: Uuid) -> Result<OpenedOn> {
        let row = sqlx::query(
            "select (a.evidence -> 'world')::text as world,
               exists (select from alias_move m where m.run = a.run and m.idx = a.idx and m.approval = a.id) as acted
             from approval a where a.id = $1",
        )
        .bind(approval)
        .fetch_one(self.pool())
        .await?;
        let world: Option<String> = row.try_get("world")?;
        let world = serde_json::from_str(world.as_deref().unwrap_or("null"));
        Ok(OpenedOn {
            world: world.map_err(|e| StoreError::Corrupt {
                what: "evidence",
                why: e.to_string(),
            })?,
            acted: row.try_get("acted")?,
        })
    }
}

/// Writes what a gate came to, with the outcome that the same transaction gave its task run.
pub(super) async fn record(
    conn: &mut PgConnection,
    (run, report, reached): (&LockedRun, &Report, &Reached),
    now: Timestamp,
) -> Result<()> {
    // A run that is being stopped asks nobody.
    let waits = run
        .tasks
        .get(&report.idx)
        .is_some_and(|task| matches!(task.state, TaskState::Waiting { .. }));
    let ask = reached.ask.as_ref();
    let asked = ask.filter(|_| waits);
    if let Some(ask) = asked {
        insert(conn, (report, ask), now).await?;
        let telling = Telling {
            flow: &run.flow,
            run: run.id,
            moment: Moment::Waiting,
            which: format!(" {}", ask.id),
            body: json!({ "approval": ask.id, "task": ask.evidence.task }),
        };
        notices::tell(conn, telling, now).await?;
    }
    sqlx::query(
        "insert into gate_result (run, idx, epoch, opening, rules, approval, at)
         values ($1, $2, $3, $4, $5::text::json, $6, $7)
         on conflict (run, idx, epoch) do update set opening = excluded.opening, rules = excluded.rules,
           approval = excluded.approval, at = excluded.at, counted = false",
    )
    .bind(report.run.0)
    .bind(report.idx as i32)
    .bind(report.epoch)
    .bind(if ask.is_some() { "asks" } else { "rejected" })
    .bind(text_of(&reached.rules)?)
    .bind(asked.map(|ask| ask.id))
    .bind(pg(now))
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert(conn: &mut PgConnection, (report, ask): (&Report, &Ask), now: Timestamp) -> Result<()> {
    let Ask {
        id,
        evidence,
        spec,
        message,
    } = ask;
    // The canonical text itself is kept: whoever wants to can hash it.
    sqlx::query(
        "insert into approval (id, run, idx, flow, task, evidence, digest, message, requester, by, required,
           allow_requester, asked_at, expires_at, on_expire, remind)
         select $1, r.id, $3, r.flow, $4, $5::text::json, $6, $7, r.requester, $8, $9, $10, $11,
           clock_timestamp() + $12 * interval '1 millisecond', $13, $14::float8 * interval '1 millisecond'
         from run r where r.id = $2",
    )
    .bind(id)
    .bind(report.run.0)
    .bind(report.idx as i32)
    .bind(evidence.task.as_str())
    .bind(evidence.canonical())
    .bind(evidence.digest())
    .bind(message)
    .bind(&spec.by)
    .bind(spec.required as i32)
    .bind(spec.allow_requester)
    .bind(pg(now))
    .bind(spec.expires.as_millis() as f64)
    .bind(match spec.on_expire {
        OnExpire::Reject => "reject",
        OnExpire::Fail => "fail",
    })
    .bind(spec.remind.map(|remind| remind.as_millis() as f64))
    .execute(conn)
    .await?;
    Ok(())
}

fn text_of(rules: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(rules).map_err(|e| StoreError::Broken(e.to_string()))
}

/// An approval whose row, and whose run's row, this transaction holds.
#[derive(Debug)]
pub(super) struct Held {
    pub id: Uuid,
    pub idx: TaskIdx,
    pub state: String,
    pub digest: String,
    pub by: Vec<String>,
    pub required: i64,
    pub allow_requester: bool,
    pub expires_at: Timestamp,
    pub fails: bool,
    /// Its time is over, by the database's clock.
    pub late: bool,
}

/// Locks the run of an approval, then the approval. `None`: no such approval.
pub(super) async fn lock(
    store: &Store,
    conn: &mut PgConnection,
    id: Uuid,
) -> Result<Option<(LockedRun, Held)>> {
    let run: Option<Uuid> = sqlx::query_scalar("select run from approval where id = $1")
        .bind(id)
        .fetch_optional(&mut *conn)
        .await?;
    let Some(run) = run else { return Ok(None) };
    let Some(run) = LockedRun::lock(store, conn, RunId(run)).await? else {
        return Ok(None);
    };
    let row = sqlx::query(
        "select idx, state::text as state, digest, by, required, allow_requester, expires_at, on_expire,
           expires_at <= clock_timestamp() as late
         from approval where id = $1 for update",
    )
    .bind(id)
    .fetch_one(conn)
    .await?;
    let held = Held {
        id,
        idx: row.try_get::<i32, _>("idx")? as TaskIdx,
        state: row.try_get("state")?,
        digest: row.try_get("digest")?,
        by: row.try_get("by")?,
        required: i64::from(row.try_get::<i32, _>("required")?),
        allow_requester: row.try_get("allow_requester")?,
        expires_at: super::instant(&row, "expires_at")?,
        fails: row.try_get::<String, _>("on_expire")? == "fail",
        late: row.try_get("late")?,
    };
    Ok(Some((run, held)))
}

impl Held {
    /// What the ledger keeps of its expiry.
    pub(super) fn expiry(&self, run: &LockedRun) -> Entry {
        Entry {
            kind: "approval_expired".to_owned(),
            actor: "system".to_owned(),
            run: Some(run.id),
            body: json!({
                "approval": self.id,
                "task": run.flow.graph.task(self.idx).name,
                "evidence": self.digest,
                "on_expire": if self.fails { "fail" } else { "reject" },
            }),
        }
    }
}

/// How an approval is closed, its run's end apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    Approved,
    Declined,
    Expired,
    Superseded,
}

impl Close {
    pub(super) fn state(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Declined => "rejected",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
        }
    }

    fn outcome(self, fails: bool) -> Outcome {
        let rejected = |reason| Outcome::Rejected { reason };
        match self {
            Self::Approved => Outcome::Approved,
            Self::Declined => rejected(Reason::Declined),
            Self::Expired if fails => Outcome::ExpiredAsFailure,
            Self::Expired => rejected(Reason::Expired),
            Self::Superseded => rejected(Reason::Superseded),
        }
    }
}

/// The end of an approval.
#[derive(Debug, Clone)]
pub(super) struct Closing {
    pub how: Close,
    /// Why, for people; without one, what its attempt said stays.
    pub why: Option<String>,
    /// What the ledger keeps of it.
    pub entry: Option<Entry>,
}

impl Closing {
    /// Its time is over.
    pub(super) fn expiry(run: &LockedRun, held: &Held) -> Self {
        Self {
            how: Close::Expired,
            why: Some("the approval expired".to_owned()),
            entry: Some(held.expiry(run)),
        }
    }

    /// A newer run has been at its gate.
    pub(super) fn by_newer_run() -> Self {
        Self {
            how: Close::Superseded,
            why: Some("a newer run reached the same gate (superseded)".to_owned()),
            entry: None,
        }
    }
}

/// Closes an open approval and moves its task run; writes the run. `Ok(false)`: it was no longer open, or a decision came too late.
pub(super) async fn close(
    (mut run, held): (LockedRun, &Held),
    conn: &mut PgConnection,
    Closing { how, why, entry }: Closing,
    now: Timestamp,
) -> Result<bool> {
    let decided = matches!(how, Close::Approved | Close::Declined);
    let closed = sqlx::query(
        "update approval set state = $2::approval_state, closed_at = $3
         where id = $1 and state = 'open' and (not $4 or expires_at > clock_timestamp())",
    )
    .bind(held.id)
    .bind(how.state())
    .bind(pg(now))
    .bind(decided)
    .execute(&mut *conn)
    .await?;
    if closed.rows_affected() == 0 {
        return Ok(false);
    }
    if how == Close::Approved {
        run.opened_by(held.idx, held.id);
    }
    let mut detail = json!({ "approval": held.id });
    if let Some(why) = why {
        detail["message"] = json!(why);
    }
    let details = Details::from([(held.idx, detail)]);
    run.advance(conn, &[(held.idx, how.outcome(held.fails))], (&details, now))
        .await?;
    run.write(conn, now).await?;
    if let Some(entry) = entry {
        ledger::append(conn, entry, now).await?;
    }
    Ok(true)
}

#[cfg(test)]
pub(super) mod tests;
