//! What a verb is aimed at: a task of a run, flow files.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tidegate_engine::graph::Flow;
use tidegate_engine::spec::{self, Checked, SourceFile};
use tidegate_engine::view;

use super::Session;
use crate::failure::Failure;
use crate::term::complain;
use crate::words::count;

/// Fails when a run has no task, or no item of a task, of that name.
pub fn check_task(run: &view::Run, task: &str) -> Result<(), Failure> {
    if run.tasks.iter().any(|known| known.name == task) {
        return Ok(());
    }
    let (name, index) = task.split_once('[').unwrap_or((task, ""));
    if let Some(head) = run.tasks.iter().find(|known| known.name == name) {
        return check_item(head, (task, index));
    }
    let help = spec::suggest(task, "it has", run.tasks.iter().map(|task| task.name.as_str()));
    Err(
        Failure::refused(format!("flow `{}` has no task `{task}`", run.summary.flow))
            .help(help.unwrap_or_default()),
    )
}

/// A view has some items of a large map only, but says of each map how many it has.
fn check_item(head: &view::TaskRun, (task, index): (&str, &str)) -> Result<(), Failure> {
    let wanted = index
        .strip_suffix(']')
        .and_then(|index| index.parse::<i64>().ok());
    let items = head.items.as_ref().map(|items| items.values().sum::<i64>());
    let help = match items {
        Some(items) if wanted.is_some_and(|wanted| (0..items).contains(&wanted)) => return Ok(()),
        Some(0) => "it ran for an empty list".to_owned(),
        Some(items) => format!("it has {}[0] to {}[{}]", head.name, head.name, items - 1),
        None => format!("`{}` has no items, or none yet", head.name),
    };
    Err(Failure::refused(format!("there is no item `{task}`")).help(help))
}

/// Whether a word means a flow file rather than a flow.
pub fn is_file(word: &str) -> bool {
    word.ends_with(".toml") || word.contains('/') || Path::new(word).is_file()
}

/// Flow files that all check.
pub struct Ready {
    /// As read and as checked.
    pub flows: Vec<(SourceFile, Checked)>,
    /// The variables that their `[vars]` read.
    pub variables: BTreeMap<String, String>,
}

impl Ready {
    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.flows
            .iter()
            .map(|(_, checked)| checked.flow.name.to_string())
            .collect()
    }
}

/// Reads and checks flow files. Problems go to standard error.
pub fn ready(paths: &[PathBuf], session: &Session) -> Result<Ready, Failure> {
    let read = RefCell::new(BTreeMap::new());
    let flows = checked(paths, session, &|name| {
        let value = session.variable(name)?;
        read.borrow_mut().insert(name.to_owned(), value.clone());
        Some(value)
    })?;
    Ok(Ready {
        flows,
        variables: read.into_inner(),
    })
}

/// One flow file, read and checked, behind those of the flows that it runs, as far as their files lie beside it.
pub fn ready_file(path: &str, session: &Session) -> Result<Ready, Failure> {
    let file = PathBuf::from(path);
    if file.is_dir() {
        return Err(no_file(path));
    }
    let mut paths = vec![file.clone()];
    loop {
        let ready = ready(&paths, session)?;
        let tasks = ready
            .flows
            .iter()
            .flat_map(|(_, checked)| checked.flow.graph.tasks());
        let beside = tasks.filter_map(|task| Some(file.with_file_name(format!("{}.toml", task.sub_flow()?))));
        let known = paths.len();
        for path in beside.filter(|path| path.is_file()).collect::<Vec<_>>() {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        if paths.len() == known {
            return Ok(ready);
        }
    }
}

/// One flow file, to be looked at: its variables need not be set.
pub fn flow_of_file(path: &str, session: &Session) -> Result<Flow, Failure> {
    let variable = |name: &str| Some(session.variable(name).unwrap_or_else(|| name.to_owned()));
    let mut flows = checked(&[PathBuf::from(path)], session, &variable)?;
    match (flows.pop(), flows.is_empty()) {
        (Some((_, checked)), true) => Ok(checked.flow),
        _ => Err(no_file(path)),
    }
}

fn no_file(path: &str) -> Failure {
    Failure::usage(format!("{path} is a folder; name one flow file"))
}

fn checked(
    paths: &[PathBuf],
    session: &Session,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(SourceFile, Checked)>, Failure> {
    let registry = tidegate_flows::registry();
    let loaded = spec::load(paths);
    let color = session.term.color_err;
    let mut problems = loaded.problems.len();
    let mut shown = spec::render_text(&loaded.problems, "", color);
    let mut flows = Vec::new();
    let all = spec::check_all(&loaded.sources, &registry, variable);
    for (source, checked) in loaded.sources.into_iter().zip(all) {
        match checked {
            Ok(checked) => flows.push((source, checked)),
            Err(found) => {
                problems += found.len();
                shown.push_str(&spec::render_text(&found, &source.text, color));
            }
        }
    }
    if problems == 0 {
        return Ok(spec::run_first(flows, |(_, checked)| &checked.flow));
    }
    complain(&shown);
    Err(Failure::usage(format!(
        "{}; nothing was done",
        count(problems, "problem")
    )))
}
