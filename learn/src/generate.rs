//! The generator of events.
