//! What `{{ … }}` may refer to, and the type of each reference.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::super::params;
use super::super::raw::RawTask;
use super::{Checker, Known};
use crate::graph::{Flow, MOST_NESTED, ParamSpec, sub_flow};
use crate::id::TaskIdx;
use crate::plugin::{ErasedPlugin, Registry};
use crate::schema::{self, Found};
use crate::template::{Reference, Step};

/// The names at the top.
const ROOTS: [&str; 5] = ["params", "vars", "tasks", "run", "secrets"];

/// The name of what a task with `for_each` runs for; there alone it means something.
const ITEM: &str = "item";

/// What is known of a task before its references are followed.
pub(super) struct Facts<'d> {
    pub name: String,
    pub plugin: Option<&'d Arc<dyn ErasedPlugin>>,
    /// Its `with` as JSON, unrendered.
    pub with: Value,
    /// Its failure does not count: what needs it runs even then.
    pub tolerated: bool,
    /// The list that it runs for as JSON, unrendered.
    pub for_each: Option<Value>,
    /// Schema of its outputs; `None`: not known.
    outputs: Option<Cow<'d, Value>>,
}

/// All names of a flow.
pub(super) struct Names<'d> {
    pub facts: Vec<Facts<'d>>,
    index: HashMap<String, TaskIdx>,
    scope: Value,
}

/// A reference that leads nowhere.
pub(super) struct Unknown {
    /// The step that does not exist.
    pub position: usize,
    pub code: &'static str,
    pub message: String,
    pub known: Vec<String>,
    pub help: Option<String>,
}

/// The schema of everything but `tasks`. When a param's type is not known, params are not judged at all.
pub(super) fn scope_of(
    params: &IndexMap<String, ParamSpec>,
    vars: &BTreeMap<String, Value>,
    unsure: bool,
) -> Value {
    let kinds: Map<String, Value> = params
        .iter()
        .map(|(name, spec)| (name.clone(), params::schema_of(&spec.kind)))
        .collect();
    let values: Map<String, Value> = vars
        .iter()
        .map(|(name, value)| (name.clone(), exactly(value)))
        .collect();
    let text = json!({"type": "string"});
    json!({
        "params": if unsure { json!(true) } else { closed(kinds) },
        "vars": closed(values),
        "run": {"type": "object", "additionalProperties": false, "properties": {
            "id": text, "flow": text, "version": text, "trigger": text, "time": text,
            "scheduled_for": {"type": ["string", "null"]},
        }},
        // Which there are is known to the database only.
        "secrets": {"type": "object", "additionalProperties": text},
    })
}

fn closed(properties: Map<String, Value>) -> Value {
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn exactly(value: &Value) -> Value {
    match value {
        Value::Object(map) => closed(
            map.iter()
                .map(|(key, value)| (key.clone(), exactly(value)))
                .collect(),
        ),
        Value::Array(_) => json!({"type": "array"}),
        plain => json!({"const": plain}),
    }
}

impl<'d> Names<'d> {
    pub(super) fn new(checker: Checker<'d>, tasks: &[RawTask<'d>], scope: Value) -> Self {
        let facts = tasks.iter().map(|task| facts(checker, task)).collect();
        let index = tasks
            .iter()
            .enumerate()
            .map(|(idx, task)| (task.name.value.clone(), idx as TaskIdx))
            .collect();
        Self { facts, index, scope }
    }

    pub(super) fn find(&self, task: &str) -> Option<TaskIdx> {
        self.index.get(task).copied()
    }

    pub(super) fn task_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.facts.iter().map(|facts| facts.name.as_str())
    }

    /// The schema of what a reference leads to; `None`: it exists, but its type is not known.
    pub(super) fn lookup(&self, reference: &Reference) -> Result<Option<&Value>, Unknown> {
        match reference.key(0) {
            Some("tasks") => self.task_output(reference),
            Some(root) if ROOTS.contains(&root) => {
                let schema = self.scope.get(root);
                schema.map_or(Ok(None), |schema| follow(schema, reference, 1))
            }
            _ => Err(Unknown {
                position: 0,
                code: "unknown-name",
                message: format!("there is no `{}` here", reference.path[0]),
                known: ROOTS.map(str::to_owned).to_vec(),
                help: (reference.key(0) == Some(ITEM)).then(|| {
                    "`item` is what a task with `for_each` runs for; its `with` and `env` may name it"
                        .to_owned()
                }),
            }),
        }
    }

    /// The same within a task that runs for the items of a list: `item` is one of them, of the schema given.
    pub(super) fn lookup_in<'s>(
        &'s self,
        item: Option<&'s Value>,
        reference: &Reference,
    ) -> Result<Option<&'s Value>, Unknown> {
        match item {
            Some(schema) if reference.key(0) == Some(ITEM) => follow(schema, reference, 1),
            _ => self.lookup(reference),
        }
    }

    /// What could stand instead of a reference: outputs of the same task, or other params or vars, of a fitting type.
    pub(super) fn fitting(&self, reference: &Reference, schema: &Value) -> Vec<String> {
        let (prefix, values) = match (reference.key(0), reference.key(1)) {
            (Some("tasks"), Some(task)) => {
                let outputs = self
                    .find(task)
                    .and_then(|idx| self.facts[idx as usize].outputs.as_deref());
                (format!("tasks.{task}"), outputs)
            }
            (Some(root), _) => (root.to_owned(), self.scope.get(root)),
            _ => return Vec::new(),
        };
        let properties = values
            .and_then(|values| values.get("properties"))
            .and_then(Value::as_object);
        let fitting = properties
            .into_iter()
            .flatten()
            .filter(|(_, from)| schema::could_fit(from, schema));
        fitting
            .map(|(name, _)| format!("`{prefix}.{name}`"))
            .take(6)
            .collect()
    }

    fn task_output(&self, reference: &Reference) -> Result<Option<&Value>, Unknown> {
        let Some(name) = reference.path.get(1).map(Step::to_string) else {
            return Err(Unknown {
                position: 0,
                code: "unknown-task",
                message: "`tasks` alone names no task".to_owned(),
                known: Vec::new(),
                help: Some("write `tasks.NAME.OUTPUT`".to_owned()),
            });
        };
        let Some(idx) = self.find(&name) else {
            return Err(self.unknown_task(&name));
        };
        let outputs = self.facts[idx as usize].outputs.as_deref();
        outputs.map_or(Ok(None), |schema| {
            follow(schema, reference, 2).map_err(|unknown| self.name_output(unknown, idx))
        })
    }

    fn unknown_task(&self, name: &str) -> Unknown {
        let dashed = self
            .task_names()
            .find(|task| task.strip_prefix(name).is_some_and(|rest| rest.starts_with('-')));
        Unknown {
            position: 1,
            code: "unknown-task",
            message: format!("there is no task `{name}`"),
            known: Vec::new(),
            help: dashed.map(|task| format!("a dash is a minus in an expression: write `tasks['{task}']`")),
        }
    }

    fn name_output(&self, unknown: Unknown, idx: TaskIdx) -> Unknown {
        if unknown.position > 2 {
            return unknown;
        }
        let facts = &self.facts[idx as usize];
        let uses = facts.plugin.map_or("", |plugin| plugin.descriptor().name);
        let step = unknown.message;
        let message = format!("task `{}` ({uses}) has no output `{step}`", facts.name);
        let none = unknown
            .known
            .is_empty()
            .then(|| "it declares no outputs".to_owned());
        Unknown {
            code: "unknown-output",
            message,
            help: none,
            ..unknown
        }
    }
}

/// Follows the steps of a reference from `position` on.
fn follow<'s>(
    schema: &'s Value,
    reference: &Reference,
    position: usize,
) -> Result<Option<&'s Value>, Unknown> {
    let mut schema = schema;
    for (at, step) in reference.path.iter().enumerate().skip(position) {
        match schema::step(schema, step) {
            Found::Schema(found) => schema = found,
            Found::Missing(known) => return Err(missing(reference, at, known)),
        }
    }
    Ok((!reference.open).then_some(schema))
}

fn missing(reference: &Reference, position: usize, known: Vec<&str>) -> Unknown {
    let step = reference.path[position].to_string();
    let before = Reference {
        path: reference.path[..position].to_vec(),
        ranges: Vec::new(),
        open: false,
    };
    let (code, message) = match (reference.key(0), position) {
        (Some("params"), 1) => ("unknown-param", format!("there is no param `{step}`")),
        (Some("vars"), 1) => ("unknown-var", format!("there is no var `{step}`")),
        // Completed by `name_output`, which knows the task.
        (Some("tasks"), 2) => ("unknown-output", step),
        _ => ("unknown-field", format!("`{before}` has no `{step}`")),
    };
    let known = known.into_iter().map(str::to_owned).collect();
    Unknown {
        position,
        code,
        message,
        known,
        help: None,
    }
}

fn facts<'d>(checker: Checker<'d>, task: &RawTask<'d>) -> Facts<'d> {
    let with = task
        .with
        .map_or_else(|| json!({}), |node| checker.doc.json(node, "with"));
    let plugin = task
        .uses
        .as_ref()
        .and_then(|uses| checker.registry.get(&uses.value));
    let for_each = task.for_each.map(|node| checker.doc.json(node, "for_each"));
    let outputs = plugin.map(|plugin| {
        let shape = Shape {
            with: &with,
            mapped: for_each.is_some(),
        };
        outputs_of(
            (checker.registry, checker.known),
            plugin.as_ref(),
            (shape, MOST_NESTED),
        )
    });
    Facts {
        name: task.name.value.clone(),
        plugin,
        with,
        tolerated: task.continue_on_failure,
        for_each,
        outputs,
    }
}

/// What the outputs of a task depend on beside its plugin.
pub(super) struct Shape<'w> {
    pub with: &'w Value,
    /// It runs for the items of a list.
    pub mapped: bool,
}

/// The outputs of a task, with those of the flow that it runs where that is known; `depth`: so many runs within runs are looked into.
pub(super) fn outputs_of<'d>(
    (registry, known): (&Registry, &Known),
    plugin: &'d dyn ErasedPlugin,
    (shape, depth): (Shape<'_>, usize),
) -> Cow<'d, Value> {
    let mut found = outputs(plugin, shape.with);
    let name = sub_flow(plugin.descriptor().name, shape.with);
    if depth > 0
        && let Some(child) = name.and_then(|name| known.get(name))
        && let Some(place) = found.to_mut().pointer_mut("/properties/outputs")
    {
        *place = outputs_of_flow((registry, known), child, depth - 1);
    }
    if shape.mapped {
        found = Cow::Owned(lists_of(&found));
    }
    found
}

/// What the tasks of a flow hand on, by name.
fn outputs_of_flow((registry, known): (&Registry, &Known), flow: &Flow, depth: usize) -> Value {
    let tasks = flow.graph.tasks().iter().map(|task| {
        let shape = Shape {
            with: &task.with,
            mapped: task.for_each.is_some(),
        };
        let outputs = registry.get(&task.uses).map_or(json!(true), |plugin| {
            outputs_of((registry, known), plugin.as_ref(), (shape, depth)).into_owned()
        });
        (task.name.to_string(), outputs)
    });
    closed(tasks.collect())
}

/// The outputs of a map: of each the list of what the items handed on.
fn lists_of(outputs: &Value) -> Value {
    let properties = outputs.get("properties").and_then(Value::as_object);
    let lists = properties.into_iter().flatten().map(|(name, schema)| {
        let list = json!({"type": "array", "items": schema});
        (name.clone(), list)
    });
    closed(lists.collect())
}

/// The outputs of a task. Only what is declared may be referred to, even where the plugin's type has room for more.
fn outputs<'d>(plugin: &'d dyn ErasedPlugin, with: &Value) -> Cow<'d, Value> {
    let base = &plugin.descriptor().output;
    let declared = plugin.declared_outputs(with);
    let open = base
        .get("additionalProperties")
        .is_some_and(|more| more != &Value::Bool(false));
    let has_names = base
        .get("properties")
        .and_then(Value::as_object)
        .is_some_and(|p| !p.is_empty());
    let is_object = base.get("type").is_some();
    if declared.is_empty() && (!is_object || has_names && !open) {
        return Cow::Borrowed(base);
    }
    let mut properties = base
        .get("properties")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    properties.extend(declared);
    Cow::Owned(closed(properties))
}
