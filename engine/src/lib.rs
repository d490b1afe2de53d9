//! The engine of Tidegate: words, graph, states, gates, schedules, flow files, store, scheduler and worker.
//!
//! Read in this order. Pure, no clock, no I/O: [`id`], [`graph`], `state`, [`gate`], [`retry`], [`canonical`], [`schedule`], `plan`, [`rollback`],
//! `spec`; then [`plugin`]; then what touches the world: `clock`, `store`, `command`, `scheduler`, `worker`, `embedded`.

pub mod canonical;
pub mod clock;
pub mod command;
pub mod duration;
pub mod embedded;
pub mod gate;
pub mod graph;
pub mod id;
pub mod instant;
pub mod mask;
pub mod plan;
pub mod plugin;
pub mod retry;
pub mod rollback;
pub mod schedule;
pub mod scheduler;
pub mod schema;
pub mod secrets;
pub mod signature;
pub mod spec;
pub mod state;
pub mod store;
pub mod template;
pub mod view;
pub mod worker;
