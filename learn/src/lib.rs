//! The pure numerics of Tidegate: recommenders, ranking metrics with intervals, and the ONNX writer.
//!
//! Nothing here knows files, clocks, environments or async runtimes. Every function of a seed is
//! reproducible bit for bit, whatever the number of threads. Read in this order:
//!
//! - [`data`], [`split`], [`generate`]: events, held-out events, made-up events;
//! - [`metrics`], [`mod@evaluate`], [`interval`]: what a list is worth, over users, with its uncertainty;
//! - [`recommender`], [`progress`]: what all models share;
//! - [`popularity`], [`item_knn`], [`ease`], [`two_tower`], [`lambdamart`], [`spectral`], [`ranker`]: the models;
//! - [`model_file`], [`model`], [`onnx`]: how models are kept and served.

pub mod data;
pub mod ease;
pub mod evaluate;
pub mod generate;
pub mod interval;
pub mod item_knn;
pub mod lambdamart;
mod linalg;
pub mod metrics;
pub mod model;
pub mod model_file;
pub mod onnx;
pub mod popularity;
pub mod progress;
mod random;
pub mod ranker;
pub mod recommender;
pub mod spectral;
pub mod split;
pub mod two_tower;

pub use data::{Event, IdMap, Interactions};
pub use evaluate::{Evaluation, evaluate};
pub use interval::Estimate;
pub use metrics::Metric;
pub use model::Model;
pub use progress::{Observer, Progress, Silent, TrainError};
pub use recommender::{Query, Recommender, Standing, Visit};
pub use split::{CandidateSet, Holdout, Protocol, Split};
