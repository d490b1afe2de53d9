//! Gates: rules that are judged, and the approval that people give.
//!
//! A rule is three-valued. Whatever is undefined (missing, null, NaN, infinite, of the wrong type) fails: a gate opens only on
//! numbers that were really there.
//!
//! [`Gate::judge`] looks up what its rules refer to and holds each against it; [`Opening::decide`] says what the gate does; [`Evidence`] is what is frozen and hashed
//! when people are asked.

pub mod decimal;
mod evidence;
mod judge;
mod opening;
mod reading;
mod refer;
mod trial;
mod why;

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::TaskName;

pub use evidence::{Evidence, JudgedRule};
pub use judge::{Judgement, Verdict, judge};
pub use opening::Opening;
pub use reading::{Measured, Reading, Undefined};
pub use trial::{Change, TrialError};

/// What must hold before a task may run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// All must pass, or be borderline and be decided by people.
    pub rules: Vec<Rule>,
    /// Who is asked, and when.
    pub approval: Option<ApprovalSpec>,
    /// Tasks whose outputs are shown besides those the gate refers to.
    pub evidence: Vec<TaskName>,
}

/// One condition on a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// What is judged; a `{{ … }}` reference.
    pub subject: Subject,
    /// The bound it is judged by.
    pub bound: Bound,
    /// Within this of the bound, inclusive: neither pass nor fail.
    pub borderline: Option<f64>,
    /// Whether an interval is judged whole or by its point.
    pub judged: Judged,
    /// What `{"absent": "no_baseline"}` means.
    pub without_baseline: WithoutBaseline,
}

/// What a rule looks at. The texts are templates as written in the flow file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// A number, or `{value, low, high}`.
    Metric { metric: String },
    /// A relative change, or `{value, low, high}` of one, or `{"absent": "no_baseline"}`.
    Change { change: String },
    /// Two plain numbers, of which the relative change `metric / against − 1` is judged.
    Against { metric: String, against: String },
}

/// The bound of a rule. Drops and rises are ratios: 10 % is 0.1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "bound", rename_all = "snake_case")]
pub enum Bound {
    /// Strictly greater.
    Above(f64),
    /// Greater or equal.
    AtLeast(f64),
    /// Strictly smaller.
    Below(f64),
    /// Smaller or equal.
    AtMost(f64),
    /// The change is not below `−ratio`.
    MaxDrop(f64),
    /// The change is not above `ratio`.
    MaxRise(f64),
}

/// Whether an interval is judged whole or by its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    /// The whole interval.
    #[default]
    Interval,
    /// The point alone: `use = "value"`.
    Value,
}

/// What the absence of a baseline means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum WithoutBaseline {
    /// The rule passes.
    Pass,
    /// A person decides.
    #[default]
    Ask,
    /// The rule fails.
    Fail,
}

/// Who decides, and by when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalSpec {
    /// Always, or only when a rule is borderline.
    pub when: AskWhen,
    /// `role:NAME` or `user:NAME`.
    pub by: Vec<String>,
    /// How many different people.
    pub required: u32,
    /// Whether the requester of the run may be one of them.
    pub allow_requester: bool,
    /// After this the approval expires.
    #[serde(with = "crate::duration::text")]
    pub expires: Duration,
    /// What expiry does.
    pub on_expire: OnExpire,
    /// Remind after this, again and again.
    #[serde(with = "crate::duration::text_option")]
    pub remind: Option<Duration>,
    /// Question to the approver; a template.
    pub message: Option<String>,
}

impl Default for ApprovalSpec {
    /// What a borderline rule without an approval table asks for: one `role:approver`, 48 h, then rejects.
    fn default() -> Self {
        Self {
            when: AskWhen::Borderline,
            by: vec!["role:approver".to_owned()],
            required: 1,
            allow_requester: false,
            expires: Duration::from_secs(48 * 3600),
            on_expire: OnExpire::Reject,
            remind: None,
            message: None,
        }
    }
}

/// When people are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum AskWhen {
    /// Whenever no rule fails.
    #[default]
    Always,
    /// When a rule is borderline.
    Borderline,
}

/// What expiry does to the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum OnExpire {
    /// `rejected`, reason `expired`.
    #[default]
    Reject,
    /// `failed`, reason `expired`.
    Fail,
}
