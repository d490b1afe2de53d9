//! What can be said of tasks only when all of them are known: names, cycles, what a gate shows, conditions that ask for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::diagnostic::Problem;
use super::super::raw::RawTask;
use super::Checker;
use super::names::Names;
use super::tasks::Edge;
use crate::duration::Shown;
use crate::graph::{RunIf, find_cycles};
use crate::id::{TaskIdx, TaskName};

pub(super) fn distinct(checker: Checker<'_>, tasks: &[RawTask<'_>]) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for task in tasks {
        let name = &task.name;
        if let Err(error) = TaskName::new(&name.value) {
            checker
                .doc
                .report("bad-name", name.span.clone(), error.to_string());
        }
        if let Some(other) = seen.insert(name.value.to_lowercase(), &name.value) {
            let message = format!("task `{}` differs from task `{other}` only by case", name.value);
            checker
                .doc
                .problems
                .add(Problem::new("duplicate-task", name.span.clone(), message).help("rename one"));
        }
    }
}

/// `run_if` of a task that needs nothing: there is no end that it could ask for.
pub(super) fn idle_condition(checker: Checker<'_>, task: &RawTask<'_>) {
    let asked = task.run_if.as_ref();
    let Some((_, span)) = asked.filter(|(run_if, _)| *run_if != RunIf::AllSucceeded) else {
        return;
    };
    let message = format!("`run_if` has no effect: task `{}` needs nothing", task.name.value);
    let problem = Problem::new("impossible-bound", span.clone(), message);
    checker
        .doc
        .problems
        .add(problem.help("name the tasks whose ends it asks for: needs = [\"…\"]"));
}

/// `timeout` of a task that its run does not live to see.
pub(super) fn outlasting(checker: Checker<'_>, tasks: &[RawTask<'_>], limit: Option<Duration>) {
    let Some(limit) = limit else { return };
    for task in tasks.iter().filter(|task| task.timeout > Some(limit)) {
        let key = task.keys.iter().find(|key| key.value == "timeout");
        let span = key.map_or_else(|| task.span.clone(), |key| key.span.clone());
        let message = format!(
            "`timeout` is never reached: a run of this flow ends after {}",
            Shown(limit)
        );
        let problem = Problem::new("impossible-bound", span, message);
        let help = "shorten it, leave it out, or lengthen `timeout` in [flow]";
        checker.doc.problems.add(problem.help(help));
    }
}

pub(super) fn report_cycles(checker: Checker<'_>, names: &Names<'_>, edges: &[Vec<Edge>]) {
    let lists: Vec<Vec<TaskIdx>> = edges
        .iter()
        .map(|list| list.iter().map(|edge| edge.to).collect())
        .collect();
    let needs: Vec<&[TaskIdx]> = lists.iter().map(Vec::as_slice).collect();
    for cycle in find_cycles(&needs) {
        let [first, second, ..] = cycle.as_slice() else {
            continue;
        };
        let path: Vec<&str> = cycle
            .iter()
            .map(|&idx| names.facts[idx as usize].name.as_str())
            .collect();
        let span = edges[*first as usize]
            .iter()
            .find(|edge| edge.to == *second)
            .map(|edge| edge.span.clone());
        let shown = match path.len() {
            0..=40 => path.join(" → "),
            count => format!(
                "{} → … → {}",
                path[..20].join(" → "),
                path[count - 20..].join(" → ")
            ),
        };
        let problem = Problem::new("cycle", span.unwrap_or_default(), format!("cycle: {shown}"));
        let help = if cycle.len() == 2 {
            "a task cannot need itself".to_owned()
        } else {
            "each needs the next, so none could ever start; remove one of these needs".to_owned()
        };
        checker.doc.problems.add(problem.help(help));
    }
}

pub(super) fn check_evidence(
    checker: Checker<'_>,
    names: &Names<'_>,
    (idx, task): (usize, &RawTask<'_>),
    edges: &[Vec<Edge>],
) {
    let evidence = task.gate.as_ref().map_or(&[][..], |gate| &gate.evidence);
    if evidence.is_empty() {
        return;
    }
    let mut before = BTreeSet::new();
    let mut open: Vec<usize> = vec![idx];
    while let Some(next) = open.pop() {
        open.extend(
            edges[next]
                .iter()
                .filter(|edge| before.insert(edge.to))
                .map(|edge| edge.to as usize),
        );
    }
    for text in evidence {
        match names.find(&text.value) {
            None => {
                let problem = Problem::new(
                    "unknown-task",
                    text.span.clone(),
                    format!("there is no task `{}`", text.value),
                );
                checker
                    .doc
                    .problems
                    .add_unknown(problem, &text.value, names.task_names());
            }
            Some(to) if !before.contains(&to) => {
                let message = format!(
                    "task `{}` need not have ended when this gate is judged",
                    text.value
                );
                let problem = Problem::new("impossible-gate", text.span.clone(), message);
                checker
                    .doc
                    .problems
                    .add(problem.help(format!("add needs = [\"{}\"]", text.value)));
            }
            Some(_) => {}
        }
    }
}
