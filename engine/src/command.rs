//! The verbs of people and programs: who may do what, and what came of it. The web and the command line go through here.
//!
//! Each verb checks the actor's grants, does its work in one transaction, and answers with a view. A verb that takes an
//! idempotency key gives the same answer to a repeat.

mod backfills;
mod database;
mod decide;
mod flows;
mod freezes;
mod gates;
mod people;
mod pools;
mod roll_back;
mod runs;
mod schedules;
mod secrets;
mod tokens;
mod webhooks;

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use backfills::backfill;
pub use database::{migrate, prune};
pub use decide::{Choice, Decision, decide};
pub use flows::{Submission, SubmittedFlow, apply, apply_all, submit};
pub use freezes::{add_freeze, end_freeze};
pub use gates::{GateTrial, try_gate};
pub use people::{add_person, set_roles};
pub use pools::{LARGEST_POOL, remove_pool, set_pool};
pub use roll_back::{ROLL_BACK, RollbackRequest, Way, may_roll_back, roll_back};
pub use runs::{Decline, Request, RetryRequest, Triggered, cancel, confirm, decline, retry, trigger};
pub use schedules::pause_schedule;
pub use secrets::{remove_secret, set_secret};
pub use tokens::{TokenRequest, create_token, revoke_token, tokens};
pub use webhooks::{Message, receive};

use crate::rollback::Refusal;
use crate::spec::Diagnostic;
use crate::spec::params::ParamProblem;
use crate::store::StoreError;
use crate::view;

/// A grant. `operator` and `approver` each include `viewer` and not each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Triggers, cancels, retries, pauses.
    Operator,
    /// Decides.
    Approver,
    /// All of it, people included.
    Admin,
}

impl Role {
    /// The role's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }

    /// The role a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `anna`, `os:root`, `system`.
    pub name: String,
    /// Grants.
    pub roles: BTreeSet<Role>,
    /// A person who signed in (or whom the operating system's account stands for). Only people decide.
    pub is_person: bool,
}

impl Actor {
    /// A person with grants.
    pub fn person(name: impl Into<String>, roles: impl IntoIterator<Item = Role>) -> Self {
        Self {
            name: name.into(),
            roles: roles.into_iter().collect(),
            is_person: true,
        }
    }

    /// An account of the operating system that no person claims: may do all but decide.
    pub fn os(account: &str) -> Self {
        Self {
            name: format!("os:{account}"),
            roles: BTreeSet::from([Role::Admin]),
            is_person: false,
        }
    }

    /// A program that is nobody's: acts as `service:NAME`, and decides nothing.
    pub fn service(owner: impl Into<String>, roles: impl IntoIterator<Item = Role>) -> Self {
        Self {
            is_person: false,
            ..Self::person(owner, roles)
        }
    }

    /// The engine itself: schedules, the demo.
    pub fn system() -> Self {
        Self {
            name: "system".to_owned(),
            roles: BTreeSet::from([Role::Admin]),
            is_person: false,
        }
    }

    /// Whether a grant, or one that includes it, is there.
    pub fn has(&self, role: Role) -> bool {
        let includes = |held: &Role| *held == role || *held == Role::Admin || role == Role::Viewer;
        self.roles.iter().any(includes)
    }

    /// `Err(Forbidden)` without the grant.
    pub fn needs(&self, role: Role) -> Result<(), CommandError> {
        if self.has(role) {
            Ok(())
        } else {
            Err(CommandError::Forbidden {
                why: format!("{} is not granted the role {role}", self.name),
            })
        }
    }
}

/// Why a verb did nothing. Each maps to one HTTP status and one exit code.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// 403: the actor may not.
    #[error("{why}")]
    Forbidden { why: String },
    /// 401: a message that nobody signed, or that nobody takes.
    #[error("no webhook takes this, or its signature does not fit")]
    Unsigned,
    /// 404.
    #[error("no {what} `{name}`{}", near(.help))]
    NotFound {
        what: &'static str,
        name: String,
        help: Option<String>,
    },
    /// 422: params that do not fit.
    #[error("the params do not fit")]
    Params(Vec<ParamProblem>),
    /// 422: flow files that do not check.
    #[error("the flow files do not check")]
    Flows(Vec<Diagnostic>),
    /// 422: anything else about the request.
    #[error("{why}")]
    Invalid { why: String },
    /// 409: the approval is decided, or its run is over; with the standing decision.
    #[error("{why}")]
    Decided {
        why: String,
        approval: Box<view::Approval>,
    },
    /// 409: the run is over.
    #[error("run {run} is {state} already")]
    Over { run: Uuid, state: String },
    /// 409: the idempotency key was used for another request.
    #[error("the idempotency key `{key}` was used for another request")]
    KeyReused { key: String },
    /// 409: the alias does not go back.
    #[error("{0}")]
    NotRolledBack(Refusal),
    /// 410.
    #[error("the approval expired at {at}")]
    Expired { at: Timestamp },
    /// 412: what the decision rests on changed.
    #[error("the evidence is another by now: {now}")]
    EvidenceChanged { now: String },
    /// 503: something is to be set up here first.
    #[error("{why}")]
    NotReady { why: String },
    /// 503 or 500.
    #[error("store")]
    Store(#[from] StoreError),
}

fn near(help: &Option<String>) -> String {
    help.as_ref().map(|help| format!("; {help}")).unwrap_or_default()
}
