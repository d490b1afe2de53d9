//! The hidden verb that a worker starts for each attempt of a process plugin.

use super::Ended;
use crate::failure::{Failure, code};

/// Serves the worker on standard input.
pub async fn run() -> Ended {
    let served = tidegate_engine::worker::inside::serve(tidegate_flows::registry()).await;
    served
        .map(|()| code::DONE)
        .map_err(|error| Failure::refused(error.to_string()))
}
