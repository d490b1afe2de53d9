//! What tends to come right after what.

use crate::data::Interactions;
use crate::model_file::{FileError, Reader, Writer};
use crate::recommender::Visit;

/// How many of a user's next items count as following, the nearest most.
const REACH: usize = 3;
/// Followers kept per item.
const KEPT: usize = 50;
/// Added to an item's visits, so that what was seen once says little.
const SHRINK: f32 = 10.0;

/// Follower lists: `offsets[i]..offsets[i + 1]` are what follows item `i`, with weights.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Follow {
    offsets: Vec<u32>,
    items: Vec<u32>,
    weights: Vec<f32>,
}

impl Follow {
    /// Counts pairs of first visits that lie next to each other.
    pub fn fit(data: &Interactions) -> Self {
        let n = data.items().len();
        let mut visits = vec![0.0f32; n];
        let mut pairs: Vec<(u32, u32, f32)> = Vec::new();
        let grouped = data.by_user();
        for user in 0..grouped.len() as u32 {
            let mut order: Vec<u32> = Vec::new();
            let mut seen = std::collections::HashSet::new();
            order.extend(
                grouped
                    .of(user)
                    .iter()
                    .map(|row| row.item)
                    .filter(|item| seen.insert(*item)),
            );
            for (at, item) in order.iter().enumerate() {
                visits[*item as usize] += 1.0;
                let next = order[at + 1..].iter().take(REACH).enumerate();
                pairs.extend(next.map(|(gap, other)| (*item, *other, 1.0 / (gap + 1) as f32)));
            }
        }
        pairs.sort_by_key(|pair| (pair.0, pair.1));
        let (mut offsets, mut items, mut weights) = (vec![0u32], Vec::new(), Vec::new());
        let mut lists = pairs.chunk_by(|a, b| a.0 == b.0).peekable();
        for item in 0..n as u32 {
            if let Some(list) = lists.next_if(|list| list[0].0 == item) {
                let scale = 1.0 / (visits[item as usize] + SHRINK);
                for (other, weight) in strongest(list) {
                    items.push(other);
                    weights.push(weight * scale);
                }
            }
            offsets.push(items.len() as u32);
        }
        Self {
            offsets,
            items,
            weights,
        }
    }

    /// Adds what follows the last visits; the visit before counts half, and so on.
    pub fn score(&self, history: &[Visit], scores: &mut [f32]) {
        for (back, visit) in history.iter().rev().take(REACH).enumerate() {
            let list =
                self.offsets[visit.item as usize] as usize..self.offsets[visit.item as usize + 1] as usize;
            for (other, weight) in self.items[list.clone()].iter().zip(&self.weights[list]) {
                scores[*other as usize] += weight / (1 << back) as f32;
            }
        }
    }

    pub fn write(&self, writer: Writer) -> Writer {
        writer
            .section("follow_offsets", &self.offsets)
            .section("follow_items", &self.items)
            .section("follow_weights", &self.weights)
    }

    pub fn read(reader: &Reader<'_>, n: usize) -> Result<Self, FileError> {
        let offsets: Vec<u32> = reader.sized("follow_offsets", n + 1)?;
        let items: Vec<u32> = reader.section("follow_items")?;
        let weights = reader.sized("follow_weights", items.len())?;
        let ends = offsets.last().is_some_and(|end| *end as usize == items.len());
        if !ends || !offsets.is_sorted() || items.iter().any(|item| *item as usize >= n) {
            return Err(FileError::Inconsistent("follower lists"));
        }
        Ok(Self {
            offsets,
            items,
            weights,
        })
    }
}

/// The sums per follower, the largest [`KEPT`] of them by ascending item.
fn strongest(list: &[(u32, u32, f32)]) -> Vec<(u32, f32)> {
    let mut sums: Vec<(u32, f32)> = list
        .chunk_by(|a, b| a.1 == b.1)
        .map(|same| (same[0].1, same.iter().map(|pair| pair.2).sum()))
        .collect();
    if sums.len() > KEPT {
        sums.select_nth_unstable_by(KEPT, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        sums.truncate(KEPT);
        sums.sort_unstable_by_key(|sum| sum.0);
    }
    sums
}
