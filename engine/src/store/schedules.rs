//! Schedules of flows, as rows whose cursor says up to where every tick has its outcome.

use jiff::Timestamp;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::{Result, pg};
use crate::graph::Flow;

/// Brings the schedules of a flow in step with its file. A new or edited one never fires the past: it counts from now.
pub(super) async fn replace(conn: &mut PgConnection, flow: &Flow, now: Timestamp) -> Result<()> {
    let names: Vec<&str> = flow.schedules.iter().map(|s| s.name.as_str()).collect();
    sqlx::query("delete from schedule where flow = $1 and name <> all($2)")
        .bind(flow.name.as_str())
        .bind(&names)
        .execute(&mut *conn)
        .await?;
    for spec in &flow.schedules {
        sqlx::query(
            "insert into schedule (flow, name, spec, cursor_at, effective_from) values ($1, $2, $3, $4, $4)
             on conflict (flow, name) do update
               set spec = $3, cursor_at = greatest(schedule.cursor_at, $4), effective_from = $4,
                   next_at = null, error = null
               where schedule.spec is distinct from $3",
        )
        .bind(flow.name.as_str())
        .bind(spec.name.as_str())
        .bind(Json(spec))
        .bind(pg(now))
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}
