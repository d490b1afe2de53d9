//! The trees: what they say, and how they are kept.

use crate::model_file::{FileError, Reader, Writer};

/// A node of a tree; its children come after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node {
    /// Goes left where the feature is at most the threshold.
    Split {
        /// Index of the feature.
        feature: u32,
        /// Bound, inclusive.
        threshold: f32,
        /// Index of a node of the same tree.
        left: u32,
        /// Index of a node of the same tree.
        right: u32,
    },
    /// What the tree adds to the score.
    Leaf(f32),
}

/// Trees whose sum is the score.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forest {
    pub(crate) width: usize,
    pub(crate) trees: Vec<Vec<Node>>,
}

const LEAF: u32 = u32::MAX;

impl Forest {
    /// Number of features.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The trees; node 0 is the root.
    pub fn trees(&self) -> &[Vec<Node>] {
        &self.trees
    }

    /// The score of one row of `width` features.
    pub fn predict(&self, row: &[f32]) -> f32 {
        self.trees
            .iter()
            .map(|tree| f64::from(leaf_of(tree, row)))
            .sum::<f64>() as f32
    }

    /// The first trees alone.
    pub(crate) fn prefix(&self, trees: usize) -> Self {
        Self {
            width: self.width,
            trees: self.trees[..trees.min(self.trees.len())].to_vec(),
        }
    }

    /// What some of the trees add to a row's score.
    pub(crate) fn sum_of(&self, trees: std::ops::Range<usize>, row: &[f32]) -> f64 {
        self.trees[trees]
            .iter()
            .map(|tree| f64::from(leaf_of(tree, row)))
            .sum()
    }

    pub(crate) fn write(&self, writer: Writer) -> Writer {
        let sizes: Vec<u32> = self.trees.iter().map(|tree| tree.len() as u32).collect();
        let nodes = || self.trees.iter().flatten();
        let integers = |node: &Node| match *node {
            Node::Split {
                feature, left, right, ..
            } => [feature, left, right],
            Node::Leaf(_) => [LEAF, 0, 0],
        };
        let number = |node: &Node| match *node {
            Node::Split { threshold, .. } => threshold,
            Node::Leaf(value) => value,
        };
        let writer = writer
            .section("forest_width", &[self.width as u32])
            .section("forest_sizes", &sizes);
        let writer = writer.section("forest_nodes", &nodes().flat_map(integers).collect::<Vec<u32>>());
        writer.section("forest_values", &nodes().map(number).collect::<Vec<f32>>())
    }

    pub(crate) fn read(reader: &Reader<'_>) -> Result<Self, FileError> {
        let width = reader.sized::<u32>("forest_width", 1)?[0];
        let sizes = reader.section::<u32>("forest_sizes")?;
        let values = reader.section::<f32>("forest_values")?;
        let integers = reader.sized::<u32>("forest_nodes", values.len() * 3)?;
        let node = |(ints, value): (&[u32], &f32)| match *ints {
            [feature, left, right] if feature != LEAF => Node::Split {
                feature,
                threshold: *value,
                left,
                right,
            },
            _ => Node::Leaf(*value),
        };
        let nodes: Vec<Node> = integers.chunks_exact(3).zip(&values).map(node).collect();
        let mut trees = Vec::new();
        let mut rest = nodes.as_slice();
        for size in sizes {
            let (tree, after) = rest
                .split_at_checked(size as usize)
                .ok_or(FileError::Inconsistent("tree sizes"))?;
            if !is_tree(tree, width) {
                return Err(FileError::Inconsistent("tree nodes"));
            }
            trees.push(tree.to_vec());
            rest = after;
        }
        Ok(Self {
            width: width as usize,
            trees,
        })
    }
}

/// Whether following nodes always ends at a leaf: children lie within the tree and after their parent.
fn is_tree(tree: &[Node], width: u32) -> bool {
    let fits = |(at, node): (usize, &Node)| match *node {
        Node::Leaf(value) => value.is_finite(),
        Node::Split {
            feature, left, right, ..
        } => {
            feature < width
                && [left, right]
                    .iter()
                    .all(|to| (*to as usize) > at && (*to as usize) < tree.len())
        }
    };
    !tree.is_empty() && tree.iter().enumerate().all(fits)
}

pub(super) fn leaf_of(tree: &[Node], row: &[f32]) -> f32 {
    let mut at = 0;
    loop {
        match tree[at] {
            Node::Leaf(value) => return value,
            Node::Split {
                feature,
                threshold,
                left,
                right,
            } => {
                at = if row[feature as usize] <= threshold {
                    left
                } else {
                    right
                } as usize;
            }
        }
    }
}
