//! The one home of the process's clocks, of randomness and of new identities.
//!
//! Everything else is told the time. Guards on leases and expiry read the database's clock in their statement instead.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use crate::id::RunId;

/// Wall time of this process.
#[expect(clippy::disallowed_methods, reason = "the one home of the clock")]
pub fn now() -> Timestamp {
    // PostgreSQL keeps microseconds: what is written is then what is read.
    let exact = Timestamp::now();
    Timestamp::from_microsecond(exact.as_microsecond()).unwrap_or(exact)
}

/// Monotonic time of this process, for deadlines of its own.
#[expect(clippy::disallowed_methods, reason = "the one home of the clock")]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// A pause; ends early only with its task.
#[expect(clippy::disallowed_methods, reason = "the one home of the clock")]
pub async fn sleep(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// A number in [0, 1).
#[expect(clippy::disallowed_methods, reason = "the one home of randomness")]
pub fn random() -> f64 {
    rand::random()
}

/// `N` random bytes, fit for tokens.
#[expect(clippy::disallowed_methods, reason = "the one home of randomness")]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    rand::random()
}

/// A new identity whose order is the order of creation.
#[expect(clippy::disallowed_methods, reason = "the one home of new identities")]
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// A new run's identity.
pub fn new_run_id() -> RunId {
    RunId(new_id())
}
