//! Deciding on an approval.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Actor, CommandError};
use crate::store::Store;
use crate::store::votes::Ruling;
use crate::view;

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Opens the gate.
    Approve,
    /// Closes it.
    Reject,
}

/// A decision as it is sent: `{decision, comment, evidence}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Yes or no.
    pub decision: Choice,
    /// Why.
    #[serde(default)]
    pub comment: Option<String>,
    /// Digest of the evidence that was read.
    pub evidence: String,
}

/// Characters of a comment, at most.
const COMMENT: usize = 4000;

/// Records a decision. The same actor repeating the same decision on the same digest gets the same answer.
///
/// Errors: `Forbidden` (not asked, no person, the requester), `Decided`, `Expired`, `EvidenceChanged`, `NotFound`.
pub async fn decide(
    store: &Store,
    actor: &Actor,
    (approval, decision): (Uuid, Decision),
    now: Timestamp,
) -> Result<view::Approval, CommandError> {
    check_comment(decision.comment.as_deref())?;
    let ruling = store.vote(actor, (approval, decision), now).await?;
    let standing = async || {
        let found = store.approval(approval).await?;
        found.ok_or_else(|| unknown(approval))
    };
    match ruling {
        Ruling::Counted => standing().await,
        Ruling::Forbidden { why } => Err(CommandError::Forbidden { why }),
        Ruling::Expired { at } => Err(CommandError::Expired { at }),
        Ruling::Changed { digest } => Err(CommandError::EvidenceChanged { now: digest }),
        Ruling::Unknown => Err(unknown(approval)),
        Ruling::Closed { state } => {
            let approval = Box::new(standing().await?);
            let why = closed(&state, &approval);
            Err(CommandError::Decided { why, approval })
        }
    }
}

pub(super) fn check_comment(comment: Option<&str>) -> Result<(), CommandError> {
    let length = comment.map_or(0, |text| text.chars().count());
    if length > COMMENT {
        let why = format!("the comment has {length} characters, more than {COMMENT}");
        return Err(CommandError::Invalid { why });
    }
    Ok(())
}

fn unknown(approval: Uuid) -> CommandError {
    CommandError::NotFound {
        what: "approval",
        name: approval.to_string(),
        help: None,
    }
}

/// How it came to its state, in words.
fn closed(state: &str, approval: &view::Approval) -> String {
    let said = |word: &str| -> Vec<&str> {
        let votes = approval.votes.iter().filter(|vote| vote.decision == word);
        votes.map(|vote| vote.actor.as_str()).collect()
    };
    match state {
        "approved" => format!("it was approved by {} already", said("approve").join(", ")),
        "rejected" => format!("it was rejected by {} already", said("reject").join(", ")),
        "superseded" => "a newer run of the flow took its place".to_owned(),
        _ => "its run was stopped, there is nothing left to decide".to_owned(),
    }
}
