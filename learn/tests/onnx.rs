//! Exported models give the scores of the models, by the onnxruntime of the Python that `scripts/prepare test` made.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test may look at its environment and start Python"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tidegate_learn::onnx::{self, Export};
use tidegate_learn::{Event, Interactions, Query, Recommender, Silent, Visit};
use tidegate_learn::{ease, lambdamart, ranker, two_tower};

fn data() -> Interactions {
    let event = |number: i64| {
        let user = number % 60;
        let item = (number / 60 * 3 + user * user) % 14 + 10 * (user % 4);
        Event {
            user: user * 1_000_003 - 5,
            item: item * 31 + 2,
            value: 1.0,
            ts: 1_700_000_000 + number * 3600,
        }
    };
    Interactions::from_events(&(0..700).map(event).collect::<Vec<Event>>())
}

fn scores(model: &dyn Recommender, user: i64, history: &[Visit]) -> Vec<f32> {
    let mut scores = vec![0.0; model.items().len()];
    model.score(
        &Query {
            user,
            history,
            at: 1_703_000_000,
        },
        &mut scores,
    );
    scores
}

fn visits(items: &[u32]) -> Vec<Visit> {
    items
        .iter()
        .map(|item| Visit {
            item: *item,
            value: 1.0,
            ts: 1_702_000_000,
        })
        .collect()
}

/// Each export with what it is asked and must answer.
fn cases() -> Vec<(&'static str, Export, Value)> {
    let data = data();
    let ease = ease::Ease::fit(&data, ease::Params { lambda: 5.0 }, &mut Silent).unwrap();
    let n = ease.items().len();
    let seen = [1, 4, 7];
    let history: Vec<u8> = (0..n as u32).map(|item| u8::from(seen.contains(&item))).collect();
    let ask = json!({"history": {"dtype": "float32", "shape": [1, n], "data": history}});
    let expected = scores(&ease, 0, &visits(&seen));
    let first = json!({"inputs": ask, "output": "scores", "expected": expected});

    let params = two_tower::Params {
        dim: 12,
        epochs: 3,
        popularity: Some(0.5),
        ..Default::default()
    };
    let towers = two_tower::TwoTower::fit(&data, &params, None, &mut Silent).unwrap();
    let users = [data.users().id(0), data.users().id(33)];
    let mut expected: Vec<f32> = users
        .iter()
        .flat_map(|user| scores(&towers, *user, &[]))
        .collect();
    expected.extend(towers.bias());
    let ask = json!({"user": {"dtype": "int64", "shape": [3], "data": [users[0], users[1], 424_242]}});
    let second = json!({"inputs": ask, "output": "scores", "expected": expected});

    let forest = lambdamart::Params {
        trees: 20,
        min_rows: 3,
        ..Default::default()
    };
    let params = ranker::Params {
        forest,
        candidates: 20,
        ..Default::default()
    };
    let ranker = ranker::Ranker::fit(&data, &params, None, &mut Silent).unwrap();
    let visits = visits(&seen);
    let (items, rows) = ranker.features(&Query {
        user: 0,
        history: &visits,
        at: 1_703_000_000,
    });
    let expected: Vec<f32> = rows
        .chunks_exact(ranker::FEATURES.len())
        .map(|row| ranker.scorer().predict(row))
        .collect();
    assert!(
        expected.iter().any(|score| *score != expected[0]),
        "the forest tells candidates apart"
    );
    let ask = json!({"features": {"dtype": "float32", "shape": [items.len(), ranker::FEATURES.len()], "data": rows}});
    let third = json!({"inputs": ask, "output": "score", "expected": expected});
    vec![
        ("ease", onnx::ease(&ease), first),
        ("two_tower", onnx::two_tower(&towers), second),
        ("ranker", onnx::ranker(&ranker), third),
    ]
}

/// The fields of a protobuf message: number and length-delimited content.
fn fields(bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let (mut at, mut found) = (0, Vec::new());
    let varint = |at: &mut usize| {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = bytes[*at];
            *at += 1;
            value |= u64::from(byte & 0x7F) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    };
    while at < bytes.len() {
        let key = varint(&mut at);
        let size = varint(&mut at) as usize;
        match key & 7 {
            0 => found.push((key >> 3, &bytes[at..at])),
            2 => {
                found.push((key >> 3, &bytes[at..at + size]));
                at += size;
            }
            other => panic!("wire type {other}"),
        }
    }
    found
}

#[test]
fn exports_name_their_inputs_and_outputs() {
    for (name, export, _) in cases() {
        let model = fields(&export.bytes);
        let graph = fields(model.iter().find(|field| field.0 == 7).unwrap().1);
        let names = |wanted: u64| -> Vec<String> {
            let infos = graph.iter().filter(|field| field.0 == wanted);
            infos
                .map(|info| String::from_utf8(fields(info.1)[0].1.to_vec()).unwrap())
                .collect()
        };
        let of = |tensors: &[onnx::Tensor]| {
            tensors
                .iter()
                .map(|tensor| tensor.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (names(11), names(12)),
            (of(&export.inputs), of(&export.outputs)),
            "{name}"
        );
    }
}

#[test]
fn onnxruntime_gives_the_same_scores() {
    let folder = std::env::temp_dir().join(format!("tidegate-onnx-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (name, export, case) in cases() {
        std::fs::write(folder.join(format!("{name}.onnx")), export.bytes).unwrap();
        std::fs::write(folder.join(format!("{name}.json")), case.to_string()).unwrap();
    }
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    let cache = || {
        std::env::var_os("XDG_CACHE_HOME")
            .map_or_else(home, PathBuf::from)
            .join("tidegate")
    };
    let tools = std::env::var_os("TIDEGATE_TOOLS").map_or_else(cache, PathBuf::from);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx_check.py");
    let python = tools.join("python/bin/python");
    let status = Command::new(&python).arg(script).arg(&folder).status();
    let status =
        status.unwrap_or_else(|e| panic!("{}: {e}; `scripts/prepare test` makes it", python.display()));
    assert!(status.success());
    std::fs::remove_dir_all(&folder).unwrap();
}
