//! Triggers: the flow that is waited for and how its run must have ended, or the webhook.

use std::collections::BTreeSet;
use std::ops::Range;

use indexmap::IndexMap;

use super::super::decode::{Doc, Text};
use super::super::diagnostic::Problem;
use super::super::raw::{ENDS, On, RawTrigger};
use super::webhook::{self, Written};
use crate::graph::{EndState, FlowTrigger, ParamSpec, Webhook};
use crate::id::FlowName;

/// Checks all triggers of a flow. The answer counts only if no problem was noted.
pub(super) fn check<'d>(
    doc: Doc<'d>,
    raw: Vec<RawTrigger<'d>>,
    (own, params): (Option<&FlowName>, &IndexMap<String, ParamSpec>),
) -> (Vec<FlowTrigger>, Option<Webhook>) {
    let mut seen = BTreeSet::new();
    let (mut triggers, mut webhook, mut has_webhook) = (Vec::new(), None, false);
    for RawTrigger { span, on } in raw {
        match on {
            On::Flow { flow, states } => {
                let Some(flow) = flow else { continue };
                if !seen.insert(flow.value.clone()) {
                    let message = format!("flow `{}` is followed already", flow.value);
                    let problem = Problem::new("duplicate-name", flow.span.clone(), message);
                    doc.problems
                        .add(problem.help("list all of its ends in one `states`"));
                }
                let followed = followed(doc, (span, &flow, &states), (own, params));
                triggers.extend(followed);
            }
            On::Webhook { .. } if has_webhook => {
                let problem = Problem::new("duplicate-name", span, "the flow has a webhook already");
                let help = "tell messages apart with `when` and `params`, or by another flow";
                doc.problems.add(problem.help(help));
            }
            On::Webhook {
                secret,
                sender,
                when,
                params: given,
            } => {
                has_webhook = true;
                let written = Written {
                    span,
                    secret,
                    sender,
                    when,
                    params: given,
                };
                webhook = webhook::check(doc, written, params);
            }
        }
    }
    (triggers, webhook)
}

fn followed(
    doc: Doc<'_>,
    (span, flow, words): (Range<usize>, &Text, &[Text]),
    (own, params): (Option<&FlowName>, &IndexMap<String, ParamSpec>),
) -> Option<FlowTrigger> {
    if own.is_some_and(|own| own.as_str() == flow.value) {
        let problem = Problem::new(
            "cycle",
            flow.span.clone(),
            "a flow that follows itself never ends",
        );
        doc.problems.add(problem.help("name another flow"));
    }
    for (name, _) in params.iter().filter(|(_, spec)| spec.default.is_none()) {
        let message = format!(
            "param `{name}` has no default, and nobody gives it a value in a run that follows another"
        );
        let problem = Problem::new("missing-param", span.clone(), message);
        doc.problems
            .add(problem.help(format!("add a default to [params.{name}]")));
    }
    let name =
        FlowName::new(&flow.value).map_err(|e| doc.report("bad-name", flow.span.clone(), e.to_string()));
    let states = states(doc, words);
    Some(FlowTrigger {
        flow: name.ok()?,
        states,
    })
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
