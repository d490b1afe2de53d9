//! Item-based nearest neighbours: cosine of co-visits with shrinkage.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{Csr, IdMap, Interactions};
use crate::model_file::{FileError, Reader, Writer};
use crate::recommender::{Query, Recommender, Standing, Visit};

/// What makes a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Params {
    /// Added to the cosine's denominator, so that few co-visits weigh little.
    pub shrink: f32,
    /// Neighbours kept per item: the visited items that may speak for it.
    pub neighbours: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            shrink: 20.0,
            neighbours: 100,
        }
    }
}

/// The neighbour lists: similarity of items i and j is |users of both| / (√(|users of i|·|users of j|) + shrink).
#[derive(Clone, Debug, PartialEq)]
pub struct ItemKnn {
    items: IdMap,
    /// `offsets[i]..offsets[i + 1]` are the items that have item `i` among their neighbours, by ascending index.
    offsets: Vec<usize>,
    neighbours: Vec<(u32, f32)>,
    popularity: Vec<f32>,
}

impl ItemKnn {
    /// Counts co-visits, both cores; the result does not depend on their number.
    pub fn fit(data: &Interactions, params: Params) -> Self {
        let by_user = Csr::from_interactions(data);
        let by_item = by_user.transposed();
        let n = by_item.height();
        let visits = CoVisits {
            by_user,
            by_item,
            params,
        };
        let lists: Vec<Vec<(u32, f32)>> = (0..n as u32)
            .into_par_iter()
            .map_init(|| vec![0u32; n], |counts, item| visits.neighbours(item, counts))
            .collect();
        let (offsets, neighbours) = turned(&lists);
        let popularity = data.popularity().iter().map(|count| *count as f32).collect();
        Self {
            items: data.items().as_ref().clone(),
            offsets,
            neighbours,
            popularity,
        }
    }

    /// The items among whose neighbours this one is, with their similarities, by ascending index: whom a visit speaks for.
    pub fn neighbours(&self, item: u32) -> &[(u32, f32)] {
        &self.neighbours[self.offsets[item as usize]..self.offsets[item as usize + 1]]
    }

    pub(crate) fn write(&self, writer: Writer) -> Writer {
        let offsets: Vec<u32> = self.offsets.iter().map(|offset| *offset as u32).collect();
        let items: Vec<u32> = self.neighbours.iter().map(|neighbour| neighbour.0).collect();
        let similarities: Vec<f32> = self.neighbours.iter().map(|neighbour| neighbour.1).collect();
        let writer = writer
            .section("knn_offsets", &offsets)
            .section("knn_items", &items);
        writer
            .section("knn_similarities", &similarities)
            .section("knn_popularity", &self.popularity)
    }

    pub(crate) fn read(reader: &Reader<'_>, ids: &IdMap) -> Result<Self, FileError> {
        let offsets: Vec<u32> = reader.sized("knn_offsets", ids.len() + 1)?;
        let items: Vec<u32> = reader.section("knn_items")?;
        let similarities: Vec<f32> = reader.sized("knn_similarities", items.len())?;
        let popularity = reader.sized("knn_popularity", ids.len())?;
        let ends = offsets.last().is_some_and(|end| *end as usize == items.len());
        if !ends || !offsets.is_sorted() || items.iter().any(|item| *item as usize >= ids.len()) {
            return Err(FileError::Inconsistent("neighbour lists"));
        }
        let neighbours = items.into_iter().zip(similarities).collect();
        let offsets = offsets.iter().map(|offset| *offset as usize).collect();
        Ok(Self {
            items: ids.clone(),
            offsets,
            neighbours,
            popularity,
        })
    }

    /// Adds `weight` times the similarity of each neighbour of `item` to `scores`.
    pub(crate) fn spread(&self, item: u32, weight: f32, scores: &mut [f32]) {
        for (neighbour, similarity) in self.neighbours(item) {
            scores[*neighbour as usize] += weight * similarity;
        }
    }
}

/// The lists by neighbour instead of by item, one after the other, and where each begins.
fn turned(lists: &[Vec<(u32, f32)>]) -> (Vec<usize>, Vec<(u32, f32)>) {
    let mut entries: Vec<(u32, u32, f32)> = Vec::with_capacity(lists.iter().map(Vec::len).sum());
    for (item, list) in lists.iter().enumerate() {
        entries.extend(
            list.iter()
                .map(|(neighbour, similarity)| (*neighbour, item as u32, *similarity)),
        );
    }
    entries.sort_unstable_by_key(|entry| (entry.0, entry.1));
    let start = |neighbour: usize| entries.partition_point(|entry| (entry.0 as usize) < neighbour);
    let offsets = (0..=lists.len()).map(start).collect();
    (offsets, entries.iter().map(|entry| (entry.1, entry.2)).collect())
}

/// Who visited what, both ways.
struct CoVisits {
    by_user: Csr,
    by_item: Csr,
    params: Params,
}

impl CoVisits {
    /// The most similar items, by ascending index. `counts` is all 0, before and after.
    fn neighbours(&self, item: u32, counts: &mut [u32]) -> Vec<(u32, f32)> {
        for user in self.by_item.row(item) {
            for other in self.by_user.row(*user) {
                counts[*other as usize] += 1;
            }
        }
        counts[item as usize] = 0;
        let size = |index: u32| self.by_item.row(index).len() as f32;
        let similarity = |(other, count): (usize, &mut u32)| {
            let common = std::mem::take(count) as f32;
            let denominator = (size(item) * size(other as u32)).sqrt() + self.params.shrink;
            (common > 0.0).then(|| (other as u32, common / denominator))
        };
        let mut list: Vec<(u32, f32)> = counts.iter_mut().enumerate().filter_map(similarity).collect();
        let kept = self.params.neighbours;
        if list.len() > kept {
            let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
            list.select_nth_unstable_by(kept, order);
            list.truncate(kept);
            list.sort_unstable_by_key(|neighbour| neighbour.0);
        }
        list
    }
}

/// The different items of a history, ascending.
pub(crate) fn distinct(history: &[Visit]) -> Vec<u32> {
    let mut items: Vec<u32> = history.iter().map(|visit| visit.item).collect();
    items.sort_unstable();
    items.dedup();
    items
}

impl Recommender for ItemKnn {
    fn kind(&self) -> &'static str {
        "item_knn"
    }

    fn items(&self) -> &IdMap {
        &self.items
    }

    fn score(&self, query: &Query<'_>, scores: &mut [f32]) -> Standing {
        if query.history.is_empty() {
            scores.copy_from_slice(&self.popularity);
            return Standing::Fallback;
        }
        scores.fill(0.0);
        for item in distinct(query.history) {
            self.spread(item, 1.0, scores);
        }
        Standing::FoldedIn
    }
}
