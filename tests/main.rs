//! Black-box and cross-crate tests, one module per behaviour, in one binary. The servers, browsers and faults they run
//! against come from `tidegate-test-fixtures`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod chaos;
mod command_line;
mod demo;
mod gates;
mod house;
mod lake;
mod mlflow;
mod recipes;
mod rooms;
