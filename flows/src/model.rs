//! A trained model as tasks hand it on, and its folder.
//!
//! ```text
//! model/weights.bin   the model: trained on all rows but those of `temporal_test`; evaluated, approved, promoted, served
//! model/probe.bin     the same procedure without the rows of `random_test`: only measures `random_user_20_full`
//! model/model.onnx    weights.bin for servers
//! model/model.json    what it is and what it was made from ([`Card`])
//! ```

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tidegate_engine::plugin::Artifact;
use tidegate_learn::Model;
use tidegate_learn::model_file::FileError;

/// File names within a model's folder.
pub const WEIGHTS: &str = "weights.bin";
/// See [`WEIGHTS`].
pub const PROBE: &str = "probe.bin";
/// See [`WEIGHTS`].
pub const ONNX: &str = "model.onnx";
/// See [`WEIGHTS`].
pub const CARD: &str = "model.json";

/// A trained model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelRef {
    /// `file:///…` of its folder.
    pub uri: String,
    /// What it does.
    pub kind: Kind,
    /// SHA-256 of `weights.bin`, 64 hex digits.
    pub sha256: String,
    /// Its files.
    pub files: Vec<Artifact>,
    /// What the ONNX file takes and gives.
    pub signature: Signature,
}

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Two stages: retrieval candidates, re-ranked by trees for lists.
    Ranking,
    /// Two towers: a vector per user and per item.
    Retrieval,
    /// A linear item-to-item model: the baseline.
    Ease,
}

impl Kind {
    /// As written in flow files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ranking => "ranking",
            Self::Retrieval => "retrieval",
            Self::Ease => "ease",
        }
    }
}

/// Tensors in and out of a model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// What it takes.
    pub inputs: Vec<Tensor>,
    /// What it gives.
    pub outputs: Vec<Tensor>,
}

/// A named tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// Its name in the graph.
    pub name: String,
    /// NumPy's name of the type: `int64`, `float32`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its shape; −1 is any.
    pub shape: Vec<i64>,
}

/// `model.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Version of this layout.
    pub v: u32,
    /// What it does.
    pub kind: Kind,
    /// All of them, defaults included.
    pub hyperparameters: Value,
    /// Seed of the training.
    pub seed: u64,
    /// The interactions and folds it was made from; `evaluate` asks for the same.
    pub folds: String,
    /// Digest of the feature table.
    pub data: String,
    /// First instant it did not learn from, Unix seconds.
    pub cut: i64,
    /// SHA-256 of `weights.bin`.
    pub sha256: String,
    /// What the ONNX file takes and gives.
    pub signature: Signature,
    /// The baseline of the same folds, where it was fitted.
    pub ease: Option<Value>,
    /// The run that made it.
    pub run: String,
}

/// Why a model cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Only folders of this machine are read.
    #[error("the model lies at `{0}`; only `file:///…` folders are read")]
    NotAFolder(String),
    /// A file of it is missing or unreadable.
    #[error("can't read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are not those that were promised.
    #[error("`{}` has SHA-256 {found}, not {wanted}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Of the bytes.
        found: String,
        /// As promised.
        wanted: String,
    },
    /// Not a model file.
    #[error("`{}` is no model", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FileError,
    },
    /// `model.json` is not one.
    #[error("`model.json` can't be understood")]
    Card(#[from] serde_json::Error),
}

/// The folder a model's URI names.
pub fn folder(uri: &str) -> Result<PathBuf, ModelError> {
    let path = uri.strip_prefix("file://").filter(|path| path.starts_with('/'));
    path.map(PathBuf::from)
        .ok_or_else(|| ModelError::NotAFolder(uri.to_owned()))
}

/// A model file; with `sha256`, only if its bytes have it.
pub fn load(path: &Path, sha256: Option<&str>) -> Result<Model, ModelError> {
    let bytes = read(path)?;
    let found = hex::encode(Sha256::digest(&bytes));
    if let Some(wanted) = sha256.filter(|wanted| **wanted != found) {
        return Err(ModelError::Changed {
            path: path.to_owned(),
            found,
            wanted: wanted.to_owned(),
        });
    }
    Model::from_bytes(&bytes).map_err(|source| ModelError::Weights {
        path: path.to_owned(),
        source,
    })
}

/// The card of a model's folder.
pub fn card(folder: &Path) -> Result<Card, ModelError> {
    Ok(serde_json::from_slice(&read(&folder.join(CARD))?)?)
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    std::fs::read(path).map_err(|source| ModelError::Read {
        path: path.to_owned(),
        source,
    })
}
