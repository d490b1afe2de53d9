//! What is written once and marked when it is counted: skipped ticks, gate results, closed approvals, moves of aliases. Only the
//! partial indexes of what is not marked are walked.

use sqlx::PgConnection;

use super::super::Result;
use super::tally::Tally;
use super::{APPROVAL_WAIT, GATES, PROMOTIONS, SKIPPED, Turn};

/// Rows of a kind that a transaction counts.
const AT_ONCE: i64 = 1000;

/// Counts what is not marked yet.
pub(super) async fn count(conn: &mut PgConnection, tally: &mut Tally) -> Result<Turn> {
    let counts = [
        ticks(conn, tally).await?,
        gates(conn, tally).await?,
        approvals(conn, tally).await?,
        moves(conn, tally).await?,
    ];
    Ok(Turn {
        counted: counts.iter().sum(),
        more: counts.iter().any(|&count| count as i64 >= AT_ONCE),
    })
}

async fn ticks(conn: &mut PgConnection, tally: &mut Tally) -> Result<usize> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "update tick set counted = true where ctid = any(array(
           select ctid from tick where outcome = 'skipped' and not counted
           order by flow, schedule, scheduled_for limit $1 for no key update skip locked))
         returning flow, reason, count",
    )
    .bind(AT_ONCE)
    .fetch_all(conn)
    .await?;
    for (flow, reason, count) in &rows {
        tally.add(SKIPPED, &[flow, reason], *count as f64);
    }
    Ok(rows.len())
}

/// What the rules of gates came to.
async fn gates(conn: &mut PgConnection, tally: &mut Tally) -> Result<usize> {
    let rows: Vec<(String, Option<String>, String)> = sqlx::query_as(
        "with marked as (
           update gate_result set counted = true where ctid = any(array(
             select ctid from gate_result where not counted order by run, idx, epoch limit $1 for no key update skip locked))
           returning run, idx, opening)
         select r.flow, (
           select v.definition #>> array['graph', (m.idx % json_array_length(v.definition -> 'graph'))::text, 'name']
           from flow_version v where v.hash = r.version), m.opening
         from marked m cross join lateral (select flow, version from run where id = m.run offset 0) r",
    )
    .bind(AT_ONCE)
    .fetch_all(conn)
    .await?;
    for (flow, task, opening) in &rows {
        let task = task.as_deref().unwrap_or_default();
        tally.add(GATES, &[flow, task, opening], 1.0);
    }
    Ok(rows.len())
}

/// Flow, task and state of an approval that is no longer open, how long it was, and the model of the alias that its task would move.
type Closed = (String, String, String, f64, Option<String>);

/// What gates that asked came to in the end, and how long people took. One that ended with its run came to nothing.
async fn approvals(conn: &mut PgConnection, tally: &mut Tally) -> Result<usize> {
    let rows: Vec<Closed> = sqlx::query_as(
        "update approval set counted = true where ctid = any(array(
           select ctid from approval where state <> 'open' and not counted order by id limit $1
           for no key update skip locked))
         returning flow, task, case state when 'rejected' then 'declined' else state::text end as state,
           extract(epoch from closed_at - asked_at)::float8 as waited,
           nullif(split_part(evidence -> 'world' ->> 'alias', '@', 1), '') as model",
    )
    .bind(AT_ONCE)
    .fetch_all(conn)
    .await?;
    for (flow, task, state, waited, model) in rows.iter().filter(|closed| closed.2 != "void") {
        tally.add(GATES, &[flow, task, state], 1.0);
        if matches!(state.as_str(), "approved" | "declined") {
            tally.observe(&APPROVAL_WAIT, &[], *waited);
        }
        // What was approved is counted when it has moved.
        if let Some(model) = model.as_ref().filter(|_| state != "approved") {
            tally.add(PROMOTIONS, &[model, state], 1.0);
        }
    }
    Ok(rows.len())
}

async fn moves(conn: &mut PgConnection, tally: &mut Tally) -> Result<usize> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "update alias_move set counted = true where ctid = any(array(
           select ctid from alias_move where not counted order by model, alias, number limit $1
           for no key update skip locked))
         returning model, case when version < before then 'rolled_back' else 'promoted' end",
    )
    .bind(AT_ONCE)
    .fetch_all(conn)
    .await?;
    for (model, result) in &rows {
        tally.add(PROMOTIONS, &[model, result], 1.0);
    }
    Ok(rows.len())
}
