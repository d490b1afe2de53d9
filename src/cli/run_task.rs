//! The hidden verb that a worker starts for each attempt of a process plugin.

use std::process::ExitCode;

use super::{REFUSED, complain};

/// Serves the worker on standard input.
pub fn run() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("no runtime: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(tidegate_engine::worker::inside::serve(tidegate_flows::registry())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error}\n"));
            ExitCode::from(REFUSED)
        }
    }
}
