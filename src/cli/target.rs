//! What a verb is aimed at: a run by a part of its id, a task of it, flow files.

use std::path::{Path, PathBuf};

use tidegate_engine::clock;
use tidegate_engine::graph::Flow;
use tidegate_engine::id::RunId;
use tidegate_engine::spec;
use tidegate_engine::store::Store;
use tidegate_engine::store::flows::NewVersion;
use tidegate_engine::store::read::RunFilter;
use tidegate_engine::view;

use super::Session;
use crate::failure::Failure;
use crate::term::complain;
use crate::words::count;

/// The run that `text` means: an id, the beginning or the end of one, `last`.
pub async fn run_id(store: &Store, text: &str) -> Result<RunId, Failure> {
    if text != "last" {
        return Ok(store.find_run(text).await?);
    }
    let newest = RunFilter {
        limit: 1,
        ..RunFilter::default()
    };
    let runs = store.runs(&newest, clock::now()).await?;
    let run = runs
        .items
        .first()
        .ok_or_else(|| Failure::refused("there are no runs yet"))?;
    Ok(RunId(run.id))
}

/// The run with its task runs.
pub async fn run(store: &Store, text: &str) -> Result<view::Run, Failure> {
    let id = run_id(store, text).await?;
    load(store, id).await
}

/// A run that is known to exist.
pub async fn load(store: &Store, id: RunId) -> Result<view::Run, Failure> {
    let run = store.run(id, clock::now()).await?;
    run.ok_or_else(|| Failure::refused(format!("no run `{id}`")))
}

/// Fails when a run has no task of that name.
pub fn check_task(run: &view::Run, task: &str) -> Result<(), Failure> {
    let of_map = task.split('[').next();
    let is = |known: &str| known == task || Some(known) == of_map;
    if run.tasks.iter().any(|known| is(&known.name)) {
        return Ok(());
    }
    let help = spec::suggest(task, "it has", run.tasks.iter().map(|task| task.name.as_str()));
    Err(
        Failure::refused(format!("flow `{}` has no task `{task}`", run.summary.flow))
            .help(help.unwrap_or_default()),
    )
}

/// That there is no flow of this name, with the nearest.
pub async fn no_flow(store: &Store, name: &str) -> Failure {
    let flows = store.flows(clock::now()).await.unwrap_or_default();
    let help = spec::suggest(name, "there are", flows.iter().map(|flow| flow.name.as_str()));
    let failure = Failure::refused(format!("no flow `{name}`"));
    failure.help(help.unwrap_or_else(|| "none was applied yet; see `tidegate apply`".to_owned()))
}

/// Whether a word means a flow file rather than a flow.
pub fn is_file(word: &str) -> bool {
    word.ends_with(".toml") || word.contains('/') || Path::new(word).is_file()
}

/// Flow files that all check, ready to be stored. Problems go to standard error.
pub fn versions(paths: &[PathBuf], actor: &str, session: &Session) -> Result<Vec<NewVersion>, Failure> {
    checked(paths, actor, (session, &|name| session.variable(name)))
}

/// One flow file, to be looked at: its variables need not be set.
pub fn flow_of_file(path: &str, session: &Session) -> Result<Flow, Failure> {
    let variable = |name: &str| Some(session.variable(name).unwrap_or_else(|| name.to_owned()));
    Ok(only(checked(&[PathBuf::from(path)], "", (session, &variable))?, path)?.flow)
}

/// The version of one flow file, behind those of the flows that it runs, as far as their files lie beside it.
pub fn versions_of_file(path: &str, actor: &str, session: &Session) -> Result<Vec<NewVersion>, Failure> {
    let file = PathBuf::from(path);
    if file.is_dir() {
        return Err(Failure::usage(format!("{path} is a folder; name one flow file")));
    }
    let mut paths = vec![file.clone()];
    loop {
        let versions = versions(&paths, actor, session)?;
        let tasks = versions.iter().flat_map(|version| version.flow.graph.tasks());
        let beside = tasks.filter_map(|task| Some(file.with_file_name(format!("{}.toml", task.sub_flow()?))));
        let known = paths.len();
        for path in beside.filter(|path| path.is_file()).collect::<Vec<_>>() {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        if paths.len() == known {
            return Ok(versions);
        }
    }
}

fn only(mut versions: Vec<NewVersion>, path: &str) -> Result<NewVersion, Failure> {
    match (versions.pop(), versions.is_empty()) {
        (Some(version), true) => Ok(version),
        _ => Err(Failure::usage(format!("{path} is a folder; name one flow file"))),
    }
}

/// Answers the variables that `[vars]` may read.
type Variable<'v> = &'v dyn Fn(&str) -> Option<String>;

fn checked(
    paths: &[PathBuf],
    actor: &str,
    (session, variable): (&Session, Variable<'_>),
) -> Result<Vec<NewVersion>, Failure> {
    let registry = tidegate_flows::registry();
    let loaded = spec::load(paths);
    let color = session.term.color_err;
    let mut problems = loaded.problems.len();
    let mut shown = spec::render_text(&loaded.problems, "", color);
    let mut versions = Vec::new();
    let all = spec::check_all(&loaded.sources, &registry, variable);
    for (source, checked) in loaded.sources.into_iter().zip(all) {
        match checked {
            Ok(checked) => versions.push(NewVersion {
                flow: checked.flow,
                hash: checked.version,
                path: source.path,
                source: source.text,
                actor: actor.to_owned(),
            }),
            Err(found) => {
                problems += found.len();
                shown.push_str(&spec::render_text(&found, &source.text, color));
            }
        }
    }
    if problems == 0 {
        return Ok(spec::run_first(versions, |version| &version.flow));
    }
    complain(&shown);
    Err(Failure::usage(format!(
        "{}; nothing was done",
        count(problems, "problem")
    )))
}
