//! Scores, fold-in of unknown users, and the model file.

use serde::{Deserialize, Serialize};

use super::TwoTower;
use crate::data::IdMap;
use crate::item_knn::distinct;
use crate::linalg::dot;
use crate::model_file::{FileError, Reader, Writer};
use crate::recommender::{Query, Recommender, Standing};

/// Steps that bring an unknown user's vector to its place; after 15 lists no longer change.
const FOLD_IN_STEPS: usize = 15;

#[derive(Serialize, Deserialize)]
struct Meta {
    dim: usize,
    scale: f32,
    popularity: f32,
}

impl TwoTower {
    /// See [`crate::model_file`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let meta = Meta {
            dim: self.dim,
            scale: self.scale,
            popularity: self.popularity,
        };
        let writer = Writer::new("two_tower", serde_json::json!(meta));
        let writer = writer
            .section("users", self.users.ids())
            .section("items", self.items.ids());
        let writer = writer.section("user_vectors", &self.user_vectors);
        writer
            .section("item_vectors", &self.item_vectors)
            .section("log_share", &self.log_share)
            .finish()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let reader = Reader::of_kind(bytes, "two_tower")?;
        let Meta {
            dim,
            scale,
            popularity,
        } = reader.meta()?;
        let users = IdMap::new(reader.section("users")?);
        let items = IdMap::new(reader.section("items")?);
        let cells = |rows: usize| rows.checked_mul(dim).ok_or(FileError::Length);
        let user_vectors = reader.sized("user_vectors", cells(users.len())?)?;
        let item_vectors = reader.sized("item_vectors", cells(items.len())?)?;
        let log_share = reader.sized("log_share", items.len())?;
        Ok(Self {
            users,
            items,
            dim,
            scale,
            popularity,
            user_vectors,
            item_vectors,
            log_share,
        })
    }

    /// The unit vector for a history: raises the mean softmax likelihood of its items over the whole catalogue.
    pub fn fold_in(&self, history: &[u32]) -> Vec<f32> {
        let row = |item: usize| &self.item_vectors[item * self.dim..(item + 1) * self.dim];
        let mut target = vec![0.0f32; self.dim];
        for item in history {
            add(&mut target, row(*item as usize), 1.0 / history.len() as f32);
        }
        let mut vector = target.clone();
        normalise(&mut vector);
        let mut shares = vec![0.0f32; self.items.len()];
        for _ in 0..FOLD_IN_STEPS {
            for (item, share) in shares.iter_mut().enumerate() {
                *share = (self.scale * (dot(&vector, row(item)) - 1.0) + self.log_share[item]).exp();
            }
            let total: f32 = shares.iter().sum();
            add(&mut vector, &target, 0.5);
            for (item, share) in shares.iter().enumerate() {
                add(
                    &mut vector,
                    row(item),
                    -0.5 * share / total.max(f32::MIN_POSITIVE),
                );
            }
            normalise(&mut vector);
        }
        vector
    }

    fn score_vector(&self, vector: &[f32], scores: &mut [f32]) {
        let rows = self.item_vectors.chunks_exact(self.dim);
        for ((score, row), share) in scores.iter_mut().zip(rows).zip(&self.log_share) {
            *score = self.scale * dot(vector, row) + self.popularity * share;
        }
    }
}

fn add(to: &mut [f32], from: &[f32], weight: f32) {
    to.iter_mut()
        .zip(from)
        .for_each(|(to, from)| *to += weight * from);
}

pub(super) fn normalise(vector: &mut [f32]) {
    let norm = dot(vector, vector).sqrt().max(1e-12);
    vector.iter_mut().for_each(|value| *value /= norm);
}

impl Recommender for TwoTower {
    fn kind(&self) -> &'static str {
        "two_tower"
    }

    fn items(&self) -> &IdMap {
        &self.items
    }

    fn score(&self, query: &Query<'_>, scores: &mut [f32]) -> Standing {
        if let Some(user) = self.users.index(query.user) {
            let start = user as usize * self.dim;
            self.score_vector(&self.user_vectors[start..start + self.dim], scores);
            return Standing::Trained;
        }
        if query.history.is_empty() {
            scores.copy_from_slice(&self.log_share);
            return Standing::Fallback;
        }
        self.score_vector(&self.fold_in(&distinct(query.history)), scores);
        Standing::FoldedIn
    }
}
