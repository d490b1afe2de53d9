//! From decoded parts to a sealed flow: each check on its own, all problems gathered.

mod absence;
mod each;
mod fit;
mod given;
mod idle;
mod names;
mod rules;
mod schedule;
mod seal;
mod secret;
mod sub_flow;
mod syntax;
mod tasks;
mod trigger;
mod webhook;
mod whole;

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use serde_json::Value;
use toml::de::DeTable;

use super::decode::{Doc, Text};
use super::diagnostic::{Diagnostic, Problem, Problems};
use super::raw::{self, Head, Raw, RawParam};
use super::source::SourceFile;
use super::vars::{self, Env};
use super::version;
use crate::graph::{Flow, Graph, ParamSpec};
use crate::id::{FlowName, VersionHash};
use crate::plugin::Registry;
use crate::rollback;

/// A flow file that holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The sealed flow.
    pub flow: Flow,
    /// Hash over its source, the files it names and its vars.
    pub version: VersionHash,
}

/// Flows that a task may run, by name: those of the files that are checked together.
type Known = BTreeMap<String, Flow>;

/// Checks flow files that lie together: what a task may run, its params and outputs are those of the flow beside it. An answer for each.
pub fn check_all(
    sources: &[SourceFile],
    registry: &Registry,
    vars_env: Env<'_>,
) -> Vec<Result<Checked, Vec<Diagnostic>>> {
    let mut all: Vec<_> = sources
        .iter()
        .map(|source| check(source, registry, vars_env))
        .collect();
    let known: Known = all
        .iter()
        .flatten()
        .map(|checked| (checked.flow.name.to_string(), checked.flow.clone()))
        .collect();
    let runs_others = |checked: &Checked| {
        checked
            .flow
            .graph
            .tasks()
            .iter()
            .any(|task| task.sub_flow().is_some())
    };
    for (source, found) in sources.iter().zip(&mut all) {
        if found.as_ref().map_or(true, runs_others) {
            *found = check_among(source, (registry, &known), vars_env);
        }
    }
    all
}

/// Checks a flow file against the plugins there are. `vars_env` answers the variables that `[vars]` may read. Errors: every
/// problem of the file, sorted by place; after a TOML syntax error only that.
pub fn check(
    source: &SourceFile,
    registry: &Registry,
    vars_env: Env<'_>,
) -> Result<Checked, Vec<Diagnostic>> {
    check_among(source, (registry, &Known::new()), vars_env)
}

fn check_among(
    source: &SourceFile,
    (registry, known): (&Registry, &Known),
    vars_env: Env<'_>,
) -> Result<Checked, Vec<Diagnostic>> {
    let problems = Problems::default();
    let (root, errors) = DeTable::parse_recoverable(&source.text);
    let doc = Doc {
        text: &source.text,
        problems: &problems,
    };
    if source.text.trim().is_empty() {
        let problem = Problem::new("empty-file", 0..0, "this file is empty");
        problems.add(problem.help("a flow file begins with  [flow]  and  name = \"…\""));
        return Err(problems.into_diagnostics(source));
    }
    if !errors.is_empty() {
        syntax::report(doc, &errors);
        return Err(problems.into_diagnostics(source));
    }
    let raw = raw::decode(doc, root.get_ref());
    let checked = Checker {
        doc,
        source,
        registry,
        known,
    }
    .flow(raw, vars_env);
    match checked {
        Some(checked) if problems.is_empty() => Ok(checked),
        _ => Err(problems.into_diagnostics(source)),
    }
}

/// What all checks share.
#[derive(Clone, Copy)]
struct Checker<'d> {
    doc: Doc<'d>,
    source: &'d SourceFile,
    registry: &'d Registry,
    /// Flows that its tasks may run.
    known: &'d Known,
}

impl<'d> Checker<'d> {
    /// `None` only where a problem was noted.
    fn flow(self, raw: Raw<'d>, env: Env<'_>) -> Option<Checked> {
        let name = self.flow_name(&raw.head);
        self.distinct("param", raw.params.iter().map(|param| &param.name));
        self.distinct("var", raw.vars.iter().map(|(name, _)| name));
        let params = self.params(&raw.params);
        let vars: BTreeMap<String, Value> = raw
            .vars
            .iter()
            .map(|(name, node)| (name.value.clone(), vars::resolve(self.doc, name, node, env)))
            .collect();
        let unsure = raw.params.iter().any(|param| param.spec.is_none());
        let names = names::Names::new(self, &raw.tasks, names::scope_of(&params, &vars, unsure));
        whole::outlasting(self, &raw.tasks, raw.head.timeout);
        let (tasks, files) = tasks::check(self, raw.tasks, &names);
        let schedules = schedule::check(self.doc, raw.schedules, &params);
        let (triggers, webhook) = trigger::check(self.doc, raw.triggers, (name.as_ref(), &params));
        if !self.doc.problems.is_empty() {
            return None;
        }
        let graph = Graph::new(tasks).ok()?;
        let Head {
            description,
            owner,
            tags,
            timeout,
            expected,
            overlap,
            max_active,
            ..
        } = raw.head;
        let version = version::hash(&self.source.text, &files, &vars);
        let name = name?;
        let flow = Flow {
            name,
            description,
            owner,
            tags,
            timeout,
            expected,
            overlap,
            max_active,
            schedules,
            notify: raw.notify,
            triggers,
            webhook,
            params,
            vars,
            files,
            graph,
        };
        Some(Checked { flow, version })
    }

    fn flow_name(self, head: &Head) -> Option<FlowName> {
        let text = head.name.as_ref()?;
        let stem = self.source.stem();
        if text.value != stem {
            let message = format!(
                "`flow.name` is \"{}\", but the file is called {stem}.toml",
                text.value
            );
            let problem = Problem::new("name-differs", text.span.clone(), message);
            self.doc
                .problems
                .add(problem.help(format!("write name = \"{stem}\", or rename the file")));
        }
        if text.value == rollback::FLOW && !self.source.built_in {
            let message = format!(
                "`{}` is the name of a flow that Tidegate brings along",
                text.value
            );
            let problem = Problem::new("reserved-name", text.span.clone(), message);
            self.doc
                .problems
                .add(problem.help("call it something else, and the file too"));
        }
        FlowName::new(&text.value)
            .map_err(|e| self.doc.report("bad-name", text.span.clone(), e.to_string()))
            .ok()
    }

    fn params(self, raw: &[RawParam]) -> IndexMap<String, ParamSpec> {
        raw.iter()
            .filter_map(|param| Some((param.name.value.clone(), param.spec.clone()?)))
            .collect()
    }

    /// Names that expressions use: letters, digits, `_`; no two equal but for case.
    fn distinct<'t>(self, what: &str, names: impl Iterator<Item = &'t Text>) {
        let mut seen = BTreeSet::new();
        for name in names {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if !name.value.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.value.chars().all(plain) {
                let message = format!("`{}` is no name for a {what}", name.value);
                let problem = Problem::new("bad-name", name.span.clone(), message);
                self.doc
                    .problems
                    .add(problem.help("letters, digits and `_`, a letter first"));
            }
            if !seen.insert(name.value.to_lowercase()) {
                let message = format!("{what} `{}` differs from another only by case", name.value);
                self.doc.report("duplicate-name", name.span.clone(), message);
            }
        }
    }
}
