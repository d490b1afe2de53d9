//! A folder of flow files that is kept applied while somebody works on it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

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

/// The folder, and what was last found in it.
pub struct FlowFolder {
    folder: PathBuf,
    backend: Backend,
    registry: Registry,
}

impl FlowFolder {
    /// Nothing is read yet.
    pub fn new(folder: PathBuf, backend: Backend) -> Self {
        Self {
            folder,
            backend,
            registry: tidegate_flows::registry(),
        }
    }

    /// Applies what checks whenever a file changed, for ever. Of a flow whose file does not check the old version stays.
    pub async fn keep_applied(&self, session: &Session) {
        let mut known = Loaded::default();
        loop {
            let began = clock::monotonic();
            let found = self.read().await;
            if found != known {
                self.apply_changed(&known, &found, session).await;
                known = found;
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

    async fn apply_changed(&self, known: &Loaded, found: &Loaded, session: &Session) {
        if found.problems != known.problems {
            complain(&spec::render_text(&found.problems, "", session.term.color_err));
        }
        let all = spec::check_all(&found.sources, &self.registry, &|name| session.variable(name));
        let is_new = |source: &SourceFile| !known.sources.contains(source);
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
            match checked {
                Ok(checked) if is_new(source) || runs_renewed(&checked) => right.push((source, checked)),
                Ok(_) => {}
                Err(problems) if is_new(source) => {
                    complain(&spec::render_text(
                        &problems,
                        &source.text,
                        session.term.color_err,
                    ));
                }
                Err(_) => {}
            }
        }
        for (source, checked) in spec::run_first(right, |(_, checked)| &checked.flow) {
            if let Err(failure) = self.apply((source, checked), session).await {
                failure.report(&session.term);
            }
        }
        if known == &Loaded::default() {
            step(&format!(
                "flows of {} are applied, and watched",
                self.folder.display()
            ));
        }
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
