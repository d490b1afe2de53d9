//! Schedules: what a cron expression means, in a zone whose clock changes.
//!
//! [`Cron`] is a checked expression, [`Timetable`] joins it with a zone, [`Timetable::due`] says what becomes of every tick since the
//! cursor, [`Timetable::explain`] puts it into words.
//!
//! - An expression without wildcard or step in hour and minute names **fixed times**. One that falls into a gap of the wall clock
//!   fires at the first instant after the gap; one that comes twice fires on its first occurrence. Several that come to one
//!   instant are one tick.
//! - Any other expression follows **elapsed time**: it fires at each instant whose wall clock fits.
//!
//! Zones are jiff's: the system's database, and the one bundled with jiff where there is none. `croner` reads single list items
//! (see `field.rs`); its evaluator is not used, and a test shows why.

mod cron;
mod days;
mod due;
mod explain;
mod fault;
mod field;
mod span;
mod timetable;
mod words;
mod zone;

#[cfg(test)]
mod tests;

pub use cron::Cron;
pub use due::{Catchup, Due, MOST_RUNS, ON_TIME, SkipReason, SkippedTicks};
pub use explain::{ClockChange, Explanation};
pub use fault::{CronError, Fault};
pub use field::Kind;
pub use timetable::{Tick, Timetable};
pub use zone::{UnknownZone, find_zone, zone_source};
