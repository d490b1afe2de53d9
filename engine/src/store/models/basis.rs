//! What a move of an alias rests on.

use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::plugin::{AliasMove, HostError};
use crate::store::leases::Holder;
use crate::store::ledger::Entry;
use crate::store::{Result, StoreError};

/// What a move rests on: the approval that opened the task's gate, else whoever asked for the run.
#[derive(Debug)]
pub(super) struct Basis {
    task: String,
    requester: String,
    approval: Option<Approved>,
}

#[derive(Debug)]
struct Approved {
    id: Uuid,
    digest: String,
    world: Value,
    deciders: Vec<String>,
}

impl Basis {
    pub(super) async fn load(conn: &mut PgConnection, holder: Holder) -> Result<Self> {
        let row = sqlx::query(
            "select r.requester, r.flow, v.definition #>> array['graph', (t.idx % json_array_length(v.definition -> 'graph'))::text, 'name'] as task,
               a.id, a.digest, a.evidence -> 'world' as world,
               array(select actor from vote where approval = a.id and decision = 'approve' order by at, actor) as deciders
             from task_run t join run r on r.id = t.run join flow_version v on v.hash = r.version
             left join approval a on a.id = t.opened_by
             where t.run = $1 and t.idx = $2",
        )
        .bind(holder.run.0)
        .bind(holder.idx as i32)
        .fetch_one(conn)
        .await?;
        let task: Option<String> = row.try_get("task")?;
        let flow: String = row.try_get("flow")?;
        let approval = match row.try_get::<Option<Uuid>, _>("id")? {
            None => None,
            Some(id) => Some(Approved {
                id,
                digest: row.try_get("digest")?,
                world: row
                    .try_get::<Option<Json<Value>>, _>("world")?
                    .map_or(Value::Null, |w| w.0),
                deciders: row.try_get("deciders")?,
            }),
        };
        Ok(Self {
            task: format!("{flow}/{}", task.unwrap_or_else(|| holder.idx.to_string())),
            requester: row.try_get("requester")?,
            approval,
        })
    }

    pub(super) fn approval(&self) -> Option<Uuid> {
        self.approval.as_ref().map(|a| a.id)
    }

    /// The evidence binds the decision: where it names this alias, the move must start from the version it showed.
    pub(super) fn must_have_shown(&self, wanted: &AliasMove) -> Result<()> {
        let Some(world) = self.approval.as_ref().map(|a| &a.world) else {
            return Ok(());
        };
        let name = format!("{}@{}", wanted.model, wanted.alias);
        if world.get("alias").and_then(Value::as_str) != Some(name.as_str()) {
            return Ok(());
        }
        let shown = world.get("version").and_then(Value::as_i64);
        if shown == wanted.from {
            return Ok(());
        }
        Err(moved(wanted, shown, wanted.from))
    }

    pub(super) fn actor(&self) -> String {
        match &self.approval {
            Some(approval) if !approval.deciders.is_empty() => approval.deciders.join(", "),
            _ => self.requester.clone(),
        }
    }

    pub(super) fn entry(&self, holder: Holder, wanted: &AliasMove) -> Entry {
        Entry {
            kind: "alias_moved".to_owned(),
            actor: self.actor(),
            run: Some(holder.run),
            body: json!({
                "model": wanted.model,
                "alias": wanted.alias,
                "from": wanted.from,
                "to": wanted.to,
                "task": self.task,
                "approval": self.approval(),
                "evidence": self.approval.as_ref().map(|a| &a.digest),
            }),
        }
    }
}

/// The alias points elsewhere.
pub(super) fn moved(wanted: &AliasMove, expected: Option<i64>, now: Option<i64>) -> StoreError {
    let (model, alias) = (wanted.model.clone(), wanted.alias.clone());
    HostError::WorldMoved {
        model,
        alias,
        expected,
        now,
    }
    .into()
}
