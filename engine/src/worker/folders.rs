//! The folders of an attempt.

use std::io;
use std::path::Path;

use super::Shared;
use crate::graph::Flow;
use crate::plugin::Folders;
use crate::store::claim::Claim;

/// The folders of an attempt: work and artifacts are its own, checkpoints belong to the task run.
pub(super) fn folders(shared: &Shared, claim: &Claim) -> Folders {
    let task = format!("{}/{}", claim.run, claim.place());
    let home = &shared.config.home;
    Folders {
        work: home.join("work").join(&task).join(claim.epoch.to_string()),
        artifacts: home.join("artifacts").join(&task).join(claim.epoch.to_string()),
        checkpoints: home.join("checkpoints").join(&task),
    }
}

/// What runs inline and says that it works in no folder gets none: making and removing three of them costs more than such a task.
pub(super) fn needs_folders(shared: &Shared, claim: &Claim) -> bool {
    let task = claim.task();
    let plugin = shared.registry.get(&task.uses);
    !claim.is_light() || !task.files.is_empty() || plugin.is_some_and(|plugin| plugin.works_in_folders())
}

/// Makes the folders, and lays the files of the version into the work folder.
pub(super) async fn lay_out(folders: &Folders, flow: &Flow, files: &[String]) -> io::Result<()> {
    for folder in [&folders.work, &folders.artifacts, &folders.checkpoints] {
        tokio::fs::create_dir_all(folder).await?;
    }
    for name in files {
        let Some(text) = flow.files.get(name) else {
            continue;
        };
        let path = folders.work.join(name);
        tokio::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).await?;
        tokio::fs::write(path, text).await?;
    }
    Ok(())
}
