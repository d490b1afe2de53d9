//! What the templates of a gate lead to.

use std::collections::BTreeSet;

use serde_json::Value;

use super::evidence::JudgedRule;
use super::judge::judge;
use super::reading::{Reading, Undefined};
use super::{Gate, Subject};
use crate::id::TaskName;
use crate::template::{self, RenderError};

impl Gate {
    /// Judges each rule on what it refers to in `scope`. What leads nowhere, or cannot be evaluated, is undefined: the rule fails.
    pub fn judge(&self, scope: &Value) -> Vec<JudgedRule> {
        let judged = self.rules.iter().map(|rule| {
            let (subject, against) = match &rule.subject {
                Subject::Metric { metric } => (metric, None),
                Subject::Change { change } => (change, None),
                Subject::Against { metric, against } => (metric, Some(against)),
            };
            let against = against.map(|text| read(text, scope));
            JudgedRule {
                rule: rule.clone(),
                judgement: judge(rule, read(subject, scope), against),
            }
        });
        judged.collect()
    }

    /// The tasks whose outputs belong to the evidence: those the gate refers to, and those it names.
    pub fn shown(&self) -> BTreeSet<TaskName> {
        let referred = self.texts().flat_map(|text| tasks_of(text));
        referred.chain(self.evidence.iter().cloned()).collect()
    }

    /// Its templates.
    pub fn texts(&self) -> impl Iterator<Item = &String> {
        let subjects = self.rules.iter().flat_map(|rule| match &rule.subject {
            Subject::Metric { metric: text } | Subject::Change { change: text } => vec![text],
            Subject::Against { metric, against } => vec![metric, against],
        });
        subjects.chain(self.approval.iter().filter_map(|asks| asks.message.as_ref()))
    }
}

fn read(text: &str, scope: &Value) -> Reading {
    match template::render_value(&Value::String(text.to_owned()), scope) {
        Ok(value) => Reading::of(Some(&value)),
        Err(RenderError::Undefined { .. }) => Reading::of(None),
        Err(error) => Reading::Undefined(Undefined::Failed(error.to_string())),
    }
}

fn tasks_of(text: &str) -> Vec<TaskName> {
    let Ok(parsed) = template::parse(text) else {
        return Vec::new();
    };
    let references = parsed.expressions().flat_map(|e| &e.references);
    let tasks = references.filter(|reference| reference.key(0) == Some("tasks"));
    tasks
        .filter_map(|reference| TaskName::new(reference.key(1)?).ok())
        .collect()
}
