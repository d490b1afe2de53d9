//! A layered layout of an acyclic graph (Sugiyama's way, in small).
//!
//! 1. A node's layer is its depth. An edge over several layers gets a stand-in in each between.
//! 2. The order within layers is swept by barycentres; the sweep with the fewest crossings is kept.
//! 3. The places within layers come as near to their neighbours as the order and the distances allow: the least squares of that
//!    are a pooling of neighbours that violate it.

/// Room that a stand-in takes, where a node takes 1.
const STAND_IN: f64 = 0.4;
/// Sweeps that order, in each direction.
const SWEEPS: usize = 8;
/// Sweeps that place; what is off halves with each.
const PULLS: usize = 24;

/// Where everything lies: layers along one axis, places along the other, both in units of a node.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Layout {
    /// Of each node.
    pub nodes: Vec<Place>,
    /// Of each edge, in the order of the nodes' needs.
    pub edges: Vec<Edge>,
    /// How many layers.
    pub layers: usize,
    /// Greatest place.
    pub breadth: f64,
}

/// A point of the layout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Layer, from 0.
    pub layer: usize,
    /// Place within the layer, from 0.
    pub at: f64,
}

/// An edge from a need to who needs it, by way of its stand-ins.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// The need.
    pub from: usize,
    /// Who needs it.
    pub to: usize,
    /// Both ends and what lies between.
    pub points: Vec<Place>,
}

/// Lays out a graph of which `needs[i]` are the nodes that node `i` needs.
pub fn layout(needs: &[Vec<usize>]) -> Layout {
    if needs.is_empty() {
        return Layout::default();
    }
    let mut web = Web::new(needs);
    web.order();
    let at = web.places();
    let place = |slot: usize| Place {
        layer: web.layer[slot],
        at: at[slot],
    };
    let edges = web.chains.iter().map(|chain| Edge {
        from: chain[0],
        to: chain[chain.len() - 1],
        points: chain.iter().map(|&slot| place(slot)).collect(),
    });
    Layout {
        nodes: (0..needs.len()).map(place).collect(),
        edges: edges.collect(),
        layers: web.layers.len(),
        breadth: (0..at.len())
            .map(|slot| at[slot] - web.slack(slot))
            .fold(0.0, f64::max),
    }
}

/// Depth of each node. What lies on a cycle stays at 0; a sealed graph has none.
fn depths(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut unmet: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut dependents = vec![Vec::new(); needs.len()];
    for (node, list) in needs.iter().enumerate() {
        for &need in list {
            dependents[need].push(node);
        }
    }
    let mut depth = vec![0; needs.len()];
    let mut open: Vec<usize> = (0..needs.len()).filter(|&node| unmet[node] == 0).collect();
    while let Some(node) = open.pop() {
        for &next in &dependents[node] {
            depth[next] = depth[next].max(depth[node] + 1);
            unmet[next] -= 1;
            if unmet[next] == 0 {
                open.push(next);
            }
        }
    }
    depth
}

/// Nodes and stand-ins ("slots"), and the edges between neighbouring layers.
struct Web {
    nodes: usize,
    layer: Vec<usize>,
    layers: Vec<Vec<usize>>,
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
    chains: Vec<Vec<usize>>,
}

impl Web {
    fn new(needs: &[Vec<usize>]) -> Self {
        let layer = depths(needs);
        let mut web = Self {
            nodes: needs.len(),
            layers: vec![Vec::new(); layer.iter().max().map_or(0, |deepest| deepest + 1)],
            before: vec![Vec::new(); needs.len()],
            after: vec![Vec::new(); needs.len()],
            chains: Vec::new(),
            layer,
        };
        for node in 0..needs.len() {
            web.layers[web.layer[node]].push(node);
        }
        for (to, list) in needs.iter().enumerate() {
            for &from in list {
                web.connect(from, to);
            }
        }
        web
    }

    fn connect(&mut self, from: usize, to: usize) {
        let mut chain = vec![from];
        for layer in self.layer[from] + 1..self.layer[to] {
            let slot = self.layer.len();
            self.layer.push(layer);
            self.layers[layer].push(slot);
            self.before.push(Vec::new());
            self.after.push(Vec::new());
            chain.push(slot);
        }
        chain.push(to);
        for pair in chain.windows(2) {
            self.after[pair[0]].push(pair[1]);
            self.before[pair[1]].push(pair[0]);
        }
        self.chains.push(chain);
    }

    fn order(&mut self) {
        let mut best = (self.crossings(), self.layers.clone());
        for sweep in 0..SWEEPS * 2 {
            let forward = sweep % 2 == 0;
            let count = self.layers.len();
            for step in 1..count {
                let layer = if forward { step } else { count - 1 - step };
                self.sort_layer(layer, forward);
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
    }

    fn sort_layer(&mut self, layer: usize, forward: bool) {
        let neighbour = if forward { layer - 1 } else { layer + 1 };
        let position = self.positions(neighbour);
        let links = if forward { &self.before } else { &self.after };
        let centre = |(i, &slot): (usize, &usize)| {
            let list = &links[slot];
            let sum: usize = list.iter().map(|other| position[*other]).sum();
            // One without neighbours keeps its place.
            let key = if list.is_empty() {
                i as f64
            } else {
                sum as f64 / list.len() as f64
            };
            (key, slot)
        };
        let mut keyed: Vec<(f64, usize)> = self.layers[layer].iter().enumerate().map(centre).collect();
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.layers[layer] = keyed.into_iter().map(|(_, slot)| slot).collect();
    }

    /// Position of each slot of a layer; 0 for all others.
    fn positions(&self, layer: usize) -> Vec<usize> {
        let mut position = vec![0; self.layer.len()];
        for (i, &slot) in self.layers[layer].iter().enumerate() {
            position[slot] = i;
        }
        position
    }

    fn crossings(&self) -> usize {
        (1..self.layers.len())
            .map(|layer| self.crossings_before(layer))
            .sum()
    }

    fn crossings_before(&self, layer: usize) -> usize {
        let position = self.positions(layer - 1);
        let mut ends: Vec<usize> = Vec::new();
        let mut crossings = 0;
        for &slot in &self.layers[layer] {
            let here: Vec<usize> = self.before[slot].iter().map(|&other| position[other]).collect();
            crossings += here
                .iter()
                .map(|&p| ends.iter().filter(|&&end| end > p).count())
                .sum::<usize>();
            ends.extend(here);
        }
        crossings
    }

    /// How much less room than a node a slot takes, on either side.
    fn slack(&self, slot: usize) -> f64 {
        (1.0 - self.size(slot)) / 2.0
    }

    fn size(&self, slot: usize) -> f64 {
        if slot < self.nodes { 1.0 } else { STAND_IN }
    }

    fn places(&self) -> Vec<f64> {
        let mut at = vec![0.0; self.layer.len()];
        for layer in &self.layers {
            let offsets = self.offsets(layer);
            for (&slot, offset) in layer.iter().zip(offsets) {
                at[slot] = offset;
            }
        }
        for sweep in 0..PULLS {
            let count = self.layers.len();
            for step in 0..count {
                let layer = if sweep % 2 == 0 { step } else { count - 1 - step };
                self.pull(layer, &mut at);
            }
        }
        let least = (0..at.len())
            .map(|slot| at[slot] + self.slack(slot))
            .fold(f64::INFINITY, f64::min);
        at.iter().map(|place| place - least).collect()
    }

    /// Where the slots of a layer lie when they are packed.
    fn offsets(&self, layer: &[usize]) -> Vec<f64> {
        let mut offsets = Vec::with_capacity(layer.len());
        let mut at = 0.0;
        for (i, &slot) in layer.iter().enumerate() {
            if i > 0 {
                at += (self.size(layer[i - 1]) + self.size(slot)) / 2.0;
            }
            offsets.push(at);
        }
        offsets
    }

    /// Moves the slots of a layer towards the mean of their neighbours.
    fn pull(&self, layer: usize, at: &mut [f64]) {
        let slots = &self.layers[layer];
        let offsets = self.offsets(slots);
        let wished = slots.iter().zip(&offsets).map(|(&slot, offset)| {
            let around: Vec<f64> = self.before[slot]
                .iter()
                .chain(&self.after[slot])
                .map(|&s| at[s])
                .collect();
            let mean = around.iter().sum::<f64>() / around.len() as f64;
            (if around.is_empty() { at[slot] } else { mean }) - offset
        });
        let wished: Vec<f64> = wished.collect();
        for ((&slot, offset), place) in slots.iter().zip(offsets).zip(rising(&wished)) {
            at[slot] = place + offset;
        }
    }
}

/// The rising sequence nearest to the given one, by least squares.
fn rising(values: &[f64]) -> Vec<f64> {
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for &value in values {
        let mut pool = (value, 1);
        while let Some(&(mean, count)) = pools.last() {
            if mean <= pool.0 {
                break;
            }
            let total = mean * count as f64 + pool.0 * pool.1 as f64;
            pool = (total / (count + pool.1) as f64, count + pool.1);
            pools.pop();
        }
        pools.push(pool);
    }
    pools
        .into_iter()
        .flat_map(|(mean, count)| std::iter::repeat_n(mean, count))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What must hold of every layout.
    fn assert_sound(needs: &[Vec<usize>]) -> Layout {
        let layout = layout(needs);
        for (i, a) in layout.nodes.iter().enumerate() {
            for b in &layout.nodes[..i] {
                let apart = (a.at - b.at).abs() > 1.0 - 1e-9;
                assert!(
                    a.layer != b.layer || apart,
                    "{a:?} and {b:?} overlap in {needs:?}"
                );
            }
        }
        for edge in &layout.edges {
            assert!(needs[edge.to].contains(&edge.from));
            let layers: Vec<usize> = edge.points.iter().map(|point| point.layer).collect();
            let steps: Vec<usize> = (layers[0]..=layers[layers.len() - 1]).collect();
            assert_eq!(layers, steps, "an edge goes forward, a layer at a time");
        }
        assert_eq!(layout.edges.len(), needs.iter().map(Vec::len).sum::<usize>());
        layout
    }

    #[test]
    fn a_chain_is_a_straight_line() {
        let layout = assert_sound(&[vec![], vec![0], vec![1], vec![2]]);
        assert_eq!(layout.layers, 4);
        assert!(layout.nodes.iter().all(|node| node.at == 0.0));
    }

    #[test]
    fn a_diamond_stands_on_its_middle() {
        let layout = assert_sound(&[vec![], vec![0], vec![0], vec![1, 2]]);
        assert!((layout.nodes[0].at - 0.5).abs() < 1e-6, "{layout:?}");
        assert!((layout.nodes[3].at - 0.5).abs() < 1e-6, "{layout:?}");
    }

    #[test]
    fn crossings_that_can_be_undone_are() {
        // 0 and 1 are needed crosswise by 3 and 2.
        let needs = [vec![], vec![], vec![1], vec![0]];
        let layout = assert_sound(&needs);
        let above = |a: usize, b: usize| layout.nodes[a].at < layout.nodes[b].at;
        assert_eq!(above(0, 1), above(3, 2));
    }

    #[test]
    fn an_edge_over_layers_goes_around_the_nodes_between() {
        let layout = assert_sound(&[vec![], vec![0], vec![1], vec![0, 2]]);
        let long = layout.edges.iter().find(|edge| edge.points.len() == 4).unwrap();
        for point in &long.points[1..3] {
            let node = layout
                .nodes
                .iter()
                .find(|node| node.layer == point.layer)
                .unwrap();
            assert!((node.at - point.at).abs() > 0.6, "{long:?} runs through {node:?}");
        }
    }

    #[test]
    fn random_graphs_are_laid_out_without_overlaps() {
        let mut seed = 7_u64;
        let mut next = |most: usize| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % most
        };
        for _ in 0..200 {
            let count = 1 + next(30);
            let mut needs = vec![Vec::new(); count];
            for (node, list) in needs.iter_mut().enumerate().skip(1) {
                for _ in 0..next(4) {
                    let need = next(node);
                    if !list.contains(&need) {
                        list.push(need);
                    }
                }
            }
            assert_sound(&needs);
        }
        assert_eq!(layout(&[]), Layout::default());
    }
}
