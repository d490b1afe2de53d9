//! The ledger: decisions and promotions, append-only, chained by hashes.
//!
//! ```text
//! hash = SHA-256( part(seq) part(at) part(kind) part(actor) part(run) part(body) part(prev) )
//! part(text) = length in bytes as 8 bytes, big end first, then the bytes
//! at = microseconds since 1970 · run = its id, or nothing · body = canonical JSON · prev = hash of the entry before, 64 zeros at first
//! ```
//! Whoever appends locks `ledger_head`, so the order of entries is the order of commits and their numbers have no gaps. Whoever
//! changes, removes or cuts off an entry must rehash everything after it, and the head; a head noted elsewhere gives that away.

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::text::clean_text;
use super::{Result, Store, StoreError, clean, instant, pg};
use crate::canonical;
use crate::id::RunId;
use crate::view::{LedgerBreak, LedgerEntry, LedgerReport};

/// Entries that a walk holds in memory at once.
const PAGE: i64 = 500;

/// Something to write down for ever.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// `approval_decided`, `alias_moved`, …
    pub kind: String,
    /// Who.
    pub actor: String,
    /// Run, where one is meant.
    pub run: Option<RunId>,
    /// What.
    pub body: Value,
}

impl Entry {
    /// What somebody did beside any run.
    pub fn act(kind: &str, actor: &str, body: Value) -> Self {
        Self {
            kind: kind.to_owned(),
            actor: actor.to_owned(),
            run: None,
            body,
        }
    }
}

/// Appends inside the caller's transaction; holds the head until it ends, so it comes last in the lock order.
pub async fn append(conn: &mut PgConnection, entry: Entry, now: Timestamp) -> Result<LedgerEntry> {
    let (seq, prev): (i64, String) = sqlx::query_as("select seq, hash from ledger_head for no key update")
        .fetch_optional(&mut *conn)
        .await?
        .ok_or_else(|| corrupt("its head is gone"))?;
    let body = clean(entry.body);
    let mut row = Entered {
        seq: seq + 1,
        // As PostgreSQL keeps it.
        at: Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now),
        kind: clean_text(entry.kind),
        actor: clean_text(entry.actor),
        run: entry.run.map(|run| run.0),
        body: canonical::text(&body),
        prev,
        hash: String::new(),
    };
    row.hash = row.digest();
    row.insert(conn).await?;
    Ok(row.shown(body))
}

/// An entry as it is stored.
#[derive(Debug)]
struct Entered {
    seq: i64,
    at: Timestamp,
    kind: String,
    actor: String,
    run: Option<uuid::Uuid>,
    body: String,
    prev: String,
    hash: String,
}

impl Entered {
    fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        let run = self.run.map(|run| run.to_string()).unwrap_or_default();
        let (seq, at) = (self.seq.to_string(), self.at.as_microsecond().to_string());
        for part in [&seq, &at, &self.kind, &self.actor, &run, &self.body, &self.prev] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hex::encode(hasher.finalize())
    }

    async fn insert(&self, conn: &mut PgConnection) -> Result<()> {
        sqlx::query(
            "with moved as (update ledger_head set seq = $1, hash = $8)
             insert into ledger (seq, at, kind, actor, run, body, prev, hash) values ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(self.seq)
        .bind(pg(self.at))
        .bind(&self.kind)
        .bind(&self.actor)
        .bind(self.run)
        .bind(&self.body)
        .bind(&self.prev)
        .bind(&self.hash)
        .execute(conn)
        .await?;
        Ok(())
    }

    fn read(row: &PgRow) -> Result<Self> {
        Ok(Self {
            seq: row.try_get("seq")?,
            at: instant(row, "at")?,
            kind: row.try_get("kind")?,
            actor: row.try_get("actor")?,
            run: row.try_get("run")?,
            body: row.try_get("body")?,
            prev: row.try_get("prev")?,
            hash: row.try_get("hash")?,
        })
    }

    fn shown(self, body: Value) -> LedgerEntry {
        LedgerEntry {
            seq: self.seq,
            at: self.at,
            kind: self.kind,
            actor: self.actor,
            run: self.run,
            body,
            prev: self.prev,
            hash: self.hash,
        }
    }
}

impl Store {
    /// Walks the ledger from its first entry to its head, a page at a time, as of one instant.
    pub async fn verify_ledger(&self) -> Result<LedgerReport> {
        self.transact(|conn| Box::pin(walk(conn))).await
    }
}

async fn walk(conn: &mut PgConnection) -> Result<LedgerReport> {
    sqlx::query("set transaction isolation level repeatable read read only")
        .execute(&mut *conn)
        .await?;
    let mut chain = Chain::default();
    loop {
        let rows = sqlx::query(
            "select seq, at, kind, actor, run, body, prev, hash from ledger where seq > $1 order by seq limit $2",
        )
        .bind(chain.seq)
        .bind(PAGE)
        .fetch_all(&mut *conn)
        .await?;
        for row in &rows {
            if let Some(why) = chain.take(&Entered::read(row)?) {
                return Ok(chain.report(Some(why)));
            }
        }
        if rows.len() < PAGE as usize {
            break;
        }
    }
    let head: Option<(i64, String)> = sqlx::query_as("select seq, hash from ledger_head")
        .fetch_optional(conn)
        .await?;
    let broken = chain.end(head);
    Ok(chain.report(broken))
}

/// How far a walk has come.
#[derive(Debug)]
struct Chain {
    seq: i64,
    hash: String,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            seq: 0,
            hash: "0".repeat(64),
        }
    }
}

impl Chain {
    /// Takes the next entry, or says why it does not fit.
    fn take(&mut self, entry: &Entered) -> Option<LedgerBreak> {
        let expected = self.seq + 1;
        if entry.seq != expected {
            let why = format!("it is missing: the entry found next is {}", entry.seq);
            return Some(LedgerBreak { seq: expected, why });
        }
        let why = if entry.digest() != entry.hash {
            "something in it was changed: its hash does not fit its content".to_owned()
        } else if entry.prev != self.hash {
            format!(
                "it does not follow entry {}: that one, or this one, was written anew",
                self.seq
            )
        } else {
            self.seq = entry.seq;
            self.hash.clone_from(&entry.hash);
            return None;
        };
        Some(LedgerBreak { seq: expected, why })
    }

    /// Compares where the walk ended with the head.
    fn end(&self, head: Option<(i64, String)>) -> Option<LedgerBreak> {
        let Some((seq, hash)) = head else {
            let why = "the head, which names the newest entry, is gone".to_owned();
            return Some(LedgerBreak { seq: self.seq, why });
        };
        if seq > self.seq {
            let why = format!(
                "the ledger was cut off: the head names entry {seq}, the last one found is {}",
                self.seq
            );
            return Some(LedgerBreak {
                seq: self.seq + 1,
                why,
            });
        }
        if seq < self.seq {
            let why = format!("it stands after the head, which names entry {seq} as the newest");
            return Some(LedgerBreak { seq: seq + 1, why });
        }
        (hash != self.hash).then(|| LedgerBreak {
            seq,
            why: "the head names another hash: it, or the whole ledger, was written anew".to_owned(),
        })
    }

    fn report(self, broken: Option<LedgerBreak>) -> LedgerReport {
        LedgerReport {
            entries: self.seq,
            head: self.hash,
            broken,
        }
    }
}

fn corrupt(why: &str) -> StoreError {
    StoreError::Corrupt {
        what: "ledger",
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests;
