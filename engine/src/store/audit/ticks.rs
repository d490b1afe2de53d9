//! Every due tick has one outcome.

use jiff::Timestamp;
use sqlx::Row;

use super::super::schedules::Locked;
use super::super::{Result, Store, pg};
use super::Finding;

/// Compares what each schedule says was due, from when it got its form up to its cursor, with the rows of its ticks.
pub(super) async fn check(store: &Store, findings: &mut Vec<Finding>) -> Result<()> {
    let mut tx = store.pool().begin().await?;
    let flows: Vec<String> =
        sqlx::query_scalar("select distinct flow from schedule where error is null order by 1")
            .fetch_all(&mut *tx)
            .await?;
    for flow in flows {
        for schedule in Locked::lock(&mut tx, &flow, None).await? {
            let Ok((_, table)) = schedule.read() else { continue };
            let (from, to) = (schedule.effective_from, schedule.cursor);
            let due = if from < to { table.count(from, to) } else { 0 };
            let told = recorded(&mut tx, &schedule, (from, to)).await?;
            if due != told {
                findings.push(Finding {
                    invariant: "every due tick has one outcome",
                    detail: format!(
                        "{flow}/{}: {due} were due from {from} to {to}, {told} have one",
                        schedule.name
                    ),
                });
            }
        }
    }
    Ok(tx.rollback().await?)
}

async fn recorded(
    conn: &mut sqlx::PgConnection,
    schedule: &Locked,
    (from, to): (Timestamp, Timestamp),
) -> Result<u64> {
    let row = sqlx::query(
        "select coalesce(sum(count), 0)::bigint as told from tick
         where flow = $1 and schedule = $2 and scheduled_for > $3 and last <= $4",
    )
    .bind(&schedule.flow)
    .bind(&schedule.name)
    .bind(pg(from))
    .bind(pg(to))
    .fetch_one(conn)
    .await?;
    Ok(row.try_get::<i64, _>("told")? as u64)
}
