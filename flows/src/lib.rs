//! The task plugins of Tidegate. One file a plugin, one alphabetical line in [`registry`].
//!
//! [`dataset`] is what tasks hand on: a reference to Parquet with its digest. [`lake`] reads and writes the event lake,
//! on S3 or on a file system.

pub mod approval;
pub mod command;
pub mod data_pull;
pub mod dataset;
pub mod demo;
pub mod evaluate;
pub mod feature_build;
pub mod lake;
pub mod mlflow;
pub mod mlflow_log;
pub mod model;
pub mod promote;
#[cfg(test)]
pub mod testing;
pub mod train;

use tidegate_engine::plugin::Registry;

/// All plugins of this crate.
pub fn registry() -> Registry {
    Registry::default()
        .with(approval::Approval)
        .with(command::Command)
        .with(data_pull::DataPull)
        .with(evaluate::Evaluate)
        .with(feature_build::FeatureBuild)
        .with(mlflow_log::MlflowLog)
        .with(promote::Promote)
        .with(train::Train)
}
