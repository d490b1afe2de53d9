//! The hidden verb that a worker starts to have its attempts ended should it be killed.

use super::Ended;
use crate::failure::{Failure, code};

/// Serves the worker on standard input, and outlives it.
pub async fn run() -> Ended {
    let served = tidegate_engine::worker::guard::serve().await;
    served
        .map(|()| code::DONE)
        .map_err(|error| Failure::refused(error.to_string()))
}
