//! Making a run for a task run.

use jiff::Timestamp;
use sqlx::{PgConnection, Row};

use super::super::leases::{self, Holder};
use super::super::runs::{NewRun, Origin};
use super::super::{Result, Store, StoreError, admission, emergencies, freezes, runs};
use super::refused;
use crate::graph::{Flow, MOST_NESTED};
use crate::id::{FlowName, RunId, VersionHash};
use crate::plugin::{SubAnswer, SubFlow, SubRun};
use crate::rollback;
use crate::spec::{params, suggest};

/// A task run that wants a run.
pub(super) struct Maker {
    pub holder: Holder,
    /// Tries that are spent with the present one.
    pub attempt: i32,
    flow: String,
    version: VersionHash,
    requester: String,
    urgent: bool,
    no_cache: bool,
}

impl Maker {
    pub(super) async fn load(conn: &mut PgConnection, holder: Holder) -> Result<Self> {
        let row = sqlx::query(
            "select r.flow, r.version, r.requester, r.urgent, r.no_cache, t.attempt - t.lost as try
             from run r join task_run t on t.run = r.id and t.idx = $2 where r.id = $1 and t.epoch = $3",
        )
        .bind(holder.run.0)
        .bind(holder.idx as i32)
        .bind(holder.epoch)
        .fetch_optional(conn)
        .await?
        .ok_or(StoreError::Stale)?;
        Ok(Self {
            holder,
            attempt: row.try_get("try")?,
            flow: row.try_get("flow")?,
            version: VersionHash(row.try_get("version")?),
            requester: row.try_get("requester")?,
            urgent: row.try_get("urgent")?,
            no_cache: row.try_get("no_cache")?,
        })
    }
}

/// Makes the run. Who asked for the parent asks for it: nobody approves by a detour.
pub(super) async fn make(
    store: &Store,
    conn: &mut PgConnection,
    (maker, wanted, id): (&Maker, &SubFlow, RunId),
    now: Timestamp,
) -> Result<SubAnswer> {
    if wanted.flow == rollback::FLOW {
        return Err(refused(format!("no flow runs `{}`", wanted.flow)));
    }
    refuse_circle(conn, maker, &wanted.flow).await?;
    let version = match admission::lock_flow(conn, &wanted.flow).await {
        Ok(flow) if flow.removed => return Err(no_flow(conn, &wanted.flow).await?),
        Ok(flow) if flow.frozen && !maker.urgent => {
            if let Some(freeze) = freezes::over(conn, &wanted.flow, true).await? {
                return Ok(SubAnswer::Frozen {
                    freeze: freeze.id,
                    until: freeze.until_at,
                    why: freeze.sentence(),
                });
            }
            flow.version
        }
        Err(StoreError::NotFound { .. }) => return Err(no_flow(conn, &wanted.flow).await?),
        flow => flow?.version,
    };
    // After the flow's lock: the order of locks.
    leases::fence(conn, maker.holder).await?;
    let flow = store.definition(conn, &version).await?;
    let new = NewRun {
        version: Some(version.clone()),
        ..new_run((maker, wanted, id), &flow)?
    };
    let origin = Origin {
        no_cache: maker.no_cache,
        regardless: maker.urgent,
        urgent: maker.urgent,
        ..Origin::default()
    };
    runs::create(store, conn, (&new, &origin), now).await?;
    link(store, conn, (maker, id)).await?;
    if maker.urgent {
        emergencies::pass_on(conn, (maker.holder.run, id), (&maker.requester, now)).await?;
    }
    let number: i64 = sqlx::query_scalar("select number from flow_version where hash = $1")
        .bind(&version.0)
        .fetch_one(conn)
        .await?;
    Ok(SubAnswer::Run(SubRun {
        run: id,
        version,
        number,
        made: true,
        end: None,
        reason: None,
        outputs: serde_json::Map::new(),
    }))
}

fn new_run((maker, wanted, id): (&Maker, &SubFlow, RunId), flow: &Flow) -> Result<NewRun> {
    let params = params::resolve(flow, wanted.params.clone()).map_err(|problems| {
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        refused(format!(
            "the params do not fit flow `{}`: {}",
            wanted.flow,
            told.join("; ")
        ))
    })?;
    Ok(NewRun {
        id,
        flow: wanted.flow.clone(),
        version: None,
        trigger: "flow".to_owned(),
        requester: maker.requester.clone(),
        tick: None,
        params,
    })
}

/// One row for a try: a second one would be the answer to a question that was asked before.
async fn link(store: &Store, conn: &mut PgConnection, (maker, id): (&Maker, RunId)) -> Result<()> {
    let parent = store.definition(conn, &maker.version).await?;
    sqlx::query("insert into sub_run (run, parent, idx, try, flow, task) values ($1, $2, $3, $4, $5, $6)")
        .bind(id.0)
        .bind(maker.holder.run.0)
        .bind(maker.holder.idx as i32)
        .bind(maker.attempt)
        .bind(&maker.flow)
        .bind(parent.graph.label(maker.holder.idx))
        .execute(conn)
        .await?;
    Ok(())
}

/// A flow does not run itself, neither directly nor through others; and there is an end to runs within runs.
async fn refuse_circle(conn: &mut PgConnection, maker: &Maker, wanted: &str) -> Result<()> {
    let mut above: Vec<String> = sqlx::query_scalar(
        "with recursive up as (
           select id, flow, 1 as depth from run where id = $1
           union all
           select r.id, r.flow, u.depth + 1 from up u join sub_run s on s.run = u.id join run r on r.id = s.parent)
         select flow from up order by depth desc",
    )
    .bind(maker.holder.run.0)
    .fetch_all(conn)
    .await?;
    let (circle, deep) = (above.iter().any(|flow| flow == wanted), above.len());
    above.push(wanted.to_owned());
    let way = above.join(" → ");
    if circle {
        return Err(refused(format!("flow `{wanted}` would run itself: {way}")));
    }
    if deep >= MOST_NESTED {
        return Err(refused(format!(
            "at most {MOST_NESTED} runs stand above one another: {way}"
        )));
    }
    Ok(())
}

async fn no_flow(conn: &mut PgConnection, name: &str) -> Result<StoreError> {
    let names: Vec<String> =
        sqlx::query_scalar("select name from flow where removed_at is null order by name")
            .fetch_all(conn)
            .await?;
    let help = FlowName::new(name)
        .ok()
        .and_then(|name| suggest(name.as_str(), "there are", names.iter().map(String::as_str)));
    let help = help.unwrap_or_else(|| "apply it first".to_owned());
    Ok(refused(format!("there is no flow `{name}`; {help}")))
}
