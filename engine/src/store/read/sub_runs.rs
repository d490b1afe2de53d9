//! What stands above a run and beneath its task runs.

use std::collections::BTreeMap;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::super::{Result, StoreError};
use crate::graph::{Flow, SUB_FLOW};
use crate::id::{RunId, TaskIdx};
use crate::view::{Parent, SubRun};

/// The task run that made a run.
pub(super) fn parent(row: &PgRow) -> Result<Option<Parent>> {
    let Some(value) = row.try_get::<Option<serde_json::Value>, _>("parent")? else {
        return Ok(None);
    };
    serde_json::from_value(value)
        .map(Some)
        .map_err(|e| StoreError::Corrupt {
            what: "parent of a run",
            why: e.to_string(),
        })
}

/// The runs that task runs made.
pub(super) async fn made_by(
    conn: &mut PgConnection,
    (run, flow): (RunId, &Flow),
    shown: &[i32],
) -> Result<BTreeMap<TaskIdx, Vec<SubRun>>> {
    if flow.graph.tasks().iter().all(|task| task.uses != SUB_FLOW) {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<(i32, Uuid, String, i64, String, i32)> = sqlx::query_as(
        "select s.idx, r.id, r.flow, v.number, r.state::text, s.try from sub_run s
         join run r on r.id = s.run join flow_version v on v.hash = r.version
         where s.parent = $1 and s.idx = any($2) order by s.idx, s.try",
    )
    .bind(run.0)
    .bind(shown)
    .fetch_all(conn)
    .await?;
    let mut all: BTreeMap<TaskIdx, Vec<SubRun>> = BTreeMap::new();
    for (idx, run, flow, version_number, state, attempt) in rows {
        all.entry(idx as TaskIdx).or_default().push(SubRun {
            run,
            flow,
            version_number,
            state,
            attempt,
        });
    }
    Ok(all)
}
