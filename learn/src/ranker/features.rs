//! What the second stage is told of a user and a candidate.

use super::Params;
use super::follow::Follow;
use crate::data::{IdMap, Interactions};
use crate::ease::Ease;
use crate::item_knn::{ItemKnn, distinct};
use crate::model_file::{FileError, Reader, Writer};
use crate::popularity::faded;
use crate::progress::{Silent, TrainError};
use crate::recommender::{Query, Recommender, Visit};
use crate::spectral::Spectral;

/// Names of the features, in the order of a row. The first is the first stage's own score; a deviation (`_z`) is the distance
/// from the mean of the list's candidates in standard deviations.
pub const FEATURES: [&str; 25] = [
    "ease_score",
    "ease_z",
    "ease_recent_z",
    "knn_z",
    "knn_recent_z",
    "knn_fading_z",
    "spectral_z",
    "follow_z",
    "ease_share_of_best",
    "knn_share_of_best",
    "spectral_share_of_best",
    "ease_rank_log",
    "follow_score",
    "popularity_log",
    "popularity_percentile",
    "recent_popularity_log",
    "recent_popularity_percentile",
    "trend",
    "item_age_days_log",
    "item_idle_days_log",
    "item_mean_value",
    "history_log",
    "user_idle_days_log",
    "user_mean_popularity_log",
    "popularity_above_user_mean",
];

/// The place of the feature whose order is the first stage's.
pub(super) const BASE: usize = 1;
/// The places of the features that a weighted sum may add to it.
pub(super) const SIGNS: [usize; 13] = [2, 3, 4, 5, 6, 7, 13, 14, 15, 17, 18, 19, 20];

/// The last so many visits are what is "recent" of a user.
const RECENT: usize = 5;
const DAY: f64 = 86_400.0;

/// Everything that is known of items before a query comes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Facts {
    pub(super) ease: Ease,
    knn: ItemKnn,
    spectral: Spectral,
    follow: Follow,
    /// Seconds after which a visit counts half.
    half_life: f64,
    /// [popularity log, percentile, recent log, recent percentile, trend, mean value] per item.
    items: Vec<[f32; 6]>,
    /// First and last event per item, Unix seconds.
    spans: Vec<[i64; 2]>,
}

impl Facts {
    /// Counts and solves.
    pub(super) fn fit(data: &Interactions, params: &Params) -> Result<Self, TrainError> {
        let data = data.compacted();
        let ease = Ease::fit(&data, params.ease, &mut Silent)?;
        let (items, half_life) = facts_of_items(&data);
        Ok(Self {
            ease,
            knn: ItemKnn::fit(&data, params.neighbours),
            spectral: Spectral::fit(&data, params.spectral),
            follow: Follow::fit(&data),
            half_life,
            spans: spans(&data),
            items,
        })
    }

    pub(super) fn items(&self) -> &IdMap {
        self.ease.items()
    }

    /// The best `limit` unseen items of the first stage and their features, row-major.
    pub(super) fn features(&self, query: &Query<'_>, limit: usize) -> (Vec<u32>, Vec<f32>) {
        let view = View::new(self, query);
        let candidates = self.candidates(&view, limit);
        let scales = view
            .signals
            .each_ref()
            .map(|scores| Scale::of(scores, &candidates));
        let mut rows = Vec::with_capacity(candidates.len() * FEATURES.len());
        for (rank, item) in candidates.iter().enumerate() {
            rows.extend(self.row(&view, &scales, (*item as usize, rank)));
        }
        (candidates, rows)
    }

    fn candidates(&self, view: &View, limit: usize) -> Vec<u32> {
        let order = |a: &u32, b: &u32| {
            let scores = &view.signals[EASE];
            scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b))
        };
        let n = self.items.len() as u32;
        let mut items: Vec<u32> = (0..n)
            .filter(|item| view.seen.binary_search(item).is_err())
            .collect();
        if items.len() > limit {
            items.select_nth_unstable_by(limit - 1, order);
            items.truncate(limit);
        }
        items.sort_unstable_by(order);
        items
    }

    fn row(
        &self,
        view: &View,
        scales: &[Scale; SIGNALS],
        (item, rank): (usize, usize),
    ) -> [f32; FEATURES.len()] {
        let [popularity, percentile, recent, recent_percentile, trend, value] = self.items[item];
        let [first, last] = self.spans[item];
        let signal = |which: usize| view.signals[which][item];
        let z = |which: usize| (signal(which) - scales[which].mean) / scales[which].deviation;
        let share = |which: usize| signal(which) / scales[which].best;
        [
            signal(EASE),
            z(EASE),
            z(EASE_RECENT),
            z(KNN),
            z(KNN_RECENT),
            z(KNN_FADING),
            z(SPECTRAL),
            z(FOLLOW),
            share(EASE),
            share(KNN),
            share(SPECTRAL),
            ln(rank as f32),
            signal(FOLLOW),
            popularity,
            percentile,
            recent,
            recent_percentile,
            trend,
            days_log(view.at, first),
            days_log(view.at, last),
            value,
            view.history,
            view.idle,
            view.taste,
            popularity - view.taste,
        ]
    }

    pub(super) fn write(&self, writer: Writer) -> Writer {
        let writer = writer
            .section("items", self.items().ids())
            .section("weights", self.ease.weights());
        let writer = writer.section("popularity", self.ease.popularity());
        let writer = self.follow.write(self.spectral.write(self.knn.write(writer)));
        let writer = writer.section("half_life", &[self.half_life]);
        writer
            .section("facts", self.items.as_flattened())
            .section("spans", self.spans.as_flattened())
    }

    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, FileError> {
        let ease = Ease::read(reader)?;
        let n = ease.items().len();
        let knn = ItemKnn::read(reader, ease.items())?;
        let facts: Vec<f32> = reader.sized("facts", n * 6)?;
        let spans: Vec<i64> = reader.sized("spans", n * 2)?;
        let half_life = reader.sized("half_life", 1)?[0];
        let (items, spans) = (facts.as_chunks().0.to_vec(), spans.as_chunks().0.to_vec());
        Ok(Self {
            spectral: Spectral::read(reader, ease.items())?,
            follow: Follow::read(reader, n)?,
            ease,
            knn,
            half_life,
            items,
            spans,
        })
    }
}

/// Facts per item (see [`Facts::items`]) and the half-life behind the recent ones.
fn facts_of_items(data: &Interactions) -> (Vec<[f32; 6]>, f64) {
    let n = data.items().len();
    let first = data.rows().first().map_or(0, |row| row.ts);
    let half_life = ((data.last_ts().unwrap_or(first) - first) as f64 / 10.0).max(DAY);
    let popularity: Vec<f32> = data.popularity().iter().map(|count| *count as f32).collect();
    let recent = faded(data, half_life);
    let mut values = vec![[0.0f64; 2]; n];
    for row in data.rows() {
        let value = &mut values[row.item as usize];
        *value = [value[0] + f64::from(row.value), value[1] + 1.0];
    }
    let total = [
        popularity.iter().sum::<f32>().max(1.0),
        recent.iter().sum::<f32>().max(f32::MIN_POSITIVE),
    ];
    let ranks = [percentiles(&popularity), percentiles(&recent)];
    let item = |at: usize| {
        let shares = [
            popularity[at] / total[0] * n as f32,
            recent[at] / total[1] * n as f32,
        ];
        let mean = (values[at][0] / values[at][1].max(1.0)) as f32;
        let trend = shares[1] / (shares[0] + 0.1);
        [
            ln(shares[0]),
            ranks[0][at],
            ln(shares[1]),
            ranks[1][at],
            trend,
            mean,
        ]
    };
    ((0..n).map(item).collect(), half_life)
}

/// First and last event per item.
fn spans(data: &Interactions) -> Vec<[i64; 2]> {
    let mut spans = vec![[i64::MAX, i64::MIN]; data.items().len()];
    for row in data.rows() {
        let span = &mut spans[row.item as usize];
        *span = [span[0].min(row.ts), span[1].max(row.ts)];
    }
    spans
}

/// What scores every item for a query, by its place in [`View::signals`].
const EASE: usize = 0;
const EASE_RECENT: usize = 1;
const KNN: usize = 2;
const KNN_RECENT: usize = 3;
const KNN_FADING: usize = 4;
const SPECTRAL: usize = 5;
const FOLLOW: usize = 6;
const SIGNALS: usize = 7;

/// A signal over the candidates of one list.
struct Scale {
    mean: f32,
    /// Never 0.
    deviation: f32,
    /// Never 0.
    best: f32,
}

impl Scale {
    fn of(scores: &[f32], candidates: &[u32]) -> Self {
        let n = candidates.len().max(1) as f32;
        let each = || candidates.iter().map(|item| scores[*item as usize]);
        let mean = each().sum::<f32>() / n;
        let variance = each().map(|score| (score - mean).powi(2)).sum::<f32>() / n;
        Self {
            mean,
            deviation: variance.sqrt().max(1e-6),
            best: each().fold(1e-6, f32::max),
        }
    }
}

/// All items as one query sees them.
struct View {
    seen: Vec<u32>,
    signals: [Vec<f32>; SIGNALS],
    history: f32,
    idle: f32,
    taste: f32,
    at: i64,
}

impl View {
    fn new(facts: &Facts, query: &Query<'_>) -> Self {
        let n = facts.items.len();
        let seen = distinct(query.history);
        let recent = &query.history[query.history.len().saturating_sub(RECENT)..];
        let score = |model: &dyn Recommender, history: &[Visit]| {
            let mut scores = vec![0.0; n];
            model.score(&Query { history, ..*query }, &mut scores);
            scores
        };
        let mut knn_fading = vec![0.0; n];
        for visit in query.history {
            let age = (query.at - visit.ts).max(0) as f64;
            facts.knn.spread(
                visit.item,
                (-age / facts.half_life).exp2() as f32,
                &mut knn_fading,
            );
        }
        let mut spectral = vec![0.0; n];
        facts.spectral.score(&seen, &mut spectral);
        let mut follow = vec![0.0; n];
        facts.follow.score(query.history, &mut follow);
        let taste: f32 = seen.iter().map(|item| facts.items[*item as usize][0]).sum();
        Self {
            signals: [
                score(&facts.ease, query.history),
                score(&facts.ease, recent),
                score(&facts.knn, query.history),
                score(&facts.knn, recent),
                knn_fading,
                spectral,
                follow,
            ],
            history: ln(seen.len() as f32),
            idle: query
                .history
                .last()
                .map_or(0.0, |visit| days_log(query.at, visit.ts)),
            taste: taste / seen.len().max(1) as f32,
            at: query.at,
            seen,
        }
    }
}

fn ln(value: f32) -> f32 {
    value.ln_1p()
}

fn days_log(now: i64, then: i64) -> f32 {
    ((now.saturating_sub(then)).max(0) as f64 / DAY).ln_1p() as f32
}

/// Share of items with a lower value.
fn percentiles(values: &[f32]) -> Vec<f32> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let share =
        |value: &f32| sorted.partition_point(|other| other < value) as f32 / sorted.len().max(1) as f32;
    values.iter().map(share).collect()
}
