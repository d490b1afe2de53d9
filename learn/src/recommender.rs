//! What evaluation and re-ranking ask of every model.

use crate::data::IdMap;

/// One item of a user's history.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Visit {
    /// Index into the model's own [`Recommender::items`].
    pub item: u32,
    /// Strength.
    pub value: f32,
    /// Unix time in seconds.
    pub ts: i64,
}

/// For whom scores are asked, and as of when.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Identity of the user; the model may or may not have seen them in training.
    pub user: i64,
    /// What is known of the user, in time order; items that the model does not know are left out.
    pub history: &'a [Visit],
    /// The instant of the request, Unix seconds.
    pub at: i64,
}

/// On what ground a user was scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The user was part of the training.
    Trained,
    /// Unknown to the training, represented by the history of the query.
    FoldedIn,
    /// Neither known nor with a history: scored by popularity.
    Fallback,
}

/// A model that scores its whole catalogue for one user.
pub trait Recommender: Send + Sync {
    /// The kind of model, as written in model files: `ease`, `two_tower`, ….
    fn kind(&self) -> &'static str;

    /// The items it can score, in index order.
    fn items(&self) -> &IdMap;

    /// Writes one finite score per item of [`Recommender::items`] into `scores` (same length); higher is
    /// better. Items of the history are scored too: leaving them out is up to the caller.
    fn score(&self, query: &Query<'_>, scores: &mut [f32]) -> Standing;
}
