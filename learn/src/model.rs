//! Any stored model, read by what its file says it is.

use crate::ease::Ease;
use crate::model_file::{FileError, Reader};
use crate::popularity::Popularity;
use crate::ranker::Ranker;
use crate::recommender::Recommender;
use crate::two_tower::TwoTower;

/// A model that can be kept in a file.
#[derive(Clone, Debug)]
pub enum Model {
    /// See [`crate::popularity`].
    Popularity(Popularity),
    /// See [`crate::ease`].
    Ease(Ease),
    /// See [`crate::two_tower`].
    TwoTower(TwoTower),
    /// See [`crate::ranker`].
    Ranker(Box<Ranker>),
}

impl Model {
    /// Reads any model file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        match Reader::new(bytes)?.kind() {
            "popularity" => Popularity::from_bytes(bytes).map(Self::Popularity),
            "ease" => Ease::from_bytes(bytes).map(Self::Ease),
            "two_tower" => TwoTower::from_bytes(bytes).map(Self::TwoTower),
            "ranker" => Ranker::from_bytes(bytes).map(|ranker| Self::Ranker(Box::new(ranker))),
            other => Err(FileError::Kind {
                found: other.to_owned(),
                wanted: "model".to_owned(),
            }),
        }
    }

    /// The model file.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Popularity(model) => model.to_bytes(),
            Self::Ease(model) => model.to_bytes(),
            Self::TwoTower(model) => model.to_bytes(),
            Self::Ranker(model) => model.to_bytes(),
        }
    }

    /// The served form; popularity has none.
    pub fn to_onnx(&self) -> Option<crate::onnx::Export> {
        match self {
            Self::Popularity(_) => None,
            Self::Ease(model) => Some(crate::onnx::ease(model)),
            Self::TwoTower(model) => Some(crate::onnx::two_tower(model)),
            Self::Ranker(model) => Some(crate::onnx::ranker(model)),
        }
    }

    /// What evaluation asks for.
    pub fn recommender(&self) -> &dyn Recommender {
        match self {
            Self::Popularity(model) => model,
            Self::Ease(model) => model,
            Self::TwoTower(model) => model,
            Self::Ranker(model) => model.as_ref(),
        }
    }
}
