//! What a training tells while it runs, and how it is stopped and resumed.

use std::ops::ControlFlow;

use crate::model_file::FileError;

/// A sign of life from a training.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What is being done: `retrieval`, `features`, `trees`, ….
    pub stage: &'static str,
    /// Finished rounds (epochs, trees) of this stage.
    pub done: u32,
    /// Rounds of this stage.
    pub total: u32,
    /// Loss of the last round, where the stage has one. Lower is better.
    pub loss: Option<f64>,
}

impl Progress {
    /// Share of this stage that is done, in [0, 1].
    pub fn fraction(&self) -> f64 {
        f64::from(self.done) / f64::from(self.total.max(1))
    }
}

/// Who watches a training: may stop it, may keep its state.
pub trait Observer {
    /// Called after each round; `Break` ends the training with [`TrainError::Cancelled`].
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()>;

    /// Offered the state after each round; encode it only when it is wanted, it may be megabytes.
    fn checkpoint(&mut self, encode: &dyn Fn() -> Vec<u8>) {
        let _ = encode;
    }
}

impl<F: FnMut(&Progress) -> ControlFlow<()>> Observer for F {
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        self(progress)
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn progress(&mut self, _: &Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Why a training gave no model.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The observer said so.
    #[error("training was cancelled")]
    Cancelled,
    /// Too little to learn from; says what is missing.
    #[error("not enough data: {0}")]
    TooLittleData(&'static str),
    /// A parameter out of its range.
    #[error("parameter {name} must be {expected}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// The range, in words.
        expected: &'static str,
    },
    /// The loss or the weights stopped being finite.
    #[error("training diverged in {stage}: {quantity} is not finite")]
    Diverged {
        /// Where.
        stage: &'static str,
        /// What.
        quantity: &'static str,
    },
    /// A system of equations could not be solved.
    #[error("matrix is not positive definite")]
    Singular,
    /// The checkpoint belongs to other data or other parameters.
    #[error("checkpoint was made with other {0}")]
    CheckpointMismatch(&'static str),
    /// The checkpoint can't be read.
    #[error("checkpoint can't be read")]
    Checkpoint(#[from] FileError),
}

pub(crate) fn report(observer: &mut dyn Observer, progress: Progress) -> Result<(), TrainError> {
    match observer.progress(&progress) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(TrainError::Cancelled),
    }
}
