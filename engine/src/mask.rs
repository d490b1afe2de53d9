//! What must not be seen: finds values in all the forms a program prints them in, and puts `***` in their place.
//!
//! A form is the value itself, each of its lines, the same as base64 (at any of the three positions within a longer text, both
//! alphabets), as hexadecimal, URL-encoded and escaped for JSON, once and twice. Where forms overlap, all of their bytes go. Text that comes in
//! pieces goes through a [`Flow`], which holds back what may be the beginning of a form until it knows. Pure.

mod forms;

use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::{Map, Value};

/// What stands in the place of what is hidden.
const HIDDEN: &str = "***";
/// A shorter value cannot be hidden: it is part of too much that is harmless.
pub const SHORTEST: usize = 4;

/// Finds values that must not be seen. Cheap to clone; without values it changes nothing.
#[derive(Clone, Default)]
pub struct Mask {
    /// The values, for [`Mask::and`].
    values: Vec<String>,
    found: Option<Arc<Finder>>,
}

struct Finder {
    forms: AhoCorasick,
    texts: Vec<Vec<u8>>,
    longest: usize,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({} values)", self.values.len())
    }
}

impl Mask {
    /// Hides these values. Those under [`SHORTEST`] bytes are left out.
    pub fn new<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Self {
        let mut values: Vec<String> = values.into_iter().map(Into::into).collect();
        values.retain(|value| value.trim().len() >= SHORTEST);
        values.sort();
        values.dedup();
        Self {
            found: Finder::of(&values).map(Arc::new),
            values,
        }
    }

    /// Hides these values too.
    #[must_use]
    pub fn and<T: Into<String>>(&self, more: impl IntoIterator<Item = T>) -> Self {
        let more = more.into_iter().map(Into::into);
        Self::new(self.values.iter().cloned().chain(more))
    }

    /// The values that it hides: for a child process, which hides them too.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// There is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.found.is_none()
    }

    /// The text without them.
    pub fn hide(&self, text: &str) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        let mut flow = self.flow();
        flow.held = text.as_bytes().to_vec();
        String::from_utf8(flow.end())
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// Whether the text holds one.
    pub fn finds(&self, text: &str) -> bool {
        self.found
            .as_ref()
            .is_some_and(|found| found.forms.is_match(text))
    }

    /// The value without them: in texts, in names, and in numbers that spell one.
    pub fn hide_value(&self, value: Value) -> Value {
        if self.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.hide(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.hide_value(item)).collect(),
            Value::Object(map) => {
                let entries = map
                    .into_iter()
                    .map(|(name, item)| (self.hide(&name), self.hide_value(item)));
                Value::Object(entries.collect::<Map<_, _>>())
            }
            Value::Number(number) if self.finds(&number.to_string()) => Value::String(HIDDEN.to_owned()),
            plain => plain,
        }
    }

    /// Begins a text that comes in pieces.
    pub fn flow(&self) -> Flow {
        Flow {
            mask: self.clone(),
            held: Vec::new(),
            covered: 0,
        }
    }
}

impl Finder {
    fn of(values: &[String]) -> Option<Self> {
        let mut texts: Vec<Vec<u8>> = values.iter().flat_map(|value| forms::of(value)).collect();
        texts.sort();
        texts.dedup();
        let longest = texts.iter().map(Vec::len).max()?;
        // Overlapping searches need the standard kind; it fails only beyond 2³¹ patterns.
        let forms = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(&texts)
            .ok()?;
        Some(Self {
            forms,
            texts,
            longest,
        })
    }

    /// Where forms lie, joined where they overlap, in order.
    fn spans(&self, text: &[u8]) -> Vec<(usize, usize)> {
        let mut all: Vec<(usize, usize)> = self
            .forms
            .find_overlapping_iter(text)
            .map(|found| (found.start(), found.end()))
            .collect();
        all.sort_unstable();
        let mut joined: Vec<(usize, usize)> = Vec::with_capacity(all.len());
        for (start, end) in all {
            match joined.last_mut() {
                Some(last) if start < last.1 => last.1 = last.1.max(end),
                _ => joined.push((start, end)),
            }
        }
        joined
    }

    /// Where the text may begin a form that goes on in the next piece.
    fn open_end(&self, text: &[u8]) -> usize {
        let from = text.len().saturating_sub(self.longest - 1);
        let begins = |tail: &[u8]| {
            self.texts
                .iter()
                .any(|form| form.len() > tail.len() && form.starts_with(tail))
        };
        (from..text.len())
            .find(|&at| begins(&text[at..]))
            .unwrap_or(text.len())
    }
}

/// A text that comes in pieces.
#[derive(Debug)]
pub struct Flow {
    mask: Mask,
    held: Vec<u8>,
    /// Bytes of `held` for which `***` was given out already.
    covered: usize,
}

impl Flow {
    /// Takes a piece; answers what is safe to show by now.
    pub fn feed(&mut self, piece: &[u8]) -> Vec<u8> {
        let Some(found) = self.mask.found.clone() else {
            return piece.to_vec();
        };
        self.held.extend_from_slice(piece);
        let until = found.open_end(&self.held);
        self.give(&found, until)
    }

    /// The rest.
    pub fn end(&mut self) -> Vec<u8> {
        let Some(found) = self.mask.found.clone() else {
            return Vec::new();
        };
        let until = self.held.len();
        self.give(&found, until)
    }

    /// Gives out what begins before `until`.
    fn give(&mut self, found: &Finder, until: usize) -> Vec<u8> {
        let (mut out, mut at) = (Vec::with_capacity(until), self.covered);
        for (start, end) in found.spans(&self.held) {
            if start >= until {
                break;
            }
            // What overlaps with what was hidden before is a part of it.
            if start >= at {
                out.extend_from_slice(&self.held[at..start]);
                out.extend_from_slice(HIDDEN.as_bytes());
            }
            at = at.max(end);
        }
        if at < until {
            out.extend_from_slice(&self.held[at..until]);
            at = until;
        }
        self.held.drain(..until);
        self.covered = at - until;
        out
    }
}

#[cfg(test)]
mod tests;
