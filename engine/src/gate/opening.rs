//! What a gate does once its rules are judged.

use super::judge::{Judgement, Verdict};
use super::{ApprovalSpec, AskWhen, Gate};

/// What a gate does.
#[derive(Debug, Clone, PartialEq)]
pub enum Opening {
    /// The task is `rejected`, reason `rule_failed`.
    Rejected {
        /// A sentence for each rule that failed.
        why: Vec<String>,
    },
    /// The task may run.
    Opens,
    /// The task waits for people.
    Asks {
        /// Who, and by when.
        approval: ApprovalSpec,
        /// A sentence for each borderline rule; empty where the gate always asks.
        why: Vec<String>,
    },
}

impl Opening {
    /// Decides by the judgements of the gate's rules, in their order. A rule without its judgement closes the gate.
    pub fn decide(gate: &Gate, judgements: &[Judgement]) -> Self {
        if judgements.len() != gate.rules.len() {
            let why = format!(
                "{} rules were judged, the gate has {}",
                judgements.len(),
                gate.rules.len()
            );
            return Self::Rejected { why: vec![why] };
        }
        let whys = |verdict| -> Vec<String> {
            judgements
                .iter()
                .filter(|j| j.verdict == verdict)
                .map(|j| j.why.clone())
                .collect()
        };
        let (failed, borderline) = (whys(Verdict::Fail), whys(Verdict::Borderline));
        let always = gate
            .approval
            .as_ref()
            .is_some_and(|approval| approval.when == AskWhen::Always);
        if !failed.is_empty() {
            Self::Rejected { why: failed }
        } else if always || !borderline.is_empty() {
            Self::Asks {
                approval: gate.approval.clone().unwrap_or_default(),
                why: borderline,
            }
        } else {
            Self::Opens
        }
    }
}
