//! What maps under `max_parallel` add to a run's slice: cursors, and the items that may start next.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::super::Result;
use super::LockedRun;
use crate::id::TaskIdx;
use crate::plan::{MapView, Outcome};

impl LockedRun {
    /// Loads as many blocked items as these outcomes may let go, and the cursors of their maps.
    pub(super) async fn load_next_items(
        &mut self,
        conn: &mut PgConnection,
        outcomes: &[(TaskIdx, Outcome)],
    ) -> Result<()> {
        let mut ends: BTreeMap<TaskIdx, i64> = BTreeMap::new();
        for (idx, outcome) in outcomes {
            let graph = &self.flow.graph;
            let limited = graph.item(*idx).is_some() && graph.task(*idx).max_parallel.is_some();
            if limited && *outcome != Outcome::Claimed {
                *ends.entry(graph.head(*idx)).or_default() += 1;
            }
        }
        for (head, count) in ends {
            let cursor = self.cursor(conn, head).await?;
            let from = self.flow.graph.item_at(head, cursor);
            let rows = sqlx::query(
                "select idx, state::text as state, reason, unmet, seen, epoch, attempt, lost from task_run
                 where run = $1 and idx >= $2 and idx % $3 = $4 and state = 'blocked' order by idx limit $5",
            )
            .bind(self.id.0)
            .bind(from as i32)
            .bind(self.flow.graph.size() as i32)
            .bind(head as i32)
            .bind(count)
            .fetch_all(&mut *conn)
            .await?;
            self.take_in(&rows)?;
        }
        Ok(())
    }

    async fn cursor(&mut self, conn: &mut PgConnection, head: TaskIdx) -> Result<u32> {
        if let Some(view) = self.maps.get(&head) {
            return Ok(view.cursor);
        }
        let cursor: Option<i32> =
            sqlx::query_scalar("select cursor from map_run where run = $1 and idx = $2")
                .bind(self.id.0)
                .bind(head as i32)
                .fetch_optional(conn)
                .await?;
        let cursor = cursor.unwrap_or_default() as u32;
        self.maps.insert(head, MapView { cursor });
        Ok(cursor)
    }
}

/// Writes where maps under `max_parallel` have got to.
pub(super) async fn write_maps(conn: &mut PgConnection, runs: &[LockedRun]) -> Result<()> {
    let (mut run, mut idx, mut cursor) = (Vec::new(), Vec::new(), Vec::new());
    for locked in runs {
        let limited = |head: &TaskIdx| locked.flow.graph.task(*head).max_parallel.is_some();
        for (head, view) in locked.maps.iter().filter(|(head, _)| limited(head)) {
            run.push(locked.id.0);
            idx.push(*head as i32);
            cursor.push(view.cursor as i32);
        }
    }
    if run.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into map_run (run, idx, cursor) select * from unnest($1::uuid[], $2::int[], $3::int[])
         on conflict (run, idx) do update set cursor = excluded.cursor",
    )
    .bind(run)
    .bind(idx)
    .bind(cursor)
    .execute(conn)
    .await?;
    Ok(())
}
