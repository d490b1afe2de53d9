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
    /// Since when it takes nothing any more and lets what it runs end.
    pub draining_at: Option<Timestamp>,
    /// When it stopped as it should.
    pub stopped_at: Option<Timestamp>,
    /// It was heard of within a lease.
    pub alive: bool,
}

/// A limit on how many task runs hold a slot at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Name.
    pub name: String,
    /// Slots.
    pub size: u32,
    /// Who holds one, oldest first. More than `size` for a while after it was made smaller.
    pub holders: Vec<SlotHolder>,
    /// Task runs that are due and wait for one.
    pub waiting: i64,
    /// When its size was set.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: String,
}

/// A task run that holds a slot of a pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotHolder {
    /// Its run.
    pub run: Uuid,
    /// The run's flow.
    pub flow: String,
    /// Task.
    pub task: String,
    /// Since when it runs.
    pub since: Timestamp,
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

/// A secret, without its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Secret {
    /// Name.
    pub name: String,
    /// Id of the key it is sealed with.
    pub key: String,
    /// When it was set first.
    pub created_at: Timestamp,
    /// When it was set last.
    pub updated_at: Timestamp,
    /// Who set it last.
    pub updated_by: String,
}

/// A program's credential, without what it opens doors with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// What it is revoked by.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// Whom it acts as: a person, or `service:NAME`.
    pub owner: String,
    /// Grants, as far as its owner still has them.
    pub roles: Vec<String>,
    /// `valid`, `expired` or `revoked`.
    pub state: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// When it was last used, to the minute.
    pub used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// By whom.
    pub revoked_by: Option<String>,
}
