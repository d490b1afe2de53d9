//! Who works here: processes and people.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A worker process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Identity of this start.
    pub id: Uuid,
    /// Host and process.
    pub name: String,
    /// Version of its program.
    pub version: String,
    /// Queues it serves.
    pub queues: Vec<String>,
    /// Attempts it runs at once.
    pub slots: i32,
    /// Attempts it runs now.
    pub busy: i64,
    /// When it started.
    pub started_at: Timestamp,
    /// When it was last heard of.
    pub heartbeat_at: Timestamp,
    /// When it stopped as it should.
    pub stopped_at: Option<Timestamp>,
    /// It was heard of within a lease.
    pub alive: bool,
}

/// A person who can sign in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Person {
    /// Name.
    pub name: String,
    /// `viewer`, `operator`, `approver`, `admin`.
    pub roles: Vec<String>,
    /// Account of the operating system that acts as this person.
    pub os_user: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it may not sign in.
    pub disabled_at: Option<Timestamp>,
}
