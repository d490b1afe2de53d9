//! Leftovers: what attempts left on this machine that nobody needs any more. Looked for at the start of a worker, again and
//! again, and at its end.
//!
//! - processes of attempts that hold no lease: a worker that was killed could not end them
//! - work folders of attempts that hold no lease
//! - checkpoints of task runs that succeeded, and of runs that ended
//!
//! Several workers may share a home and a machine, and machines are shared with other databases: only what belongs to a run that
//! this database knows is touched. What is found is listed first and looked up afterwards, so that an attempt which
//! begins in between is not taken for one that is over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Shared;
use super::tree::{self, Mark};
use crate::clock;
use crate::id::{Epoch, RunId};
use crate::plugin::chain;
use crate::store::claim::Claim;
use crate::store::leftovers::KnownRun;
use crate::store::{Result, Store};

/// How often is looked for leftovers.
const EVERY: Duration = Duration::from_secs(15);
/// Runs that are looked up at once.
const AT_ONCE: usize = 50;

/// Tidies up until the worker is over.
pub(super) async fn keep(shared: Arc<Shared>, over: CancellationToken) {
    while !over.is_cancelled() {
        tokio::select! {
            () = over.cancelled() => {}
            () = clock::sleep(EVERY) => {}
        }
        tidy(&shared.store, &shared.config.home).await;
    }
}

/// Tidies up once; what fails is left to the next time.
pub(super) async fn tidy(store: &Store, home: &Path) {
    if let Err(error) = try_to_tidy(store, home.to_owned()).await {
        tracing::warn!(error = chain(&error), "tidying up failed");
    }
}

/// Ends what earlier attempts of a task run left running here: two of them never run at once on one machine.
pub(super) async fn clear_the_way(claim: &Claim) {
    let (run, task, epoch) = (claim.run, claim.place(), claim.epoch);
    if epoch < 2 {
        return;
    }
    let older = move |mark: &Mark| mark.run == run && mark.task == task && mark.epoch < epoch;
    for mark in census().await.into_iter().filter(older) {
        tree::kill_marked(&mark).await;
    }
}

async fn census() -> Vec<Mark> {
    let listed = tokio::task::spawn_blocking(|| tree::census().into_keys().collect()).await;
    listed.unwrap_or_default()
}

async fn try_to_tidy(store: &Store, home: PathBuf) -> Result<()> {
    let marks = census().await;
    let listed = tokio::task::spawn_blocking(move || Folders::list(&home)).await;
    let folders = listed.unwrap_or_default();
    let runs: BTreeSet<RunId> = marks.iter().map(|m| m.run).chain(folders.runs()).collect();
    let runs: Vec<RunId> = runs.into_iter().collect();
    let mut known = BTreeMap::new();
    for some in runs.chunks(AT_ONCE) {
        known.extend(store.known_runs(some).await?);
    }
    for mark in marks.iter().filter(|mark| is_over(&known, mark)) {
        tracing::info!(%mark, "ending processes that an attempt left behind");
        tree::kill_marked(mark).await;
    }
    for folder in folders.needless(&known) {
        match tokio::fs::remove_dir_all(&folder).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(folder = %folder.display(), %error, "a leftover folder cannot be removed");
            }
            _ => {}
        }
    }
    Ok(())
}

/// The attempt holds no lease, of all this database knows.
fn is_over(known: &BTreeMap<RunId, KnownRun>, mark: &Mark) -> bool {
    let Some(run) = known.get(&mark.run) else {
        return false;
    };
    run.tasks.get(&mark.task).and_then(|task| task.held) != Some(mark.epoch)
}

/// Folders of attempts and of task runs, as they lie under a worker's home.
#[derive(Debug, Default)]
struct Folders {
    work: Vec<(Mark, PathBuf)>,
    checkpoints: Vec<(RunId, String, PathBuf)>,
    /// `work/RUN` and `checkpoints/RUN`.
    roots: Vec<(RunId, PathBuf)>,
}

impl Folders {
    fn list(home: &Path) -> Self {
        let mut found = Self::default();
        for (run, root) in entries::<RunId>(&home.join("work")) {
            for (task, folder) in entries::<String>(&root) {
                let attempts = entries::<Epoch>(&folder).into_iter().map(|(epoch, path)| {
                    let task = task.clone();
                    (Mark { run, task, epoch }, path)
                });
                found.work.extend(attempts);
            }
            found.roots.push((run, root));
        }
        for (run, root) in entries::<RunId>(&home.join("checkpoints")) {
            let tasks = entries::<String>(&root).into_iter();
            found
                .checkpoints
                .extend(tasks.map(|(task, path)| (run, task, path)));
            found.roots.push((run, root));
        }
        found
    }

    fn runs(&self) -> impl Iterator<Item = RunId> {
        self.roots.iter().map(|(run, _)| *run)
    }

    /// Those that nobody needs any more.
    fn needless(self, known: &BTreeMap<RunId, KnownRun>) -> Vec<PathBuf> {
        let ended = |run: &RunId| known.get(run).is_some_and(|run| run.ended);
        let succeeded = |run: &RunId, task: &str| {
            let task = known.get(run).and_then(|run| run.tasks.get(task));
            task.is_some_and(|task| task.succeeded)
        };
        let work = self.work.into_iter().filter(|(mark, _)| is_over(known, mark));
        let checkpoints = self.checkpoints.into_iter();
        let checkpoints = checkpoints.filter(|(run, task, _)| succeeded(run, task));
        let roots = self.roots.into_iter().filter(|(run, _)| ended(run));
        let work = work.map(|(_, path)| path);
        work.chain(checkpoints.map(|(_, _, path)| path))
            .chain(roots.map(|(_, path)| path))
            .collect()
    }
}

/// Entries of a folder whose names can be read as `T`.
fn entries<T: std::str::FromStr>(folder: &Path) -> Vec<(T, PathBuf)> {
    let found = std::fs::read_dir(folder).into_iter().flatten().flatten();
    found
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect()
}
