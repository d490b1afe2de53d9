//! The `tidegate` binary: the only place that reads arguments, environment and configuration.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
