//! What the second stage is told of a user and a candidate.

use crate::data::{IdMap, Interactions};
use crate::ease::Ease;
use crate::item_knn::{ItemKnn, distinct};
use crate::model_file::{FileError, Reader, Writer};
use crate::popularity::faded;
use crate::recommender::{Query, Recommender, Visit};

/// Names of the features, in the order of a row.
pub const FEATURES: [&str; 20] = [
    "ease_score",
    "ease_share_of_best",
    "ease_rank_log",
    "knn_score",
    "knn_share_of_best",
    "knn_recent_score",
    "knn_fading_score",
    "ease_recent_score",
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

/// The last so many visits are what is "recent" of a user.
const RECENT: usize = 5;
const DAY: f64 = 86_400.0;

/// Everything that is known of items before a query comes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Facts {
    pub(super) ease: Ease,
    knn: ItemKnn,
    /// Seconds after which a visit counts half.
    half_life: f64,
    /// [popularity log, percentile, recent log, recent percentile, trend, mean value] per item.
    items: Vec<[f32; 6]>,
    /// First and last event per item, Unix seconds.
    spans: Vec<[i64; 2]>,
}

impl Facts {
    pub(super) fn new(data: &Interactions, ease: Ease, knn: ItemKnn) -> Self {
        let n = data.items().len();
        let first = data.rows().first().map_or(0, |row| row.ts);
        let half_life = ((data.last_ts().unwrap_or(first) - first) as f64 / 10.0).max(DAY);
        let popularity: Vec<f32> = data.popularity().iter().map(|count| *count as f32).collect();
        let recent = faded(data, half_life);
        let mut spans = vec![[i64::MAX, i64::MIN]; n];
        let mut values = vec![[0.0f64; 2]; n];
        for row in data.rows() {
            let (span, value) = (&mut spans[row.item as usize], &mut values[row.item as usize]);
            *span = [span[0].min(row.ts), span[1].max(row.ts)];
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
            [
                ln(shares[0]),
                ranks[0][at],
                ln(shares[1]),
                ranks[1][at],
                shares[1] / (shares[0] + 0.1),
                mean,
            ]
        };
        Self {
            ease,
            knn,
            half_life,
            items: (0..n).map(item).collect(),
            spans,
        }
    }

    pub(super) fn items(&self) -> &IdMap {
        self.ease.items()
    }

    /// The best `limit` unseen items of the first stage and their features, row-major.
    pub(super) fn features(&self, query: &Query<'_>, limit: usize) -> (Vec<u32>, Vec<f32>) {
        let view = View::new(self, query);
        let candidates = self.candidates(&view, limit);
        let best = |scores: &[f32]| {
            candidates
                .iter()
                .map(|item| scores[*item as usize])
                .fold(1e-6, f32::max)
        };
        let best = [best(&view.ease), best(&view.knn)];
        let mut rows = Vec::with_capacity(candidates.len() * FEATURES.len());
        for (rank, item) in candidates.iter().enumerate() {
            rows.extend(self.row(&view, *item as usize, rank, best));
        }
        (candidates, rows)
    }

    fn candidates(&self, view: &View, limit: usize) -> Vec<u32> {
        let order = |a: &u32, b: &u32| {
            view.ease[*b as usize]
                .total_cmp(&view.ease[*a as usize])
                .then(a.cmp(b))
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

    fn row(&self, view: &View, item: usize, rank: usize, best: [f32; 2]) -> [f32; FEATURES.len()] {
        let [popularity, percentile, recent, recent_percentile, trend, value] = self.items[item];
        let [first, last] = self.spans[item];
        [
            view.ease[item],
            view.ease[item] / best[0],
            ln(rank as f32),
            view.knn[item],
            view.knn[item] / best[1],
            view.knn_recent[item],
            view.knn_fading[item],
            view.ease_recent[item],
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
        let writer = self.knn.write(writer).section("half_life", &[self.half_life]);
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
            ease,
            knn,
            half_life,
            items,
            spans,
        })
    }
}

/// All items as one query sees them.
struct View {
    seen: Vec<u32>,
    ease: Vec<f32>,
    ease_recent: Vec<f32>,
    knn: Vec<f32>,
    knn_recent: Vec<f32>,
    knn_fading: Vec<f32>,
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
        let taste: f32 = seen.iter().map(|item| facts.items[*item as usize][0]).sum();
        Self {
            ease: score(&facts.ease, query.history),
            ease_recent: score(&facts.ease, recent),
            knn: score(&facts.knn, query.history),
            knn_recent: score(&facts.knn, recent),
            knn_fading,
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
