//! The boosting loop and its checkpoint.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::bins::Binned;
use super::forest::leaf_of;
use super::gradient::lambdas;
use super::grow::{Ground, grow};
use super::{Course, Forest, Params, Table};
use crate::model_file::{Reader, Writer};
use crate::progress::{Progress, TrainError, report};
use crate::random;

const CHECKPOINT: &str = "lambdamart_checkpoint";
const STAGE: &str = "trees";

#[derive(Serialize, Deserialize)]
struct State {
    params: Params,
    data: u64,
}

pub(super) fn fit(table: &Table, params: &Params, course: Course<'_>) -> Result<Forest, TrainError> {
    check(table, params)?;
    let state = State {
        params: *params,
        data: digest(table),
    };
    let mut forest = match course.resume {
        Some(bytes) => restore(bytes, &state)?,
        None => Forest {
            width: table.width,
            trees: Vec::new(),
        },
    };
    let binned = Binned::new(table, params.bins);
    let mut scores = scores_of(&forest, table);
    let mut derivatives = vec![(0.0, 0.0); scores.len()];
    differentiate(table, &scores, params, &mut derivatives);
    while forest.trees.len() < params.trees as usize && (course.goes_on)(&forest) {
        let ground = Ground {
            binned: &binned,
            derivatives: &derivatives,
        };
        forest.trees.push(grow(&ground, params, &mut scores));
        if scores.iter().any(|score| !score.is_finite()) {
            return Err(TrainError::Diverged {
                stage: STAGE,
                quantity: "score",
            });
        }
        course.observer.checkpoint(&|| {
            forest
                .write(Writer::new(CHECKPOINT, serde_json::json!(state)))
                .finish()
        });
        let loss = differentiate(table, &scores, params, &mut derivatives);
        let done = forest.trees.len() as u32;
        report(
            course.observer,
            Progress {
                stage: STAGE,
                done,
                total: params.trees,
                loss: Some(loss),
            },
        )?;
    }
    Ok(forest)
}

fn check(table: &Table, params: &Params) -> Result<(), TrainError> {
    let rows = table.labels.len();
    if rows == 0 || table.width == 0 {
        return Err(TrainError::TooLittleData("no rows to rank"));
    }
    let starts = table.start.is_empty() || table.start.len() == rows;
    if table.features.len() != rows * table.width || table.groups.iter().sum::<usize>() != rows || !starts {
        return Err(TrainError::Parameter {
            name: "table",
            expected: "of matching sizes",
        });
    }
    if table.features.iter().any(|value| !value.is_finite()) {
        return Err(TrainError::Diverged {
            stage: STAGE,
            quantity: "feature",
        });
    }
    let bounds = [
        ("trees", "at least 1", params.trees > 0),
        ("leaves", "from 2 to 4096", (2..=4096).contains(&params.leaves)),
        (
            "learning_rate",
            "positive",
            params.learning_rate > 0.0 && params.learning_rate.is_finite(),
        ),
        ("truncation", "at least 1", params.truncation > 0),
    ];
    match bounds.into_iter().find(|bound| !bound.2) {
        Some((name, expected, _)) => Err(TrainError::Parameter { name, expected }),
        None => Ok(()),
    }
}

fn restore(bytes: &[u8], wanted: &State) -> Result<Forest, TrainError> {
    let reader = Reader::of_kind(bytes, CHECKPOINT)?;
    let state: State = reader.meta()?;
    if state.params != wanted.params {
        return Err(TrainError::CheckpointMismatch("parameters"));
    }
    if state.data != wanted.data {
        return Err(TrainError::CheckpointMismatch("data"));
    }
    Ok(Forest::read(&reader)?)
}

/// Tree by tree, as training adds them, so that a resumed training continues on the same bits.
fn scores_of(forest: &Forest, table: &Table) -> Vec<f64> {
    let score = |(at, row): (usize, &[f32])| {
        let start = table.start.get(at).copied().unwrap_or(0.0);
        forest
            .trees
            .iter()
            .fold(start, |sum, tree| sum + f64::from(leaf_of(tree, row)))
    };
    table
        .features
        .par_chunks(table.width)
        .enumerate()
        .map(score)
        .collect()
}

/// Derivatives at these scores, and the mean loss of a group.
fn differentiate(table: &Table, scores: &[f64], params: &Params, out: &mut [(f64, f64)]) -> f64 {
    let mut parts = Vec::with_capacity(table.groups.len());
    let (mut start, mut rest) = (0, out);
    for size in &table.groups {
        let (part, after) = rest.split_at_mut(*size);
        parts.push((start, part));
        start += size;
        rest = after;
    }
    let loss = |(start, part): (usize, &mut [(f64, f64)])| {
        let rows = start..start + part.len();
        lambdas(&scores[rows.clone()], &table.labels[rows], params, part)
    };
    // Gathered first: a sum in the threads' own order would differ from run to run.
    let losses: Vec<f64> = parts.into_par_iter().map(loss).collect();
    losses.iter().sum::<f64>() / losses.len().max(1) as f64
}

fn digest(table: &Table) -> u64 {
    let features = table.features.iter().map(|value| u64::from(value.to_bits()));
    let labels = table.labels.iter().map(|label| u64::from(*label));
    let groups = table.groups.iter().map(|size| *size as u64);
    let start = table.start.iter().map(|score| score.to_bits());
    features
        .chain(labels)
        .chain(start)
        .chain(groups)
        .fold(0, |state, value| random::mix(state ^ value))
}
