//! Logs, as a reader that comes back takes them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::super::{Result, Store, StoreError, day_of, instant};
use super::run::name_of;
use crate::id::{Epoch, RunId, TaskIdx};
use crate::view::LogLine;

/// Where a reader of a log stands: the number of the last line it has, per task run and epoch. Each attempt numbers its own lines, so a line
/// that was committed late is never passed over. As text, fit for an
/// address: `idx.epoch.seq`, joined by `-`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogCursor(BTreeMap<(TaskIdx, Epoch), i64>);

/// A text that is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no position in a log")]
pub struct CursorError(String);

impl fmt::Display for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, ((idx, epoch), seq)) in self.0.iter().enumerate() {
            let dash = if nth > 0 { "-" } else { "" };
            write!(f, "{dash}{idx}.{epoch}.{seq}")?;
        }
        Ok(())
    }
}

impl FromStr for LogCursor {
    type Err = CursorError;
    fn from_str(text: &str) -> Result<Self, CursorError> {
        let part = |part: &str| -> Option<((TaskIdx, Epoch), i64)> {
            let (idx, rest) = part.split_once('.')?;
            let (epoch, seq) = rest.split_once('.')?;
            Some(((idx.parse().ok()?, epoch.parse().ok()?), seq.parse().ok()?))
        };
        let parts = text.split('-').filter(|part| !part.is_empty());
        let all: Option<BTreeMap<_, _>> = parts.map(part).collect();
        all.map(Self).ok_or_else(|| CursorError(text.to_owned()))
    }
}

impl Store {
    /// Log lines after a cursor, at most `limit`, by task and attempt; those of a map are those of its items. The cursor moves on. `NotFound` for a task that the flow does not have.
    pub async fn log_lines(
        &self,
        run: RunId,
        task: Option<&str>,
        (cursor, limit): (&mut LogCursor, usize),
    ) -> Result<Vec<LogLine>> {
        let mut conn = self.pool().acquire().await?;
        let Some(flow) = self.flow_of(&mut conn, run).await? else {
            return Ok(Vec::new());
        };
        let only = match task {
            None => None,
            Some(task) => Some(position(&flow, task)?),
        };
        let seen: Vec<(TaskIdx, Epoch, i64)> = cursor.0.iter().map(|((i, e), s)| (*i, *e, *s)).collect();
        let rows = sqlx::query(
            "select l.idx, l.epoch, l.seq, l.at, l.level, l.text from log l
             left join unnest($3::int[], $4::bigint[], $5::bigint[]) as c(idx, epoch, seq)
               on c.idx = l.idx and c.epoch = l.epoch
             where l.day = $1 and l.run = $2 and ($6::int is null or l.idx = $6 or l.idx % $8 = $6) and l.seq > coalesce(c.seq, 0)
             order by l.idx, l.epoch, l.seq limit $7",
        )
        .bind(day_of(run))
        .bind(run.0)
        .bind(seen.iter().map(|s| s.0 as i32).collect::<Vec<_>>())
        .bind(seen.iter().map(|s| s.1).collect::<Vec<_>>())
        .bind(seen.iter().map(|s| s.2).collect::<Vec<_>>())
        .bind(only)
        .bind(limit as i64)
        .bind(flow.graph.size() as i32)
        .fetch_all(&mut *conn)
        .await?;
        rows.iter().map(|row| line(row, &flow, cursor)).collect()
    }
}

fn position(flow: &crate::graph::Flow, task: &str) -> Result<i32> {
    let found = flow.graph.find_label(task);
    found.map(|idx| idx as i32).ok_or_else(|| StoreError::NotFound {
        what: "task",
        name: task.to_owned(),
    })
}

fn line(row: &PgRow, flow: &crate::graph::Flow, cursor: &mut LogCursor) -> Result<LogLine> {
    let idx: i32 = row.try_get("idx")?;
    let line = LogLine {
        task: name_of(flow, idx),
        epoch: row.try_get("epoch")?,
        seq: row.try_get("seq")?,
        at: instant(row, "at")?,
        level: row.try_get("level")?,
        text: row.try_get("text")?,
    };
    cursor.0.insert((idx as TaskIdx, line.epoch), line.seq);
    Ok(line)
}
