//! One problem of a flow file, and the list in which a check gathers them.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::source::SourceFile;
use super::suggest;

/// A problem, with its place. Lines and columns count from 1, columns in characters; the end is exclusive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Path of the flow file.
    pub file: String,
    /// Line of its first character.
    pub line: usize,
    /// Column of its first character.
    pub column: usize,
    /// Line of its end.
    pub end_line: usize,
    /// Column behind its last character.
    pub end_column: usize,
    /// Stable name of the kind of problem: `unknown-key`.
    pub code: String,
    /// What is wrong, one sentence.
    pub message: String,
    /// The way out, where one is known.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{} {}", self.file, self.line, self.column, self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl Diagnostic {
    /// A problem of a file as a whole.
    pub fn of_file(file: impl Into<String>, code: &str, message: impl Into<String>) -> Self {
        let (file, code, message) = (file.into(), code.to_owned(), message.into());
        Self {
            file,
            line: 1,
            column: 1,
            end_line: 1,
            end_column: 1,
            code,
            message,
            help: None,
        }
    }

    /// Adds the way out.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A problem by its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub span: Range<usize>,
    pub code: &'static str,
    pub message: String,
    pub help: Option<String>,
}

impl Problem {
    pub(super) fn new(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span,
            code,
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Comparisons that suggestions may cost in one file; without a bound a file full of mistakes would take minutes.
const SUGGESTION_BUDGET: usize = 200_000;

/// The problems found so far.
pub(super) struct Problems {
    found: RefCell<Vec<Problem>>,
    budget: Cell<usize>,
}

impl Default for Problems {
    fn default() -> Self {
        Self {
            found: RefCell::default(),
            budget: Cell::new(SUGGESTION_BUDGET),
        }
    }
}

impl Problems {
    pub(super) fn add(&self, problem: Problem) {
        self.found.borrow_mut().push(problem);
    }

    /// Adds a problem whose help is the nearest of `known`.
    pub(super) fn add_unknown<'k>(
        &self,
        problem: Problem,
        wrong: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) {
        let cost = known.clone().count();
        let help = match self.budget.get().checked_sub(cost) {
            Some(left) => {
                self.budget.set(left);
                suggest::help(wrong, "known here", known)
            }
            None => None,
        };
        self.add(Problem {
            help: problem.help.clone().or(help),
            ..problem
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// All problems by place, each once.
    pub(super) fn into_diagnostics(self, source: &SourceFile) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|p| (p.span.start, p.span.end));
        found.dedup();
        let lines = Lines::new(&source.text);
        found
            .into_iter()
            .map(|problem| lines.diagnostic(&source.path, problem))
            .collect()
    }
}

/// Where the lines of a text begin.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let breaks = text
            .bytes()
            .enumerate()
            .filter(|&(_, b)| b == b'\n')
            .map(|(at, _)| at + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(breaks).collect(),
        }
    }

    /// Line and column of a byte, both from 1.
    pub(super) fn position(&self, byte: usize) -> (usize, usize) {
        let byte = self.text.floor_char_boundary(byte.min(self.text.len()));
        let line = self.starts.partition_point(|&start| start <= byte);
        let start = self.starts[line - 1];
        (line, self.text[start..byte].chars().count() + 1)
    }

    /// Byte of a line and column; past the end of the line: its end.
    pub(super) fn byte(&self, line: usize, column: usize) -> usize {
        let Some(&start) = self.starts.get(line.saturating_sub(1)) else {
            return self.text.len();
        };
        let end = self.starts.get(line).map_or(self.text.len(), |next| next - 1);
        let text = &self.text[start..end];
        start
            + text
                .char_indices()
                .nth(column.saturating_sub(1))
                .map_or(text.len(), |(at, _)| at)
    }

    fn diagnostic(&self, file: &str, problem: Problem) -> Diagnostic {
        let (line, column) = self.position(problem.span.start);
        let (end_line, end_column) = self.position(problem.span.end);
        let code = problem.code.to_owned();
        let Problem { message, help, .. } = problem;
        Diagnostic {
            file: file.to_owned(),
            line,
            column,
            end_line,
            end_column,
            code,
            message,
            help,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_characters_from_one() {
        let lines = Lines::new("aé\r\nb\n");
        assert_eq!(lines.position(0), (1, 1));
        assert_eq!(lines.position(3), (1, 3));
        assert_eq!(lines.position(5), (2, 1));
        assert_eq!(lines.position(99), (3, 1));
        assert_eq!(lines.byte(1, 3), 3);
        assert_eq!(lines.byte(2, 1), 5);
        assert_eq!(lines.byte(9, 9), 7);
    }
}
