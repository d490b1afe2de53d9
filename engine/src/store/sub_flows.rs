//! Which flows run which others, as their current versions say; and that no chain of tasks and triggers closes a circle.

use sqlx::PgConnection;

use super::{Result, Store, StoreError, flows};
use crate::graph::{Flow, Task};
use crate::spec::params;

/// The shortest way on which a flow makes a run of itself: by tasks that run flows, by triggers that follow them.
const CIRCLE: &str = "with recursive makes as (
       select source as maker, flow as made from flow_trigger
       union select flow, child from sub_flow),
     ways as (
       select made, array[maker, made] as way from makes where maker = $1
       union all
       select m.made, w.way || m.made from ways w join makes m on m.maker = w.made
       where w.made <> $1 and cardinality(w.way) < 100)
     select array_to_string(way, ' → ') from ways where made = $1 order by cardinality(way) limit 1";

/// Before the first write to the tables of ways: two flows that are applied at once could close a circle between them.
pub(super) async fn lock_ways(conn: &mut PgConnection) -> Result<()> {
    sqlx::query("lock table flow_trigger, sub_flow in share row exclusive mode")
        .execute(conn)
        .await?;
    Ok(())
}

/// Keeps what a flow runs in step with its version. `Refused`: a flow that is not there, params that do not fit it.
pub(super) async fn replace(store: &Store, conn: &mut PgConnection, flow: &Flow) -> Result<()> {
    let name = flow.name.as_str();
    sqlx::query("delete from sub_flow where flow = $1")
        .bind(name)
        .execute(&mut *conn)
        .await?;
    for task in flow.graph.tasks() {
        let Some(child) = task.sub_flow() else { continue };
        if child != name {
            check(store, conn, (task, child)).await?;
        }
        sqlx::query("insert into sub_flow (flow, child) values ($1, $2) on conflict do nothing")
            .bind(name)
            .bind(child)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

async fn check(store: &Store, conn: &mut PgConnection, (task, child): (&Task, &str)) -> Result<()> {
    let refused = |why: String| Err(StoreError::Refused { why });
    let version = match flows::current_version(conn, child).await {
        Err(StoreError::NotFound { .. }) => {
            return refused(format!(
                "task `{}` runs flow `{child}`, and there is none; apply it first, or together with this one",
                task.name
            ));
        }
        version => version?,
    };
    let flow = store.definition(conn, &version).await?;
    let problems = params::foresee_with(&flow, &task.with);
    if problems.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    refused(format!(
        "the params of task `{}` do not fit flow `{child}`: {}",
        task.name,
        told.join("; ")
    ))
}

/// `Refused`: flows would run one another for ever.
pub(super) async fn refuse_circle(conn: &mut PgConnection, flow: &str) -> Result<()> {
    let circle: Option<String> = sqlx::query_scalar(CIRCLE).bind(flow).fetch_optional(conn).await?;
    circle.map_or(Ok(()), |circle| {
        Err(StoreError::Refused {
            why: format!(
                "these flows would run one another for ever: {circle}; remove one of the triggers or tasks that do"
            ),
        })
    })
}
