//! Tasks that run another flow: what that flow takes, where it is known, and that none comes to run itself.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use toml::de::DeTable;

use super::super::diagnostic::Problem;
use super::super::params;
use super::Known;
use super::tasks::TaskCheck;
use crate::graph::{Flow, SUB_FLOW, sub_flow};
use crate::plugin::ErasedPlugin;
use crate::rollback;

impl TaskCheck<'_, '_> {
    /// Judges a task that runs a flow. The schema of its `with`, narrowed to what the flow takes; `None`: as the plugin says.
    pub(super) fn sub_flow(&self, plugin: &dyn ErasedPlugin) -> Option<Value> {
        let descriptor = plugin.descriptor();
        if descriptor.name != SUB_FLOW {
            return None;
        }
        let name = sub_flow(SUB_FLOW, &self.facts.with)?;
        self.reserved(name);
        self.circle(name);
        let flow = self.checker.known.get(name)?;
        Some(narrowed(&descriptor.input, flow))
    }

    /// A flow whose runs are made by a verb of their own.
    fn reserved(&self, name: &str) {
        if name == rollback::FLOW {
            let message = format!("no flow runs `{name}`: who rolls back is a person with a reason");
            let problem = Problem::new("reserved-name", self.span_of("flow"), message);
            let help = "use `promote` behind a gate, or roll back by `tidegate models rollback`";
            self.checker.doc.problems.add(problem.help(help));
        }
    }

    /// A flow that runs itself, directly or through others.
    fn circle(&self, name: &str) {
        let source = self.checker.source.stem();
        let Some(way) = way_back(self.checker.known, name, source) else {
            return;
        };
        let message = format!(
            "this flow would run itself for ever: {source} → {}",
            way.join(" → ")
        );
        let problem = Problem::new("cycle", self.span_of("flow"), message);
        let help = "a run waits for the runs that it makes, so none of them could end; run another flow";
        self.checker.doc.problems.add(problem.help(help));
    }

    /// Values of params that have the right type and do not fit all the same.
    pub(super) fn unfit_params(&self, table: &DeTable<'_>) -> Vec<Problem> {
        let name = sub_flow(
            self.facts.plugin.map_or("", |plugin| plugin.descriptor().name),
            &self.facts.with,
        );
        let Some(flow) = name.and_then(|name| self.checker.known.get(name)) else {
            return Vec::new();
        };
        let given = table.iter().find(|(key, _)| key.get_ref() == "params");
        let given = given.and_then(|(_, node)| node.get_ref().as_table());
        let place = |param: &str| {
            let found = given.and_then(|given| given.iter().find(|(key, _)| key.get_ref() == param));
            found.map_or_else(|| self.span_of("params"), |(_, node)| node.span())
        };
        params::foresee_with(flow, &self.facts.with)
            .iter()
            .map(|problem| {
                Problem::new(
                    "wrong-value",
                    place(&problem.param),
                    format!("{problem}, says flow `{}`", flow.name),
                )
            })
            .collect()
    }

    /// Where a key of `with` stands, else the task.
    fn span_of(&self, wanted: &str) -> std::ops::Range<usize> {
        let with = self.task.with.and_then(|node| node.get_ref().as_table());
        let node = with.and_then(|with| with.iter().find(|(key, _)| key.get_ref() == wanted));
        node.map_or_else(|| self.task.name.span.clone(), |(_, node)| node.span())
    }
}

/// The flows from `name` to `goal`, both ends named, along the tasks that run them.
fn way_back(known: &Known, name: &str, goal: &str) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut open = vec![vec![name.to_owned()]];
    while let Some(way) = open.pop() {
        let last = way.last()?;
        if last == goal {
            return Some(way);
        }
        if !seen.insert(last.clone()) {
            continue;
        }
        let next = known.get(last).into_iter().flat_map(|flow| flow.graph.tasks());
        for child in next.filter_map(|task| task.sub_flow()) {
            open.push(way.iter().cloned().chain([child.to_owned()]).collect());
        }
    }
    None
}

/// The plugin's schema with the params and the tasks of the flow that is run.
fn narrowed(input: &Value, flow: &Flow) -> Value {
    let mut schema = input.clone();
    let properties: Map<String, Value> = flow
        .params
        .iter()
        .map(|(name, spec)| (name.clone(), params::schema_of(&spec.kind)))
        .collect();
    let required: Vec<&String> = flow
        .params
        .iter()
        .filter(|(_, spec)| spec.default.is_none())
        .map(|(name, _)| name)
        .collect();
    if !required.is_empty()
        && let Some(keys) = schema.get_mut("required").and_then(Value::as_array_mut)
    {
        keys.push(json!("params"));
    }
    let takes = json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        "description": format!("The params of flow `{}`.", flow.name),
    });
    let tasks: Vec<&str> = flow.graph.tasks().iter().map(|task| task.name.as_str()).collect();
    let wanted = json!({"type": ["array", "null"], "items": {"type": "string", "enum": tasks}});
    if let Some(keys) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        keys.insert("params".to_owned(), takes);
        keys.insert("outputs".to_owned(), wanted);
    }
    schema
}
