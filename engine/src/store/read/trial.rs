//! What the gates of past runs were judged on, to judge it by another rule.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::types::Json;
use uuid::Uuid;

use super::super::{Result, Store, instant, maybe_instant};
use super::bounded;
use crate::gate::{Gate, Opening};
use crate::id::RunId;
use crate::view::Trial;

/// A gate that was reached once.
struct Past {
    run: Uuid,
    at: Timestamp,
    opening: String,
    scope: Value,
}

impl Store {
    /// Judges what the newest `limit` runs of a flow came to the gate of `task` with by another `gate`; newest first.
    pub async fn try_gate(
        &self,
        (flow, task): (&str, &str),
        gate: &Gate,
        limit: usize,
    ) -> Result<Vec<Trial>> {
        let past = self.past_gates((flow, task), bounded(limit)).await?;
        let trial = |past: Past| {
            let rules = gate.judge(&past.scope);
            let judgements: Vec<_> = rules.iter().map(|rule| rule.judgement.clone()).collect();
            let would = match Opening::decide(gate, &judgements) {
                Opening::Opens => "opens",
                Opening::Rejected { .. } => "rejected",
                Opening::Asks { .. } => "asks",
            };
            Trial {
                run: past.run,
                at: past.at,
                was: past.opening,
                would: would.to_owned(),
                why: judgements.into_iter().map(|judgement| judgement.why).collect(),
            }
        };
        Ok(past.into_iter().map(trial).collect())
    }

    async fn past_gates(&self, (flow, task): (&str, &str), limit: usize) -> Result<Vec<Past>> {
        let mut conn = self.pool().acquire().await?;
        let rows = sqlx::query(
            "select distinct on (g.run) g.run, g.at, g.opening, r.params, r.trigger, r.scheduled_for, r.created_at
             from run r join flow_version v on v.hash = r.version join gate_result g on g.run = r.id
             where r.flow = $1 and v.definition -> 'graph' -> g.idx ->> 'name' = $2
             order by g.run desc, g.epoch desc limit $3",
        )
        .bind(flow)
        .bind(task)
        .bind(limit as i64)
        .fetch_all(&mut *conn)
        .await?;
        let mut past = Vec::with_capacity(rows.len());
        for row in &rows {
            let run: Uuid = row.try_get("run")?;
            let Some(known) = self.flow_of(&mut conn, RunId(run)).await? else {
                continue;
            };
            let outputs: Vec<(i32, Value)> =
                sqlx::query_as("select idx, outputs from handed_on where run = $1")
                    .bind(run)
                    .fetch_all(&mut *conn)
                    .await?;
            let outputs: BTreeMap<String, Value> = outputs
                .into_iter()
                .map(|(idx, outputs)| (super::run::name_of(&known, idx), outputs))
                .collect();
            let Json(params): Json<Value> = row.try_get("params")?;
            let due = maybe_instant(row, "scheduled_for")?;
            past.push(Past {
                run,
                at: instant(row, "at")?,
                opening: row.try_get("opening")?,
                scope: json!({
                    "params": params,
                    "vars": known.vars,
                    "tasks": outputs,
                    "run": {
                        "id": run, "flow": flow, "trigger": row.try_get::<String, _>("trigger")?,
                        "scheduled_for": due, "time": due.unwrap_or(instant(row, "created_at")?),
                    },
                }),
            });
        }
        Ok(past)
    }
}
