//! What a text splits into: plain pieces, expressions, and the names these refer to.

use std::fmt;
use std::ops::Range;

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// What is wrong, a lowercase fragment.
    pub message: String,
    /// Where, in bytes of the text.
    pub range: Range<usize>,
}

/// One step of a path: `.name`, `['name']` or `[0]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A key of a table.
    Key(String),
    /// A position in a list.
    Index(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key),
            Self::Index(index) => write!(f, "{index}"),
        }
    }
}

/// A name that an expression uses, with the steps that can be known: `tasks.pull.events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The first is a name: `tasks`, `params`, …
    pub path: Vec<Step>,
    /// Where each step stands, in bytes of the text.
    pub ranges: Vec<Range<usize>>,
    /// Ends in a step that only the run knows, as in `tasks.pull[params.key]`.
    pub open: bool,
}

impl Reference {
    /// Where the whole reference stands, in bytes of the text.
    pub fn range(&self) -> Range<usize> {
        let start = self.ranges.first().map_or(0, |r| r.start);
        start..self.ranges.last().map_or(start, |r| r.end)
    }

    /// The step at a position, if it is a key.
    pub fn key(&self, position: usize) -> Option<&str> {
        match self.path.get(position) {
            Some(Step::Key(key)) => Some(key),
            _ => None,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.path.iter().enumerate() {
            if position > 0 {
                f.write_str(".")?;
            }
            step.fmt(f)?;
        }
        Ok(())
    }
}

/// What stands between `{{` and `}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    /// Without the braces and the blanks around it, in bytes of the text.
    pub range: Range<usize>,
    /// The names it uses, in order.
    pub references: Vec<Reference>,
    /// It is one reference and nothing else: its type is that of the reference.
    pub bare: bool,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Stays as it is; a range of the text.
    Text(Range<usize>),
    /// Is evaluated.
    Expression(Expression),
}

/// A text, split.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parsed {
    /// In order, without gaps.
    pub pieces: Vec<Piece>,
}

impl Parsed {
    /// The one expression that is the whole text.
    pub fn whole(&self) -> Option<&Expression> {
        match self.pieces.as_slice() {
            [Piece::Expression(expression)] => Some(expression),
            _ => None,
        }
    }

    /// All expressions.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Expression(expression) => Some(expression),
            Piece::Text(_) => None,
        })
    }
}
