//! The task plugins of Tidegate. One file a plugin, one alphabetical line in [`registry`].
//!
//! [`dataset`] is what tasks hand on: a reference to Parquet with its digest. [`lake`] reads and writes the event lake,
//! on S3 or on a file system.

pub mod approval;
pub mod channels;
pub mod command;
#[cfg(feature = "ml")]
pub mod data_pull;
#[cfg(feature = "ml")]
pub mod dataset;
#[cfg(feature = "ml")]
pub mod demo;
#[cfg(feature = "ml")]
pub mod evaluate;
#[cfg(feature = "ml")]
pub mod feature_build;
pub mod flow;
pub mod http;
#[cfg(feature = "ml")]
pub mod lake;
#[cfg(feature = "ml")]
pub mod mlflow;
#[cfg(feature = "ml")]
pub mod mlflow_log;
#[cfg(feature = "ml")]
pub mod model;
pub mod net;
pub mod notify;
#[cfg(feature = "ml")]
pub mod promote;
pub mod sql;
#[cfg(test)]
pub mod testing;
#[cfg(feature = "ml")]
pub mod train;
pub mod wait;

use tidegate_engine::plugin::Registry;

/// All plugins of this crate.
pub fn registry() -> Registry {
    let light = Registry::default()
        .with(approval::Approval)
        .with(command::Command)
        .with(flow::Flow)
        .with(http::Http)
        .with(notify::Notify)
        .with(sql::Sql)
        .with(wait::Wait);
    #[cfg(feature = "ml")]
    let light = with_ml(light);
    light
}

/// The steps of model building.
#[cfg(feature = "ml")]
fn with_ml(registry: Registry) -> Registry {
    registry
        .with(data_pull::DataPull)
        .with(evaluate::Evaluate)
        .with(feature_build::FeatureBuild)
        .with(mlflow_log::MlflowLog)
        .with(promote::Promote)
        .with(train::Train)
}
