//! A small ONNX writer: just the protobuf fields and operators that the models here need.
//!
//! - EASE: `history` float32 [n, items] (1 where seen) → `scores` float32 [n, items];
//! - two-tower: `user` int64 \[n\] (external ids, unknown ones score by popularity) → `scores` float32 [n, items];
//! - ranker: `features` float32 [n, width] → `score` float32 [n, 1].
//!
//! The first two also give `items` int64 \[items\], the external ids of the columns.

mod graph;
mod proto;

use crate::ease::Ease;
use crate::ranker::Ranker;
use crate::recommender::Recommender;
use crate::two_tower::TwoTower;
use graph::Graph;

/// A tensor of the model's signature.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name in the graph.
    pub name: String,
    /// NumPy's name of the type: `int64`, `float32`.
    pub dtype: &'static str,
    /// Its shape; −1 is any.
    pub shape: Vec<i64>,
}

impl Tensor {
    fn new(name: &str, dtype: &'static str, shape: &[i64]) -> Self {
        Self {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
        }
    }
}

/// A served model: the file, and what it takes and gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// The ONNX file.
    pub bytes: Vec<u8>,
    /// What it takes.
    pub inputs: Vec<Tensor>,
    /// What it gives.
    pub outputs: Vec<Tensor>,
}

/// History in, scores of all items out.
pub fn ease(model: &Ease) -> Export {
    let n = model.items().len() as i64;
    let mut graph = Graph::new("ease");
    graph.floats("weights", &[n, n], model.weights());
    graph.node("MatMul", &["history", "weights"], "scores");
    with_items(graph, vec![Tensor::new("history", "float32", &[-1, n])], model)
}

/// User id in, scores of all items out.
pub fn two_tower(model: &TwoTower) -> Export {
    let (n, dim) = (model.items().len() as i64, model.dim() as i64);
    let users = model.users().ids();
    let mut vectors: Vec<f32> = model
        .user_vectors()
        .iter()
        .map(|value| value * model.scale())
        .collect();
    vectors.extend(std::iter::repeat_n(0.0, model.dim()));
    let mut graph = Graph::new("two_tower");
    graph.floats("user_vectors", &[users.len() as i64 + 1, dim], &vectors);
    graph.floats("item_vectors", &[n, dim], model.item_vectors());
    graph.floats("bias", &[n], &model.bias());
    graph.encode_labels("user", "row", users);
    graph.node("Gather", &["user_vectors", "row"], "user_vector");
    graph.node("Transpose", &["item_vectors"], "item_columns");
    graph.node("MatMul", &["user_vector", "item_columns"], "affinity");
    graph.node("Add", &["affinity", "bias"], "scores");
    with_items(graph, vec![Tensor::new("user", "int64", &[-1])], model)
}

/// Features of candidates in, their scores out. The features are those of [`crate::ranker::FEATURES`].
pub fn ranker(model: &Ranker) -> Export {
    let (weights, forest) = (model.scorer().weights(), model.scorer().forest());
    let width = weights.len() as i64;
    let mut graph = Graph::new("ranker");
    graph.floats("weights", &[width, 1], weights);
    if forest.trees().is_empty() {
        graph.node("MatMul", &["features", "weights"], "score");
    } else {
        graph.node("MatMul", &["features", "weights"], "straight");
        graph.trees("features", "correction", forest);
        graph.node("Add", &["straight", "correction"], "score");
    }
    let inputs = vec![Tensor::new("features", "float32", &[-1, width])];
    let outputs = vec![Tensor::new("score", "float32", &[-1, 1])];
    Export {
        bytes: graph.finish(&inputs, &outputs),
        inputs,
        outputs,
    }
}

fn with_items(mut graph: Graph, inputs: Vec<Tensor>, model: &dyn Recommender) -> Export {
    let n = model.items().len() as i64;
    graph.integers("item_ids", &[n], model.items().ids());
    graph.node("Identity", &["item_ids"], "items");
    let outputs = vec![
        Tensor::new("scores", "float32", &[-1, n]),
        Tensor::new("items", "int64", &[n]),
    ];
    Export {
        bytes: graph.finish(&inputs, &outputs),
        inputs,
        outputs,
    }
}
