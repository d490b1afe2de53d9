//! Params that a schedule or a trigger gives to the runs it makes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use indexmap::IndexMap;
use serde_json::Value;

use super::super::decode::{Doc, Node, Section, Text};
use super::super::diagnostic::Problem;
use crate::graph::ParamSpec;

/// Checks that all of them exist and that none without a default is left out. `giver`: "this schedule", which stands at `span`; `take`
/// reads a value.
pub(super) fn given<'d>(
    doc: Doc<'d>,
    (section, params): (Option<&Section<'d>>, &IndexMap<String, ParamSpec>),
    (giver, span): (&str, Range<usize>),
    take: impl Fn(&Text, Node<'d>, &ParamSpec) -> Option<Value>,
) -> BTreeMap<String, Value> {
    let mut given = BTreeMap::new();
    let mut named = BTreeSet::new();
    for (key, node) in section.into_iter().flat_map(Section::entries) {
        named.insert(key.value.clone());
        match params.get(&key.value) {
            Some(spec) => given.extend(take(&key, node, spec).map(|value| (key.value, value))),
            None => {
                let message = format!("there is no param `{}`", key.value);
                let problem = Problem::new("unknown-param", key.span, message);
                doc.problems
                    .add_unknown(problem, &key.value, params.keys().map(String::as_str));
            }
        }
    }
    for (name, _) in params
        .iter()
        .filter(|(name, spec)| spec.default.is_none() && !named.contains(*name))
    {
        let message = format!("{giver} gives no value for param `{name}`, which has no default");
        let problem = Problem::new("missing-param", span.clone(), message);
        doc.problems.add(problem.help(format!(
            "add params = {{ {name} = … }}, or a default to [params.{name}]"
        )));
    }
    given
}
