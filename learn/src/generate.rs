//! Made-up learning events with something to learn in them.
//!
//! Items have a topic and a difficulty; users have a few topics, a level and a cohort. A user works through items
//! of their topics near their level, so that neighbours tell far more than popularity. As in a real lake, some
//! events arrive days late, some twice, some without a value, and some users ask to be forgotten.

use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::random::{self, Stream};

/// Seconds of a day.
const DAY: i64 = 86_400;
/// After so many days an item is worth another look.
const REVIEW_AFTER: u32 = 30;

/// What world to make.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Decides everything.
    pub seed: u64,
    /// Number of users.
    pub users: usize,
    /// Number of items.
    pub items: usize,
    /// Topics that items are spread over.
    pub topics: usize,
    /// Topics that a user cares for.
    pub interests: usize,
    /// Days of events.
    pub days: u32,
    /// First day, Unix seconds at midnight UTC.
    pub start: i64,
    /// Items that a typical user works on per day.
    pub pace: f64,
    /// How much a user's own topics weigh against others; larger means easier to learn.
    pub sharpness: f64,
    /// Share of events that arrive one to three days late.
    pub late: f64,
    /// Share of events that are delivered twice.
    pub duplicates: f64,
    /// Share of events with a value that lose it.
    pub nulls: f64,
    /// Share of users who first appear in the last tenth of the days.
    pub cold: f64,
    /// Share of users on the deletion list.
    pub forgotten: f64,
    /// Share of users who change one topic half-way; 0 is a world at rest.
    pub drift: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            seed: 7,
            users: 1500,
            items: 800,
            topics: 20,
            interests: 3,
            days: 60,
            start: 1_727_740_800,
            pace: 2.0,
            sharpness: 5.5,
            late: 0.02,
            duplicates: 0.005,
            nulls: 0.01,
            cold: 0.04,
            forgotten: 0.005,
            drift: 0.1,
        }
    }
}

/// What a user did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// Opened the item; no value.
    View,
    /// Worked on it; the value is the share done, in (0, 1).
    Progress,
    /// Finished it; the value is 1.
    Complete,
}

impl EventType {
    /// As written in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Progress => "progress",
            Self::Complete => "complete",
        }
    }
}

/// One delivered event.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearningEvent {
    /// Identity; a duplicate has that of its original.
    pub event_id: i64,
    /// Who.
    pub user_id: i64,
    /// What.
    pub item_id: i64,
    /// What they did.
    pub event_type: EventType,
    /// Share done; absent for views, and where it was lost.
    pub value: Option<f32>,
    /// When it happened, Unix microseconds.
    pub ts_micros: i64,
    /// Day of arrival, counted from 0 at [`Params::start`]; at least the day of the event.
    pub arrival_day: u32,
}

/// A user and the facts that slices are made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learner {
    /// Identity.
    pub user_id: i64,
    /// `school`, `university` or `professional`.
    pub cohort: &'static str,
    /// 0 to 1; items of about this difficulty suit.
    pub level: f32,
    /// Topics, the dearest first.
    pub interests: Vec<u32>,
    /// First day on which they may be seen.
    pub first_day: u32,
}

/// An item.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Identity.
    pub item_id: i64,
    /// 0 to topics − 1.
    pub topic: u32,
    /// 0 to 1.
    pub difficulty: f32,
    /// How attractive it is to all alike, around 1.
    pub appeal: f32,
}

/// All that was made up.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// By ascending id.
    pub users: Vec<Learner>,
    /// By ascending id.
    pub items: Vec<Item>,
    /// By arrival day, then time.
    pub events: Vec<LearningEvent>,
    /// Users who must not be found in anything derived.
    pub forgotten: Vec<i64>,
}

/// Makes a world; the same parameters give the same world, whatever the number of threads.
pub fn world(params: &Params) -> World {
    let items = items(params);
    let users: Vec<Learner> = (0..params.users).map(|number| learner(params, number)).collect();
    let per_user: Vec<Vec<LearningEvent>> = users
        .par_iter()
        .map(|user| history(params, user, &items))
        .collect();
    let mut events = per_user.concat();
    events.sort_by_key(|event| (event.ts_micros, event.user_id, event.item_id));
    for (number, event) in events.iter_mut().enumerate() {
        event.event_id = number as i64 + 1;
    }
    deliver(params, &mut events);
    let forgotten = users
        .iter()
        .map(|user| user.user_id)
        .filter(|id| random::stream(params.seed, &[5, *id as u64]).random::<f64>() < params.forgotten);
    World {
        forgotten: forgotten.collect(),
        users,
        items,
        events,
    }
}

fn items(params: &Params) -> Vec<Item> {
    let mut rng = random::stream(params.seed, &[1]);
    let item = |number: usize| Item {
        item_id: 1000 + number as i64,
        topic: (number % params.topics) as u32,
        difficulty: rng.random(),
        appeal: (0.35 * random::normal(&mut rng)).exp() as f32,
    };
    (0..params.items).map(item).collect()
}

fn learner(params: &Params, number: usize) -> Learner {
    let mut rng = random::stream(params.seed, &[2, number as u64]);
    let mut topics: Vec<u32> = (0..params.topics as u32).collect();
    topics.shuffle(&mut rng);
    topics.truncate(params.interests.max(1));
    let level: f32 = rng.random();
    let cohort = match level {
        level if level < 0.35 => "school",
        level if level < 0.75 => "university",
        _ => "professional",
    };
    let late = rng.random::<f64>() < params.cold;
    let first = if late { params.days - params.days / 10 } else { 0 };
    let first_day = (first + rng.random_range(0..(params.days / 10).max(1))).min(params.days - 1);
    Learner {
        user_id: 1 + number as i64,
        cohort,
        level,
        interests: topics,
        first_day,
    }
}

/// All that one user does, in time order within each item; ids are given later.
fn history(params: &Params, user: &Learner, items: &[Item]) -> Vec<LearningEvent> {
    let mut rng = random::stream(params.seed, &[3, user.user_id as u64]);
    let pace = params.pace * (0.3 * random::normal(&mut rng)).exp();
    let changes = rng.random::<f64>() < params.drift;
    let mut interests = user.interests.clone();
    let mut left = appetites(params, user, &interests, items);
    let mut visited: Vec<(u32, usize, f64)> = Vec::new();
    let mut diary = Diary {
        user_id: user.user_id,
        start: params.start,
        rng,
        events: Vec::new(),
    };
    for day in user.first_day..params.days {
        visited.retain(|(when, at, weight)| {
            let again = day >= when + REVIEW_AFTER;
            if again {
                left[*at] = *weight;
            }
            !again
        });
        if changes && day == params.days / 2 {
            interests[0] = diary.rng.random_range(0..params.topics as u32);
            let fresh = appetites(params, user, &interests, items);
            left.iter_mut()
                .zip(fresh)
                .filter(|(old, _)| **old > 0.0)
                .for_each(|(old, new)| *old = new);
        }
        for _ in 0..sessions(pace, &mut diary.rng) {
            let Some(at) = draw(&left, &mut diary.rng) else {
                break;
            };
            visited.push((day, at, std::mem::take(&mut left[at])));
            diary.visit(items[at].item_id, day);
        }
    }
    diary.events
}

/// How likely each item is to be next: own topics, the right level, common appeal.
fn appetites(params: &Params, user: &Learner, interests: &[u32], items: &[Item]) -> Vec<f64> {
    let appetite = |item: &Item| {
        let liking = match interests.iter().position(|topic| *topic == item.topic) {
            Some(place) => params.sharpness - 0.6 * place as f64,
            None => 0.0,
        };
        let distance = f64::from(item.difficulty - user.level) / 0.35;
        (liking - distance * distance).exp() * f64::from(item.appeal)
    };
    items.iter().map(appetite).collect()
}

/// A geometric number with the given mean: some days none, some days many.
fn sessions(mean: f64, rng: &mut Stream) -> usize {
    let mut count = 0;
    while count < 20 && rng.random::<f64>() < mean / (1.0 + mean) {
        count += 1;
    }
    count
}

fn draw(weights: &[f64], rng: &mut Stream) -> Option<usize> {
    let total: f64 = weights.iter().sum();
    let mut wanted = rng.random::<f64>() * total;
    for (at, weight) in weights.iter().enumerate() {
        wanted -= weight;
        if wanted < 0.0 && *weight > 0.0 {
            return Some(at);
        }
    }
    None
}

/// What one user leaves behind.
struct Diary {
    user_id: i64,
    start: i64,
    rng: Stream,
    events: Vec<LearningEvent>,
}

impl Diary {
    /// A view, often progress, now and then completion.
    fn visit(&mut self, item_id: i64, day: u32) {
        let mut second = self.start + i64::from(day) * DAY + self.rng.random_range(0..DAY - 7200);
        let (user_id, mut made) = (self.user_id, Vec::new());
        let event = |event_type, value, second: i64| LearningEvent {
            event_id: 0,
            user_id,
            item_id,
            event_type,
            value,
            ts_micros: second * 1_000_000,
            arrival_day: day,
        };
        made.push(event(EventType::View, None, second));
        if self.rng.random::<f64>() < 0.65 {
            second += self.rng.random_range(60..1800);
            let share = self.rng.random_range(0.05..0.95);
            made.push(event(EventType::Progress, Some(share), second));
            if self.rng.random::<f64>() < 0.6 {
                second += self.rng.random_range(60..3600);
                made.push(event(EventType::Complete, Some(1.0), second));
            }
        }
        self.events.extend(made);
    }
}

/// What happens between the event and the lake: delay, loss of values, second deliveries.
fn deliver(params: &Params, events: &mut Vec<LearningEvent>) {
    let mut rng = random::stream(params.seed, &[4]);
    let mut twice = Vec::new();
    for event in events.iter_mut() {
        if rng.random::<f64>() < params.late {
            event.arrival_day += rng.random_range(1..4);
        }
        if rng.random::<f64>() < params.nulls {
            event.value = None;
        }
        if rng.random::<f64>() < params.duplicates {
            twice.push(*event);
        }
    }
    events.extend(twice);
    events.sort_by_key(|event| (event.arrival_day, event.ts_micros, event.event_id));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_is_large_untidy_and_the_same_each_time() {
        let params = Params::default();
        let made = world(&params);
        assert!(made.events.len() >= 200_000, "{}", made.events.len());
        assert_eq!(made, world(&params));
        assert_ne!(made.events, world(&Params { seed: 8, ..params }).events);
        let count = |wanted: &dyn Fn(&LearningEvent) -> bool| {
            made.events.iter().filter(|event| wanted(event)).count()
        };
        let day = |event: &LearningEvent| ((event.ts_micros / 1_000_000 - params.start) / DAY) as u32;
        let late = count(&|event| event.arrival_day > day(event)) as f64 / made.events.len() as f64;
        assert!((0.015..0.025).contains(&late), "{late}");
        assert_eq!(count(&|event| event.arrival_day < day(event)), 0);
        assert!(count(&|event| event.event_type == EventType::Complete && event.value.is_none()) > 0);
        let ids: std::collections::HashSet<i64> = made.events.iter().map(|event| event.event_id).collect();
        assert!(ids.len() < made.events.len() && !made.forgotten.is_empty());
    }
}
