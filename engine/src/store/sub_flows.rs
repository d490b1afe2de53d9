//! Which flows run which others, as their current versions say; and that no chain of tasks and triggers closes a circle.

use sqlx::PgConnection;

use super::flows::{self, NewVersion};
use super::{Result, Store, StoreError};
use crate::graph::Task;
use crate::id::VersionHash;
use crate::spec::{nearest, params};

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

/// Keeps what a flow runs in step with its version. `Refused`: a flow that is not there, params that do not fit it. `beside`: the names of
/// the flows that are applied with it.
pub(super) async fn replace(
    store: &Store,
    conn: &mut PgConnection,
    (new, beside): (&NewVersion, &[String]),
) -> Result<()> {
    let flow = &new.flow;
    let name = flow.name.as_str();
    sqlx::query("delete from sub_flow where flow = $1")
        .bind(name)
        .execute(&mut *conn)
        .await?;
    for task in flow.graph.tasks() {
        let Some(child) = task.sub_flow() else { continue };
        if child != name {
            match flows::current_version(conn, child).await {
                Err(StoreError::NotFound { .. }) => return absent(conn, (new, task, child), beside).await,
                version => check(store, conn, (task, child), &version?).await?,
            }
        }
        sqlx::query("insert into sub_flow (flow, child) values ($1, $2) on conflict do nothing")
            .bind(name)
            .bind(child)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// Refuses a flow that is not there, with the name of one that is.
async fn absent(
    conn: &mut PgConnection,
    (new, task, child): (&NewVersion, &Task, &str),
    beside: &[String],
) -> Result<()> {
    let there: Vec<String> =
        sqlx::query_scalar("select name from flow where removed_at is null order by name")
            .fetch_all(conn)
            .await?;
    let known = there.iter().chain(beside).map(String::as_str);
    let near = nearest(child, known.filter(|name| *name != new.flow.name.as_str()));
    let near = near.map_or_else(String::new, |name| format!("did you mean `{name}`? else "));
    Err(StoreError::Refused {
        why: format!(
            "{}: task `{}` runs flow `{child}`, and there is none; {near}apply it first, or together with this one",
            new.path, task.name
        ),
    })
}

async fn check(
    store: &Store,
    conn: &mut PgConnection,
    (task, child): (&Task, &str),
    version: &VersionHash,
) -> Result<()> {
    let flow = store.definition(conn, version).await?;
    let problems = params::foresee_with(&flow, &task.with);
    if problems.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Err(StoreError::Refused {
        why: format!(
            "the params of task `{}` do not fit flow `{child}`: {}",
            task.name,
            told.join("; ")
        ),
    })
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
