//! Tasks one by one: plugins, references and the needs they imply, inputs, conditions, gates.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::decode::{Doc, Node, Text};
use super::super::diagnostic::Problem;
use super::super::raw::RawTask;
use super::super::vars::PREFIX;
use super::fit::{Fitter, Place, missing};
use super::names::{Facts, Names};
use super::seal::{named_files, seal};
use super::{Checker, each, secret, whole};
use crate::graph::{RunIf, Task};
use crate::id::TaskIdx;
use crate::plugin::{ErasedPlugin, Fault, Objection};
use crate::template::{Expression, Reference, TemplateError, has_expression, parse, parse_expression};

/// Notes secrets that stand where they must not.
pub(super) type JudgeSecrets = fn(Doc<'_>, &Text, &Expression);

/// A need and the place it comes from.
pub(super) struct Edge {
    pub to: TaskIdx,
    pub span: Range<usize>,
}

/// Checks all tasks; answers them, and the files that belong to the flow. The answer counts only if no problem was noted.
pub(super) fn check<'d>(
    checker: Checker<'d>,
    raw: Vec<RawTask<'d>>,
    names: &Names<'d>,
) -> (Vec<Task>, BTreeMap<String, String>) {
    whole::distinct(checker, &raw);
    let edges: Vec<Vec<Edge>> = raw
        .iter()
        .zip(&names.facts)
        .map(|(task, facts)| {
            let item = each::item_schema(task, names);
            let item = item.as_ref();
            TaskCheck {
                checker,
                names,
                task,
                facts,
                item,
            }
            .run()
        })
        .collect();
    whole::report_cycles(checker, names, &edges);
    for (task, _) in raw.iter().zip(&edges).filter(|(_, edges)| edges.is_empty()) {
        whole::idle_condition(checker, task);
    }
    let mut files = BTreeMap::new();
    let mut tasks = Vec::with_capacity(raw.len());
    for (idx, task) in raw.into_iter().enumerate() {
        whole::check_evidence(checker, names, (idx, &task), &edges);
        let named = named_files(checker, &task);
        files.extend(named.iter().map(|(path, text)| (path.clone(), text.clone())));
        tasks.extend(seal(
            task,
            &names.facts[idx],
            &edges[idx],
            named.into_keys().collect(),
        ));
    }
    (tasks, files)
}

/// The checks of one task.
pub(super) struct TaskCheck<'c, 'd> {
    pub checker: Checker<'d>,
    pub names: &'c Names<'d>,
    pub task: &'c RawTask<'d>,
    pub facts: &'c Facts<'d>,
    /// Schema of `item`, where the task runs for the items of a list.
    pub item: Option<&'c Value>,
}

impl<'d> TaskCheck<'_, 'd> {
    fn run(&self) -> Vec<Edge> {
        let mut edges = self.written_needs();
        self.plugin_and_input();
        self.texts_without_null();
        if let Some(node) = self.task.with {
            self.references_in(node, &mut edges, secret::plain);
        }
        for (_, value) in &self.task.env {
            self.all_references(value, &mut edges, secret::plain);
        }
        // These two come before there is an item.
        let head = TaskCheck { item: None, ..*self };
        if let Some(when) = &self.task.when {
            head.condition(when, &mut edges);
        }
        head.list(&mut edges);
        self.contradictions();
        if let Some(gate) = &self.task.gate {
            for subject in &gate.subjects {
                self.references(subject, &mut edges);
                self.gate_subject(subject);
            }
            if let Some(message) = &gate.message {
                self.references(message, &mut edges);
            }
        }
        edges
    }

    /// What becomes a text whatever it refers to.
    fn texts_without_null(&self) {
        let fitter = self.fitter(Some(self.task.run_if()));
        let message = self.task.gate.iter().filter_map(|gate| gate.message.as_ref());
        let texts = self.task.env.iter().map(|(_, value)| value).chain(message);
        texts
            .filter_map(|text| fitter.doubts(text))
            .for_each(|problem| self.checker.doc.problems.add(problem));
    }

    pub(super) fn fitter(&self, run_if: Option<RunIf>) -> Fitter<'_, 'd> {
        Fitter {
            doc: self.checker.doc,
            names: self.names,
            run_if,
            item: self.item,
        }
    }

    fn written_needs(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        for need in &self.task.needs {
            match self.names.find(&need.value) {
                Some(to) => edges.push(Edge {
                    to,
                    span: need.span.clone(),
                }),
                None => self.unknown_task(need),
            }
        }
        edges
    }

    fn unknown_task(&self, need: &Text) {
        let problem = Problem::new(
            "unknown-task",
            need.span.clone(),
            format!("there is no task `{}`", need.value),
        );
        self.checker
            .doc
            .problems
            .add_unknown(problem, &need.value, self.names.task_names());
    }

    fn plugin_and_input(&self) {
        let Some(uses) = &self.task.uses else { return };
        let Some(plugin) = self.checker.registry.get(&uses.value) else {
            let problem = Problem::new(
                "unknown-plugin",
                uses.span.clone(),
                format!("there is no plugin `{}`", uses.value),
            );
            let known: Vec<&str> = self
                .checker
                .registry
                .iter()
                .map(|plugin| plugin.descriptor().name)
                .collect();
            self.checker
                .doc
                .problems
                .add_unknown(problem, &uses.value, known.iter().copied());
            return;
        };
        self.idle_keys(plugin.as_ref());
        let fitter = self.fitter(Some(self.task.run_if()));
        let own = self.sub_flow(plugin.as_ref());
        let input = own.as_ref().unwrap_or(&plugin.descriptor().input);
        let nothing = DeTable::new();
        let (table, mut found) = match self.task.with.map(|node| (node.span(), node.get_ref())) {
            Some((span, DeValue::Table(table))) => {
                (table, fitter.table(table, input, &Place { span, label: "with" }))
            }
            Some(_) => return,
            None => {
                let place = Place {
                    span: self.task.span.clone(),
                    label: "with",
                };
                (&nothing, missing(&nothing, input, &place))
            }
        };
        // What a key means beside another can be said of keys that are right by themselves.
        if found.is_empty() {
            found = self.objections(plugin.as_ref(), table);
            found.extend(self.unfit_params(table));
        }
        found
            .into_iter()
            .for_each(|problem| self.checker.doc.problems.add(problem));
    }

    fn objections(&self, plugin: &dyn ErasedPlugin, table: &DeTable<'_>) -> Vec<Problem> {
        let place = |key: &str| {
            table
                .keys()
                .find(|known| known.get_ref() == key)
                .map(|key| key.span())
        };
        let objections = plugin.objections(&self.facts.with).into_iter();
        let whole = self.task.with.map_or(self.task.span.clone(), Spanned::span);
        let problem = |objection: Objection| {
            let code = match objection.fault {
                Fault::Idle => "without-effect",
                Fault::Hopeless => "impossible-input",
            };
            let span = place(&objection.key).unwrap_or_else(|| whole.clone());
            Problem::new(code, span, objection.message).help(objection.help)
        };
        objections.map(problem).collect()
    }

    /// Every text below a value.
    pub(super) fn references_in(&self, node: Node<'d>, edges: &mut Vec<Edge>, judge_secrets: JudgeSecrets) {
        match node.get_ref() {
            DeValue::String(text) if has_expression(text) || text.contains("${") => {
                let text = Text {
                    value: text.to_string(),
                    span: node.span(),
                };
                self.all_references(&text, edges, judge_secrets);
            }
            DeValue::Array(items) => {
                for item in items.iter() {
                    self.references_in(item, edges, judge_secrets);
                }
            }
            DeValue::Table(table) => {
                for item in table.values() {
                    self.references_in(item, edges, judge_secrets);
                }
            }
            _ => {}
        }
    }

    /// The references of a text that is seen by more than the plugin.
    fn references(&self, text: &Text, edges: &mut Vec<Edge>) {
        self.all_references(text, edges, secret::nowhere);
    }

    fn all_references(&self, text: &Text, edges: &mut Vec<Edge>, judge_secrets: JudgeSecrets) {
        let doc = self.checker.doc;
        if let Some(at) = text
            .value
            .find("${")
            .filter(|at| text.value[at + 2..].starts_with(PREFIX))
        {
            let end = text.value[at..]
                .find('}')
                .map_or(text.value.len(), |found| at + found + 1);
            let problem = Problem::new(
                "bad-variable",
                doc.place(text, at..end),
                "variables are read only in `[vars]`",
            );
            doc.problems
                .add(problem.help("give it a name there, and write \"{{ vars.NAME }}\" here"));
        }
        match parse(&text.value) {
            Ok(parsed) => {
                for expression in parsed.expressions() {
                    for reference in &expression.references {
                        self.reference(text, reference, edges);
                    }
                    judge_secrets(doc, text, expression);
                }
            }
            Err(error) => self.no_template(text, error),
        }
    }

    fn no_template(&self, text: &Text, error: TemplateError) {
        let doc = self.checker.doc;
        let place = doc.place(text, error.range);
        doc.report("bad-template", place, error.message);
    }

    /// `when`: an expression that yields true or false.
    fn condition(&self, text: &Text, edges: &mut Vec<Edge>) {
        let expression = match parse_expression(&text.value) {
            Ok(expression) => expression,
            Err(error) => return self.no_template(text, error),
        };
        for reference in &expression.references {
            self.reference(text, reference, edges);
        }
        secret::nowhere(self.checker.doc, text, &expression);
        let boolean = json!({"type": "boolean"});
        let fitter = self.fitter(Some(self.task.run_if()));
        if let Some(problem) = fitter.expression(text, &expression, (&boolean, "when")) {
            self.checker.doc.problems.add(problem);
        }
    }

    fn reference(&self, text: &Text, reference: &Reference, edges: &mut Vec<Edge>) {
        let doc = self.checker.doc;
        if let Err(unknown) = self.names.lookup_in(self.item, reference) {
            let step = reference.ranges[unknown.position].clone();
            let problem = Problem {
                help: unknown.help,
                ..Problem::new(unknown.code, doc.place(text, step), unknown.message)
            };
            let wrong = reference.path[unknown.position].to_string();
            if unknown.code == "unknown-task" {
                doc.problems.add_unknown(problem, &wrong, self.names.task_names());
            } else {
                doc.problems
                    .add_unknown(problem, &wrong, unknown.known.iter().map(String::as_str));
            }
        }
        if reference.key(0) == Some("tasks")
            && let Some(to) = reference.key(1).and_then(|name| self.names.find(name))
        {
            edges.push(Edge {
                to,
                span: doc.place(text, reference.range()),
            });
        }
    }

    /// A rule judges one value: a number, an interval, or the word that there is no baseline.
    fn gate_subject(&self, text: &Text) {
        let doc = self.checker.doc;
        if parse(&text.value).is_ok_and(|parsed| parsed.whole().is_none()) {
            let problem = Problem::new(
                "impossible-rule",
                text.span.clone(),
                "a rule judges a value, not a text",
            );
            doc.problems
                .add(problem.help("write one expression and nothing else: \"{{ tasks.NAME.OUTPUT }}\""));
            return;
        }
        let judged = json!({"type": ["number", "object"]});
        // What is null closes the gate.
        let fitter = self.fitter(None);
        if let Some(problem) = fitter.template(text, &judged, "what a rule judges") {
            doc.problems.add(Problem {
                message: problem.message.replacen('`', "", 2),
                ..problem
            });
        }
    }
}
