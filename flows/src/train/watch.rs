//! What a fit says while it runs, when it stops, and what it leaves for a retry.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tidegate_engine::plugin::{Ctx, Level};
use tidegate_learn::{Observer, Progress};

use super::Failure;

/// Share of the task's progress that one fit stands for, in thousandths.
const PER_FIT: u64 = 1000;
/// Trainings with more rounds than this keep every fifth state only.
const MANY_ROUNDS: u32 = 40;

/// Watches one fit of several.
pub(super) struct Watch<'a> {
    ctx: &'a Ctx,
    name: &'static str,
    number: u64,
    fits: u64,
    round: (u32, u32),
    /// Last value of each curve.
    pub curves: BTreeMap<String, f64>,
}

impl<'a> Watch<'a> {
    /// Fit `number` (from 0) of `fits`.
    pub fn new(ctx: &'a Ctx, name: &'static str, number: u64, fits: u64) -> Self {
        Self {
            ctx,
            name,
            number,
            fits,
            round: (0, 1),
            curves: BTreeMap::new(),
        }
    }

    /// Where the state of an unfinished fit lies.
    fn state(&self) -> PathBuf {
        self.ctx.folders.checkpoints.join(format!("{}.state", self.name))
    }

    /// The state that an earlier attempt left.
    pub fn resume(&self) -> Option<Vec<u8>> {
        let bytes = std::fs::read(self.state()).ok()?;
        self.ctx
            .info(format!("resumes the {} from its last checkpoint", self.name));
        Some(bytes)
    }

    /// Forgets the state.
    pub fn forget(&self) {
        // A state that stays behind costs room, nothing else.
        let _ = std::fs::remove_file(self.state());
    }

    fn curve(&mut self, stage: &str, loss: f64, step: u64) {
        let name = format!("{}.{stage}.loss", self.name);
        self.ctx.metric(&name, loss, step);
        self.curves.insert(name, loss);
    }
}

impl Observer for Watch<'_> {
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        self.round = (progress.done, progress.total);
        if let Some(loss) = progress.loss {
            self.curve(progress.stage, loss, u64::from(progress.done));
        }
        let within = (progress.fraction() * PER_FIT as f64) as u64;
        self.ctx
            .progress(self.number * PER_FIT + within, self.fits * PER_FIT);
        if self.ctx.is_cancelled() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn checkpoint(&mut self, encode: &dyn Fn() -> Vec<u8>) {
        let (done, total) = self.round;
        if total > MANY_ROUNDS && done % 5 != 0 {
            return;
        }
        if let Err(failure) = publish(&self.state(), &encode()) {
            self.ctx.log(
                Level::Warn,
                format!("no checkpoint: {}", tidegate_engine::plugin::chain(&failure)),
            );
        }
    }
}

/// Writes a file whole or not at all.
pub(super) fn publish(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let fresh = path.with_extension("new");
    let failed = |source| Failure::File {
        path: path.to_owned(),
        source,
    };
    std::fs::write(&fresh, bytes).map_err(failed)?;
    std::fs::rename(&fresh, path).map_err(failed)
}
