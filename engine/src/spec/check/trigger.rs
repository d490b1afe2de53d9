//! Triggers: the flow that is waited for, and how its run must have ended.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::super::decode::{Doc, Text};
use super::super::diagnostic::Problem;
use super::super::raw::{ENDS, RawTrigger};
use crate::graph::{EndState, FlowTrigger, ParamSpec};
use crate::id::FlowName;

/// Checks all triggers of a flow. The answer counts only if no problem was noted.
pub(super) fn check(
    doc: Doc<'_>,
    raw: Vec<RawTrigger>,
    (own, params): (Option<&FlowName>, &IndexMap<String, ParamSpec>),
) -> Vec<FlowTrigger> {
    let mut seen = BTreeSet::new();
    let mut triggers = Vec::new();
    for trigger in raw {
        let Some(flow) = &trigger.flow else { continue };
        if own.is_some_and(|own| own.as_str() == flow.value) {
            let problem = Problem::new(
                "cycle",
                flow.span.clone(),
                "a flow that follows itself never ends",
            );
            doc.problems.add(problem.help("name another flow"));
        }
        if !seen.insert(flow.value.clone()) {
            let message = format!("flow `{}` is followed already", flow.value);
            let problem = Problem::new("duplicate-name", flow.span.clone(), message);
            doc.problems
                .add(problem.help("list all of its ends in one `states`"));
        }
        for (name, _) in params.iter().filter(|(_, spec)| spec.default.is_none()) {
            let message = format!(
                "param `{name}` has no default, and nobody gives it a value in a run that follows another"
            );
            let problem = Problem::new("missing-param", trigger.span.clone(), message);
            doc.problems
                .add(problem.help(format!("add a default to [params.{name}]")));
        }
        let name =
            FlowName::new(&flow.value).map_err(|e| doc.report("bad-name", flow.span.clone(), e.to_string()));
        if let Ok(name) = name {
            let states = states(doc, &trigger.states);
            triggers.push(FlowTrigger { flow: name, states });
        }
    }
    triggers
}

fn states(doc: Doc<'_>, words: &[Text]) -> Vec<EndState> {
    let mut states = BTreeSet::new();
    for word in words {
        match serde_json::from_value(serde_json::Value::String(word.value.clone())) {
            Ok(state) => drop(states.insert(state)),
            Err(_) => {
                let message = format!("no run ends `{}`", word.value);
                let problem = Problem::new("wrong-value", word.span.clone(), message);
                doc.problems.add_unknown(problem, &word.value, ENDS.into_iter());
            }
        }
    }
    if states.is_empty() {
        states.insert(EndState::Succeeded);
    }
    states.into_iter().collect()
}
