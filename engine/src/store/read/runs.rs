//! Lists of runs.

use jiff::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::super::{Result, Store, StoreError, instant, maybe_instant, pg};
use super::{bounded, page, sub_runs};
use crate::graph::Flow;
use crate::id::{RunId, VersionHash};
use crate::view::{Page, Run, RunSummary};

/// Which runs a list shows.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of one flow.
    pub flow: Option<String>,
    /// In one of these states; empty: any.
    pub states: Vec<String>,
    /// Created at or after.
    pub since: Option<Timestamp>,
    /// Older than this run: the cursor.
    pub before: Option<Uuid>,
    /// At most so many, 1 to 200.
    pub limit: usize,
}

/// Columns of a summary; `$1` is the present instant.
pub(super) const COLUMNS: &str = "r.id, r.flow, r.version, v.number, r.state::text as state, r.reason, r.trigger, r.requester, r.retry_of,
       (select jsonb_build_object('run', s.parent, 'flow', s.flow, 'task', s.task) from sub_run s where s.run = r.id) as parent,
       r.scheduled_for, r.created_at, r.started_at, r.finished_at, r.open,
       extract(epoch from r.waited
         + case when r.waiting_since is null then '0' else greatest($1 - r.waiting_since, '0') end)::float8 as waited";

/// Among how many of the newest runs the end of an id is looked for: it has no index.
const RECENT: i64 = 10_000;

/// The end of a run's id, as tables show it: its beginning is the time, which neighbours share.
pub fn short_id(run: Uuid) -> String {
    let text = run.simple().to_string();
    text[text.len() - 8..].to_owned()
}

impl Store {
    /// Runs, newest first.
    pub async fn runs(&self, filter: &RunFilter, now: Timestamp) -> Result<Page<RunSummary>> {
        let limit = bounded(filter.limit);
        let mut conn = self.pool().acquire().await?;
        let sql = format!(
            "select {COLUMNS} from run r join flow_version v on v.hash = r.version
             where ($2::text is null or r.flow = $2)
               and (cardinality($3::text[]) = 0 or r.state = any($3::run_state[]))
               and ($4::timestamptz is null or r.created_at >= $4)
               and ($5::uuid is null or r.id < $5)
             order by r.id desc limit $6"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(pg(now))
            .bind(&filter.flow)
            .bind(&filter.states)
            .bind(filter.since.map(pg))
            .bind(filter.before)
            .bind(limit as i64 + 1)
            .fetch_all(&mut *conn)
            .await?;
        let runs = self.summaries(&mut conn, (&rows, now)).await?;
        Ok(page(runs, limit, |run| run.id.to_string()))
    }

    /// A run by its id, or by at least 6 characters of its beginning or its end, as people type it. `NotFound` when none or several fit.
    pub async fn find_run(&self, text: &str) -> Result<RunId> {
        if let Ok(id) = text.parse::<RunId>() {
            return Ok(id);
        }
        let digits: String = text
            .chars()
            .filter(|c| *c != '-')
            .collect::<String>()
            .to_ascii_lowercase();
        let usable = (6..=32).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let found: Vec<Uuid> = if usable {
            sqlx::query_scalar(
                "(select id from run where id between $1 and $2 limit 2)
                 union
                 (select id from (select id from run order by id desc limit $4) r
                  where right(replace(id::text, '-', ''), length($3)) = $3 limit 2)",
            )
            .bind(filled(&digits, '0'))
            .bind(filled(&digits, 'f'))
            .bind(&digits)
            .bind(RECENT)
            .fetch_all(self.pool())
            .await?
        } else {
            Vec::new()
        };
        match found.as_slice() {
            [one] => Ok(RunId(*one)),
            _ => Err(StoreError::NotFound {
                what: if found.len() > 1 { "single run" } else { "run" },
                name: text.to_owned(),
            }),
        }
    }

    /// The run that people mean by what they type: as [`Store::find_run`], or `last`, the newest that somebody or a schedule asked
    /// for. What other runs bring along, within them or behind them, nobody has in mind.
    pub async fn run_called(&self, text: &str, now: Timestamp) -> Result<Run> {
        let missing = |name: &str| StoreError::NotFound {
            what: "run",
            name: name.to_owned(),
        };
        let id = if text == "last" {
            let newest: Option<Uuid> =
                sqlx::query_scalar("select id from run where trigger <> 'flow' order by id desc limit 1")
                    .fetch_optional(self.pool())
                    .await?;
            RunId(newest.ok_or_else(|| missing(text))?)
        } else {
            self.find_run(text).await?
        };
        self.run(id, now).await?.ok_or_else(|| missing(text))
    }

    /// Rows of [`COLUMNS`] as summaries.
    pub(super) async fn summaries(
        &self,
        conn: &mut PgConnection,
        (rows, now): (&[PgRow], Timestamp),
    ) -> Result<Vec<RunSummary>> {
        let mut runs = Vec::with_capacity(rows.len());
        for row in rows {
            let version = VersionHash(row.try_get("version")?);
            let flow = self.definition(conn, &version).await?;
            runs.push(summary(row, (&flow, now))?);
        }
        Ok(runs)
    }
}

/// A hexadecimal beginning, filled up to an id.
fn filled(digits: &str, with: char) -> Uuid {
    let text: String = digits.chars().chain(std::iter::repeat(with)).take(32).collect();
    Uuid::parse_str(&text).unwrap_or_default()
}

/// One row of [`COLUMNS`] as a summary.
pub(super) fn summary(row: &PgRow, (flow, now): (&Flow, Timestamp)) -> Result<RunSummary> {
    let total = flow.graph.tasks().len() as i64;
    let open: i32 = row.try_get("open")?;
    let started_at = maybe_instant(row, "started_at")?;
    let finished_at = maybe_instant(row, "finished_at")?;
    let waited_seconds: f64 = row.try_get("waited")?;
    let taken = started_at.map(|at| (finished_at.unwrap_or(now) - at).get_seconds() as f64 - waited_seconds);
    let expected = flow.expected.map(|expected| expected.as_secs_f64());
    Ok(RunSummary {
        id: row.try_get("id")?,
        flow: row.try_get("flow")?,
        version: row.try_get("version")?,
        version_number: row.try_get("number")?,
        state: row.try_get("state")?,
        reason: row.try_get("reason")?,
        trigger: row.try_get("trigger")?,
        requester: row.try_get("requester")?,
        retry_of: row.try_get("retry_of")?,
        parent: sub_runs::parent(row)?,
        scheduled_for: maybe_instant(row, "scheduled_for")?,
        created_at: instant(row, "created_at")?,
        started_at,
        finished_at,
        waited_seconds,
        overdue: taken
            .zip(expected)
            .is_some_and(|(taken, expected)| taken > expected),
        tasks_total: total,
        tasks_done: total - i64::from(open),
    })
}
