//! What a checked task is stored as, and the files it takes along.

use std::collections::{BTreeMap, BTreeSet};

use super::super::diagnostic::Problem;
use super::super::raw::RawTask;
use super::Checker;
use super::names::Facts;
use super::tasks::Edge;
use crate::gate::Gate;
use crate::graph::Task;
use crate::id::{TaskIdx, TaskName};
use crate::template::has_expression;

/// The files a task names, with their texts.
pub(super) fn named_files(checker: Checker<'_>, task: &RawTask<'_>) -> BTreeMap<String, String> {
    let mut named = BTreeMap::new();
    let with = task.with.and_then(|node| node.get_ref().as_table());
    let inputs = with
        .into_iter()
        .flat_map(|with| with.iter())
        .filter(|(key, _)| key.get_ref().ends_with("_file"));
    let inputs = inputs.filter_map(|(_, node)| Some((node.get_ref().as_str()?.to_owned(), node.span())));
    let listed = task
        .files
        .iter()
        .map(|text| (text.value.clone(), text.span.clone()));
    for (path, span) in inputs.chain(listed) {
        if has_expression(&path) {
            let problem = Problem::new(
                "template-not-here",
                span,
                "files are read when the flow is applied, before any run",
            );
            checker.doc.problems.add(problem.help("write the path itself"));
            continue;
        }
        match checker.source.files.get(&path) {
            Some(Ok(text)) => {
                named.insert(path, text.clone());
            }
            Some(Err(error)) => checker
                .doc
                .report("bad-file", span, format!("file `{path}`: {error}")),
            None => checker
                .doc
                .report("bad-file", span, format!("file `{path}` was not read")),
        }
    }
    named
}

/// The task as it is stored; `None` only where a problem was noted.
pub(super) fn seal(task: RawTask<'_>, facts: &Facts<'_>, edges: &[Edge], files: Vec<String>) -> Option<Task> {
    let run_if = task.run_if();
    let needs: BTreeSet<TaskIdx> = edges.iter().map(|edge| edge.to).collect();
    let gate = task.gate.map(|gate| Gate {
        rules: gate.rules,
        approval: gate.approval,
        evidence: gate
            .evidence
            .iter()
            .filter_map(|text| TaskName::new(&text.value).ok())
            .collect(),
    });
    Some(Task {
        name: TaskName::new(task.name.value).ok()?,
        uses: task.uses?.value,
        description: task.description,
        with: facts.with.clone(),
        needs: needs.into_iter().collect(),
        when: task.when.map(|when| when.value),
        for_each: facts.for_each.clone(),
        max_parallel: task.max_parallel.map(|(count, _)| count),
        run_if,
        continue_on_failure: task.continue_on_failure,
        retry: task.retry,
        timeout: task.timeout,
        gate,
        env: task
            .env
            .into_iter()
            .map(|(key, value)| (key.value, value.value))
            .collect(),
        on_worker_lost: task.on_worker_lost,
        placement: task.placement,
        cache: task.cache,
        isolation: facts.plugin?.descriptor().isolation,
        files,
    })
}
