//! What this database knows of attempts that left something on a machine: folders, processes.

use std::collections::BTreeMap;

use sqlx::Row;
use uuid::Uuid;

use super::{Result, Store};
use crate::id::{Epoch, RunId, TaskIdx, VersionHash};

/// A run and its task runs, by task name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRun {
    /// It is terminal.
    pub ended: bool,
    /// By task name.
    pub tasks: BTreeMap<String, KnownTask>,
}

/// A task run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownTask {
    /// It succeeded.
    pub succeeded: bool,
    /// The epoch that holds its lease, also past its end as long as nobody took it away.
    pub held: Option<Epoch>,
}

impl Store {
    /// The runs among these that this database knows. The others may belong to another one: they are nobody's to tidy up.
    pub async fn known_runs(&self, runs: &[RunId]) -> Result<BTreeMap<RunId, KnownRun>> {
        let mut known = BTreeMap::new();
        let mut conn = self.pool().acquire().await?;
        let rows =
            sqlx::query("select id, version, finished_at is not null as ended from run where id = any($1)")
                .bind(runs.iter().map(|run| run.0).collect::<Vec<Uuid>>())
                .fetch_all(&mut *conn)
                .await?;
        for row in rows {
            let run = RunId(row.try_get("id")?);
            let flow = self
                .definition(&mut conn, &VersionHash(row.try_get("version")?))
                .await?;
            let tasks: Vec<(i32, bool, Option<Epoch>)> = sqlx::query_as(
                "select t.idx, t.state = 'succeeded', l.epoch from task_run t
                 left join lease l on l.run = t.run and l.idx = t.idx where t.run = $1",
            )
            .bind(run.0)
            .fetch_all(&mut *conn)
            .await?;
            let named = |(idx, succeeded, held): (i32, bool, Option<Epoch>)| {
                let name = flow.graph.place(idx as TaskIdx);
                (name, KnownTask { succeeded, held })
            };
            let run_is = KnownRun {
                ended: row.try_get("ended")?,
                tasks: tasks.into_iter().map(named).collect(),
            };
            known.insert(run, run_is);
        }
        Ok(known)
    }
}
