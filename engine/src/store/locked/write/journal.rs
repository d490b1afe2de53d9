//! The runs' own rows, and the events that tell what became of them.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::super::{clean, day_of};
use super::super::{LockedRun, Record};
use super::Written;
use crate::id::TaskIdx;
use crate::state::Reason;

/// Events as columns.
#[derive(Default)]
pub(super) struct Journal {
    day: Vec<jiff_sqlx::Date>,
    run: Vec<Uuid>,
    seq: Vec<i64>,
    kind: Vec<&'static str>,
    /// Array literals: PostgreSQL has no arrays of arrays of different lengths.
    idx: Vec<String>,
    data: Vec<Option<Value>>,
}

impl Journal {
    pub(super) fn of(runs: &[LockedRun]) -> Self {
        let mut all = Self::default();
        for locked in runs {
            for (number, record) in (locked.next_seq..).zip(&locked.journal) {
                all.day.push(day_of(locked.id));
                all.run.push(locked.id.0);
                all.seq.push(number);
                all.kind.push(record.kind);
                all.idx.push(array_literal(&record.idx));
                all.data.push(record.data());
            }
        }
        all
    }

    pub(super) fn bind(self, query: Written<'_>) -> Written<'_> {
        query
            .bind(self.day)
            .bind(self.run)
            .bind(self.seq)
            .bind(self.kind)
            .bind(self.idx)
            .bind(self.data)
    }
}

/// The runs' own rows, as columns.
#[derive(Default)]
pub(super) struct Heads {
    id: Vec<Uuid>,
    state: Vec<&'static str>,
    reason: Vec<Option<&'static str>>,
    open: Vec<i32>,
    active: Vec<i32>,
    seen: Vec<i16>,
    /// How many events are added.
    events: Vec<i64>,
    over: Vec<bool>,
}

impl Heads {
    pub(super) fn of(runs: &[LockedRun]) -> Self {
        let mut all = Self::default();
        for run in runs {
            let view = &run.view;
            all.id.push(run.id.0);
            all.state.push(view.state.as_str());
            all.reason.push(view.reason.map(Reason::as_str));
            all.open.push(view.open as i32);
            all.active.push(view.active as i32);
            all.seen.push(view.seen.0);
            all.events.push(run.journal.len() as i64);
            all.over.push(view.state.is_terminal());
        }
        all
    }

    pub(super) fn bind(self, query: Written<'_>) -> Written<'_> {
        query
            .bind(self.id)
            .bind(self.state)
            .bind(self.reason)
            .bind(self.open)
            .bind(self.active)
            .bind(self.seen)
            .bind(self.events)
            .bind(self.over)
    }
}

impl Record {
    fn data(&self) -> Option<Value> {
        let mut fields = Map::new();
        if let Some(reason) = self.reason {
            fields.insert("reason".to_owned(), json!(reason));
        }
        match self.detail_of_each() {
            Some(detail) => drop(fields.insert("each".to_owned(), detail.clone())),
            None if self.detail.is_empty() => {}
            None => drop(fields.insert("detail".to_owned(), Value::Object(self.detail.clone()))),
        }
        (!fields.is_empty()).then(|| clean(Value::Object(fields)))
    }

    /// What all its task runs have in common, where that is all there is to say: a batch of claims tells its worker once.
    fn detail_of_each(&self) -> Option<&Value> {
        let first = self.detail.values().next()?;
        let common = self.detail.len() == self.idx.len()
            && self.idx.len() > 1
            && first.get("message").is_none()
            && self.detail.values().all(|detail| detail == first);
        common.then_some(first)
    }
}

fn array_literal(idx: &[TaskIdx]) -> String {
    let numbers: Vec<String> = idx.iter().map(ToString::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}
