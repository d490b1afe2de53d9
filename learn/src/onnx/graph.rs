//! Graphs in ONNX's schema (onnx.proto3): field numbers are its.

use super::Tensor;
use super::proto::Message;
use crate::lambdamart::{Forest, Node};

const FLOAT: i64 = 1;
const INT64: i64 = 7;
/// Read by every runtime of the last years.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;
const ML_OPSET: i64 = 3;
const ML_DOMAIN: &str = "ai.onnx.ml";

/// Nodes and constants.
pub(super) struct Graph {
    name: &'static str,
    nodes: Vec<Message>,
    constants: Vec<Message>,
}

impl Graph {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            nodes: Vec::new(),
            constants: Vec::new(),
        }
    }

    pub(super) fn floats(&mut self, name: &str, shape: &[i64], values: &[f32]) {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constants.push(constant(name, FLOAT, shape, &raw));
    }

    pub(super) fn integers(&mut self, name: &str, shape: &[i64], values: &[i64]) {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constants.push(constant(name, INT64, shape, &raw));
    }

    pub(super) fn node(&mut self, operator: &str, inputs: &[&str], output: &str) {
        self.nodes.push(operation(operator, inputs, output));
    }

    /// Maps ids to 0, 1, …; other ids to their number.
    pub(super) fn encode_labels(&mut self, input: &str, output: &str, ids: &[i64]) {
        let rows: Vec<i64> = (0..ids.len() as i64).collect();
        let attributes = [
            integers("keys_int64s", ids),
            integers("values_int64s", &rows),
            attribute("default_int64", 2).integer(3, ids.len() as i64),
        ];
        let node = operation("LabelEncoder", &[input], output);
        self.nodes.push(of_ml_domain(node, &attributes));
    }

    pub(super) fn trees(&mut self, input: &str, output: &str, forest: &Forest) {
        let node = operation("TreeEnsembleRegressor", &[input], output);
        self.nodes
            .push(of_ml_domain(node, &Flat::of(forest).attributes()));
    }

    pub(super) fn finish(self, inputs: &[Tensor], outputs: &[Tensor]) -> Vec<u8> {
        let graph = self
            .nodes
            .iter()
            .fold(Message::default(), |graph, node| graph.message(1, node))
            .text(2, self.name);
        let graph = self
            .constants
            .iter()
            .fold(graph, |graph, constant| graph.message(5, constant));
        let graph = inputs
            .iter()
            .fold(graph, |graph, tensor| graph.message(11, &value_info(tensor)));
        let graph = outputs
            .iter()
            .fold(graph, |graph, tensor| graph.message(12, &value_info(tensor)));
        let model = Message::default()
            .integer(1, IR_VERSION)
            .text(2, "tidegate")
            .message(7, &graph);
        let model = model.message(8, &Message::default().text(1, "").integer(2, OPSET));
        model
            .message(8, &Message::default().text(1, ML_DOMAIN).integer(2, ML_OPSET))
            .0
    }
}

fn constant(name: &str, dtype: i64, shape: &[i64], raw: &[u8]) -> Message {
    let tensor = Message::default().integers(1, shape).integer(2, dtype);
    tensor.text(8, name).bytes(9, raw)
}

fn operation(operator: &str, inputs: &[&str], output: &str) -> Message {
    let node = inputs
        .iter()
        .fold(Message::default(), |node, input| node.text(1, input));
    node.text(2, output)
        .text(3, &format!("{output}_node"))
        .text(4, operator)
}

fn of_ml_domain(node: Message, attributes: &[Message]) -> Message {
    let node = attributes
        .iter()
        .fold(node, |node, attribute| node.message(5, attribute));
    node.text(7, ML_DOMAIN)
}

fn value_info(tensor: &Tensor) -> Message {
    let dimension = |size: &i64| match size {
        -1 => Message::default().text(2, "n"),
        size => Message::default().integer(1, *size),
    };
    let shape = tensor.shape.iter().fold(Message::default(), |shape, size| {
        shape.message(1, &dimension(size))
    });
    let dtype = if tensor.dtype == "int64" { INT64 } else { FLOAT };
    let kind = Message::default().message(1, &Message::default().integer(1, dtype).message(2, &shape));
    Message::default().text(1, &tensor.name).message(2, &kind)
}

/// An attribute; kinds are 2 integer, 3 string, 6 floats, 7 integers, 8 strings.
fn attribute(name: &str, kind: i64) -> Message {
    Message::default().text(1, name).integer(20, kind)
}

fn integers(name: &str, values: &[i64]) -> Message {
    attribute(name, 7).integers(8, values)
}

fn floats(name: &str, values: &[f32]) -> Message {
    attribute(name, 6).floats(7, values)
}

/// A forest as TreeEnsembleRegressor wants it: one list per property.
#[derive(Default)]
struct Flat {
    trees: Vec<i64>,
    nodes: Vec<i64>,
    features: Vec<i64>,
    thresholds: Vec<f32>,
    yes: Vec<i64>,
    no: Vec<i64>,
    modes: Vec<&'static str>,
    leaf_trees: Vec<i64>,
    leaf_nodes: Vec<i64>,
    leaf_values: Vec<f32>,
}

impl Flat {
    fn of(forest: &Forest) -> Self {
        let mut flat = Self::default();
        for (tree, nodes) in forest.trees().iter().enumerate() {
            for (at, node) in nodes.iter().enumerate() {
                flat.add(tree as i64, at as i64, *node);
            }
        }
        flat
    }

    fn add(&mut self, tree: i64, at: i64, node: Node) {
        let (mode, feature, threshold, left, right) = match node {
            Node::Split {
                feature,
                threshold,
                left,
                right,
            } => (
                "BRANCH_LEQ",
                i64::from(feature),
                threshold,
                i64::from(left),
                i64::from(right),
            ),
            Node::Leaf(value) => {
                self.leaf_trees.push(tree);
                self.leaf_nodes.push(at);
                self.leaf_values.push(value);
                ("LEAF", 0, 0.0, 0, 0)
            }
        };
        self.trees.push(tree);
        self.nodes.push(at);
        self.features.push(feature);
        self.thresholds.push(threshold);
        self.yes.push(left);
        self.no.push(right);
        self.modes.push(mode);
    }

    fn attributes(&self) -> Vec<Message> {
        let modes = self
            .modes
            .iter()
            .fold(attribute("nodes_modes", 8), |all, mode| all.text(9, mode));
        vec![
            attribute("n_targets", 2).integer(3, 1),
            attribute("aggregate_function", 3).text(4, "SUM"),
            attribute("post_transform", 3).text(4, "NONE"),
            integers("nodes_treeids", &self.trees),
            integers("nodes_nodeids", &self.nodes),
            integers("nodes_featureids", &self.features),
            floats("nodes_values", &self.thresholds),
            integers("nodes_truenodeids", &self.yes),
            integers("nodes_falsenodeids", &self.no),
            modes,
            integers("target_treeids", &self.leaf_trees),
            integers("target_nodeids", &self.leaf_nodes),
            integers("target_ids", &vec![0; self.leaf_trees.len()]),
            floats("target_weights", &self.leaf_values),
        ]
    }
}
