//! The baseline that everything must beat: what most users visit, with or without a memory that fades.

use serde::{Deserialize, Serialize};

use crate::data::{IdMap, Interactions};
use crate::model_file::{FileError, Reader, Writer};
use crate::recommender::{Query, Recommender, Standing};

/// How popularity is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Params {
    /// Without: the number of different users. With: events, each worth half as much every so many seconds
    /// before the last event (recency popularity).
    pub half_life: Option<f64>,
}

/// Scores every user alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Popularity {
    items: IdMap,
    scores: Vec<f32>,
}

impl Popularity {
    /// Counts. Items are those of the data set's map; the ones without events score 0.
    pub fn fit(data: &Interactions, params: Params) -> Self {
        let scores = match params.half_life {
            None => data.popularity().iter().map(|count| *count as f32).collect(),
            Some(half_life) => faded(data, half_life),
        };
        Self {
            items: data.items().as_ref().clone(),
            scores,
        }
    }

    /// One score per item.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// See [`crate::model_file`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let writer = Writer::new("popularity", serde_json::json!({}));
        writer
            .section("items", self.items.ids())
            .section("scores", &self.scores)
            .finish()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let reader = Reader::of_kind(bytes, "popularity")?;
        let items = IdMap::new(reader.section("items")?);
        let scores = reader.sized("scores", items.len())?;
        Ok(Self { items, scores })
    }
}

/// Sum over an item's events of 2^(−age / half-life), age being that before the last event of all.
pub(crate) fn faded(data: &Interactions, half_life: f64) -> Vec<f32> {
    let last = data.last_ts().unwrap_or(0);
    let mut scores = vec![0.0f64; data.items().len()];
    for row in data.rows() {
        scores[row.item as usize] += (-((last - row.ts) as f64) / half_life).exp2();
    }
    scores.iter().map(|score| *score as f32).collect()
}

impl Recommender for Popularity {
    fn kind(&self) -> &'static str {
        "popularity"
    }

    fn items(&self) -> &IdMap {
        &self.items
    }

    fn score(&self, _: &Query<'_>, scores: &mut [f32]) -> Standing {
        scores.copy_from_slice(&self.scores);
        Standing::Fallback
    }
}
