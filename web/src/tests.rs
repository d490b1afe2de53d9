//! The router against a real PostgreSQL: who may what, every status of the contract, and what an attacker would try.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod access;
mod bench;
mod counted;
mod decisions;
mod rollbacks;
mod runs;
mod safety;
mod socket;
mod tokens;
mod watching;
mod webhooks;
