//! A folder of flow files that is kept applied while somebody works on it.
//!
//! A file that checks may still be refused for what is outside of it: a pool, a flow that it runs or follows, which may be there any
//! moment. So it is tried again every few seconds; what is said of it is said once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidegate_engine::graph::Task;
use tidegate_engine::plugin::Registry;
use tidegate_engine::spec::{self, Checked, Loaded, SourceFile};
use tidegate_engine::store::flows::{Applied, NewVersion};
use tidegate_engine::{clock, command};

use super::step;
use crate::backend::Backend;
use crate::cli::Session;
use crate::failure::Failure;
use crate::lacking;
use crate::term::complain;

/// How often the files are looked at; less often where that takes long.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a flow is tried that was refused.
const AGAIN: Duration = Duration::from_secs(3);

/// The folder, and what was last found in it.
pub struct FlowFolder {
    folder: PathBuf,
    backend: Backend,
    registry: Registry,
    known: Loaded,
    /// Paths of files whose flow was applied.
    applied: BTreeSet<String>,
    /// Of files that check, why they were refused, by path.
    refused: BTreeMap<String, String>,
    tried: Instant,
}

impl FlowFolder {
    /// Nothing is read yet.
    pub fn new(folder: PathBuf, backend: Backend) -> Self {
        Self {
            folder,
            backend,
            registry: tidegate_flows::registry(),
            known: Loaded::default(),
            applied: BTreeSet::new(),
            refused: BTreeMap::new(),
            tried: clock::monotonic(),
        }
    }

    /// Applies what checks whenever a file changed, for ever. Of a flow whose file does not check the old version stays.
    pub async fn keep_applied(&mut self, session: &Session) {
        let first = self.read().await;
        self.look(first, session).await;
        self.report_start();
        loop {
            let began = clock::monotonic();
            let found = self.read().await;
            let due = !self.refused.is_empty() && began - self.tried >= AGAIN;
            if found != self.known || due {
                self.look(found, session).await;
            }
            let cost = clock::monotonic() - began;
            clock::sleep(PAUSE.max(cost * 20)).await;
        }
    }

    async fn read(&self) -> Loaded {
        let folder = self.folder.clone();
        let reading = tokio::task::spawn_blocking(move || spec::load(&[folder]));
        reading.await.unwrap_or_default()
    }

    /// Applies what is new among `found`, and what was refused before.
    async fn look(&mut self, found: Loaded, session: &Session) {
        self.tried = clock::monotonic();
        if found.problems != self.known.problems {
            complain(&spec::render_text(&found.problems, "", session.term.color_err));
        }
        self.forget_gone(&found);
        for (source, checked) in self.right(&found, session) {
            let tried = self.apply((source, checked), session).await;
            self.note(source, tried, session);
        }
        self.known = found;
    }

    /// Says of files that are gone that their flows are not.
    fn forget_gone(&mut self, found: &Loaded) {
        let is_there = |path: &str| found.sources.iter().any(|source| source.path == path);
        let gone = self.known.sources.iter().map(|source| source.path.as_str());
        // One that cannot be read at the moment is not gone.
        for path in gone.filter(|path| !is_there(path) && !Path::new(path).exists()) {
            self.refused.remove(path);
            step(&format!(
                "{path} is gone; its flow stays, until `tidegate apply --prune {}` removes it",
                self.folder.display()
            ));
        }
    }

    /// The flows to apply, those that others run before them.
    fn right<'a>(&self, found: &'a Loaded, session: &Session) -> Vec<(&'a SourceFile, Checked)> {
        let all = spec::check_all(&found.sources, &self.registry, &|name| session.variable(name));
        let is_new = |source: &SourceFile| !self.known.sources.contains(source);
        let renewed = found
            .sources
            .iter()
            .zip(&all)
            .filter(|(source, _)| is_new(source));
        let renewed: BTreeSet<String> = renewed
            .filter_map(|(_, checked)| Some(checked.as_ref().ok()?.flow.name.to_string()))
            .collect();
        // Whose sub-flow has changed, or is there only now, may be another flow without a word of it being changed.
        let runs_renewed = |checked: &Checked| {
            let mut children = checked.flow.graph.tasks().iter().filter_map(Task::sub_flow);
            children.any(|child| renewed.contains(child))
        };
        let mut right = Vec::new();
        for (source, checked) in found.sources.iter().zip(all) {
            let again = is_new(source) || self.refused.contains_key(&source.path);
            match checked {
                Ok(checked) if again || runs_renewed(&checked) => right.push((source, checked)),
                Err(problems) if is_new(source) => {
                    complain(&spec::render_text(
                        &problems,
                        &source.text,
                        session.term.color_err,
                    ));
                }
                Ok(_) | Err(_) => {}
            }
        }
        spec::run_first(right, |(_, checked)| &checked.flow)
    }

    /// Remembers what became of a try; a reason that was told is not told again.
    fn note(&mut self, source: &SourceFile, tried: Result<(), Failure>, session: &Session) {
        let Err(failure) = tried else {
            self.refused.remove(&source.path);
            self.applied.insert(source.path.clone());
            return;
        };
        let told = self.refused.insert(source.path.clone(), failure.why().to_owned());
        if told.as_deref() != Some(failure.why()) {
            failure.report(&session.term);
        }
    }

    /// Says how it began.
    fn report_start(&self) {
        let folder = self.folder.display();
        let all = self.known.sources.len() + self.known.problems.len();
        let applied = self.applied.len();
        let told = match (applied, all) {
            (0, 0) => format!("there are no flow files in {folder} yet; it is watched"),
            (0, _) => format!("no flow of {folder} could be applied; it is watched"),
            _ if applied < all => {
                format!("{applied} of {all} flows of {folder} are applied; all are watched")
            }
            _ => format!("flows of {folder} are applied, and watched"),
        };
        step(&told);
    }

    async fn apply(
        &self,
        (source, checked): (&SourceFile, Checked),
        session: &Session,
    ) -> Result<(), Failure> {
        let name = checked.flow.name.to_string();
        let version = NewVersion {
            flow: checked.flow,
            hash: checked.version,
            path: source.path.clone(),
            source: source.text.clone(),
            actor: self.backend.actor.name.clone(),
        };
        let flow = version.flow.clone();
        let applied = command::apply(&self.backend.store, &self.backend.actor, version, clock::now()).await?;
        if applied != Applied::Unchanged {
            lacking::warn_of(&self.backend.store, &session.config()?, &flow).await?;
        }
        match applied {
            Applied::Created => step(&format!("flow {name} is new")),
            Applied::Changed => step(&format!("flow {name} has a new version")),
            Applied::Unchanged => {}
        }
        Ok(())
    }
}
