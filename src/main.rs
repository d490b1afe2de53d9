//! The `tidegate` binary: the only place that reads arguments, environment and configuration.

mod backend;
mod bench;
mod cli;
mod client;
mod config;
#[cfg(feature = "ml")]
mod demo;
mod desk;
mod failure;
mod lacking;
mod roles;
mod term;
mod watch;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
