//! Applying flow files, and removing flows whose file is gone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Actor, CommandError, Role};
use crate::plugin::Registry;
use crate::spec::{self, Diagnostic, SourceFile};
use crate::store::Store;
use crate::store::flows::{Applied, NewVersion};
use crate::view::FlowChange;

/// Flow files on their way to a server: the body of `POST /api/v1/flows`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// The files.
    pub flows: Vec<SubmittedFlow>,
    /// Variables that their `[vars]` may read: `TIDEGATE_VAR_X`.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Remove the flows that are not among them.
    #[serde(default)]
    pub prune: bool,
}

/// A flow file with the files it names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmittedFlow {
    /// Its path; the flow has its name from the stem.
    pub path: String,
    /// Its text.
    pub source: String,
    /// The files it names, as it writes them, with their texts.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// Makes a version current. Only for admins: another version may have another gate.
pub async fn apply(
    store: &Store,
    actor: &Actor,
    version: NewVersion,
    now: Timestamp,
) -> Result<Applied, CommandError> {
    actor.needs(Role::Admin)?;
    Ok(store.apply_version(version, now).await?)
}

/// Makes versions current, all of them or none; with `prune` all other flows are removed: their schedules fire no more and they
/// cannot be triggered; versions and runs stay.
pub async fn apply_all(
    store: &Store,
    actor: &Actor,
    (versions, prune): (Vec<NewVersion>, bool),
    now: Timestamp,
) -> Result<Vec<FlowChange>, CommandError> {
    actor.needs(Role::Admin)?;
    let by = prune.then_some(actor.name.as_str());
    Ok(store.apply_versions(versions, by, now).await?)
}

/// Checks flow files against the plugins of this server and applies them, all or none. `Flows`: every problem of every file.
pub async fn submit(
    store: &Store,
    actor: &Actor,
    (submission, registry): (Submission, &Registry),
    now: Timestamp,
) -> Result<Vec<FlowChange>, CommandError> {
    actor.needs(Role::Admin)?;
    if submission.flows.is_empty() {
        return Err(CommandError::Invalid {
            why: "there are no flows in it".to_owned(),
        });
    }
    let versions = checked(&submission, actor, registry).map_err(CommandError::Flows)?;
    apply_all(store, actor, (versions, submission.prune), now).await
}

fn checked(
    submission: &Submission,
    actor: &Actor,
    registry: &Registry,
) -> Result<Vec<NewVersion>, Vec<Diagnostic>> {
    let sources: Vec<SourceFile> = submission.flows.iter().map(source).collect();
    let all = spec::check_all(&sources, registry, &|name| {
        submission.variables.get(name).cloned()
    });
    let mut problems = Vec::new();
    let mut versions: Vec<NewVersion> = Vec::new();
    for (source, checked) in sources.into_iter().zip(all) {
        match checked {
            Ok(checked) if versions.iter().any(|known| known.flow.name == checked.flow.name) => {
                let message = format!("there is another flow `{}` among these files", checked.flow.name);
                problems.push(Diagnostic::of_file(source.path, "twin", message));
            }
            Ok(checked) => versions.push(NewVersion {
                flow: checked.flow,
                hash: checked.version,
                path: source.path,
                source: source.text,
                actor: actor.name.clone(),
            }),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() {
        Ok(spec::run_first(versions, |version| &version.flow))
    } else {
        Err(problems)
    }
}

fn source(sent: &SubmittedFlow) -> SourceFile {
    let files = sent.files.iter();
    SourceFile {
        files: files
            .map(|(path, text)| (path.clone(), Ok(text.clone())))
            .collect(),
        ..SourceFile::new(sent.path.as_str(), &sent.source)
    }
}
