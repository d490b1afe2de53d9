//! Why an expression is refused, where in it, and the way out.

use std::ops::Range;

use super::field::Kind;

/// A refused cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct CronError {
    /// What is wrong.
    pub fault: Fault,
    /// The offending bytes of the expression; empty only if the expression is.
    pub at: Range<usize>,
    /// The way out, as one sentence.
    pub help: String,
}

/// What can be wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing was written.
    #[error("a cron expression must not be empty")]
    Empty,
    /// Not five fields.
    #[error("a cron expression has 5 fields, this has {0}")]
    Fields(usize),
    /// `@reboot`.
    #[error("`@reboot` names no instant")]
    Reboot,
    /// An unknown `@name`.
    #[error("`{0}` is no known name for an expression")]
    Macro(String),
    /// Nothing between two commas.
    #[error("the {0} field holds an empty list item")]
    EmptyItem(Kind),
    /// An item that no rule of the field fits.
    #[error("`{item}` is no {kind}")]
    Item {
        /// The field.
        kind: Kind,
        /// The item as written.
        item: String,
    },
    /// A value outside of the field.
    #[error("{value} is no {kind}")]
    OutOfRange {
        /// The field.
        kind: Kind,
        /// The number as written.
        value: u32,
    },
    /// A step that never gets to a second value.
    #[error("a step of {step} leaves the {kind} field")]
    Step {
        /// The field.
        kind: Kind,
        /// The step as written.
        step: u32,
    },
    /// A range that runs backwards.
    #[error("the {kind} range {first}-{last} runs backwards")]
    Backwards {
        /// The field.
        kind: Kind,
        /// Where it starts.
        first: u32,
        /// Where it ends.
        last: u32,
    },
    /// Day of month and day of week without a word on how they combine.
    #[error("day of month and day of week are both given")]
    BothDays,
    /// `dom_dow` with nothing to combine.
    #[error("`dom_dow` combines day of month with day of week, but only one of them is given")]
    NothingToCombine,
    /// A date that is in no calendar.
    #[error("this date never comes")]
    NeverComes,
}
