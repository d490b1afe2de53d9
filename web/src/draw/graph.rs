//! A flow's graph as SVG, along the page on wide screens and down it on narrow ones.

use std::fmt::Write;

use super::layout::{Layout, Place, layout};
use crate::words::{Drawn, Escaped, short, sign, tone};

/// More tasks than this are listed, not drawn.
pub const MOST: usize = 200;

/// A task as it is drawn.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Name of the task.
    pub name: String,
    /// Its second line: the plugin, or the state.
    pub note: String,
    /// Its state; none for a flow that is not run.
    pub state: Option<String>,
    /// It stands behind a gate.
    pub gated: bool,
    /// Positions of what it needs.
    pub needs: Vec<usize>,
}

/// Which way the layers go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Along,
    Down,
}

/// Sizes in pixels.
struct Sizes {
    way: Way,
    width: f64,
    height: f64,
    between_layers: f64,
    between_nodes: f64,
    letters: usize,
}

const MARGIN: f64 = 14.0;

const ALONG: Sizes = Sizes {
    way: Way::Along,
    width: 148.0,
    height: 54.0,
    between_layers: 34.0,
    between_nodes: 18.0,
    letters: 15,
};
const DOWN: Sizes = Sizes {
    way: Way::Down,
    width: 150.0,
    height: 52.0,
    between_layers: 30.0,
    between_nodes: 14.0,
    letters: 15,
};

impl Sizes {
    /// The upper left corner of a node.
    fn corner(&self, place: Place) -> (f64, f64) {
        let layer = place.layer as f64;
        match self.way {
            Way::Along => (
                MARGIN + layer * (self.width + self.between_layers),
                MARGIN + place.at * (self.height + self.between_nodes),
            ),
            Way::Down => (
                MARGIN + place.at * (self.width + self.between_nodes),
                MARGIN + layer * (self.height + self.between_layers),
            ),
        }
    }

    fn extent(&self, layout: &Layout) -> (f64, f64) {
        let last = Place {
            layer: layout.layers.saturating_sub(1),
            at: layout.breadth,
        };
        let (x, y) = self.corner(last);
        (x + self.width + MARGIN, y + self.height + MARGIN)
    }

    /// Where edges enter and leave.
    fn ports(&self, place: Place) -> ((f64, f64), (f64, f64)) {
        let (x, y) = self.corner(place);
        match self.way {
            Way::Along => (
                (x, y + self.height / 2.0),
                (x + self.width, y + self.height / 2.0),
            ),
            Way::Down => ((x + self.width / 2.0, y), (x + self.width / 2.0, y + self.height)),
        }
    }
}

/// Draws it both ways; the style sheet shows the one that fits. Nothing for no tasks, or too many.
pub fn draw(nodes: &[Node]) -> Drawn {
    if nodes.is_empty() || nodes.len() > MOST {
        return Drawn::default();
    }
    let needs: Vec<Vec<usize>> = nodes.iter().map(|node| node.needs.clone()).collect();
    let layout = layout(&needs);
    let mut out = String::new();
    for sizes in [ALONG, DOWN] {
        drawing(&mut out, nodes, (&layout, &sizes));
    }
    Drawn(out)
}

// Writing to a String cannot fail.
fn drawing(out: &mut String, nodes: &[Node], (layout, sizes): (&Layout, &Sizes)) {
    let (width, height) = sizes.extent(layout);
    let class = match sizes.way {
        Way::Along => "along",
        Way::Down => "down",
    };
    let _ = write!(
        out,
        "<svg class=\"graph {class}\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"The tasks and what each needs\">"
    );
    for edge in &layout.edges {
        let done = nodes[edge.from].state.as_deref() == Some("succeeded");
        let class = if done { "edge done" } else { "edge" };
        let _ = write!(
            out,
            "<path class=\"{class}\" d=\"{}\"/>",
            path(&edge.points, sizes)
        );
    }
    for (node, place) in nodes.iter().zip(&layout.nodes) {
        draw_node(out, node, (*place, sizes));
    }
    out.push_str("</svg>");
}

/// From the first point's exit to the last one's entrance, straight through the stand-ins between.
fn path(points: &[Place], sizes: &Sizes) -> String {
    let mut out = String::new();
    let (_, mut here) = sizes.ports(points[0]);
    let _ = write!(out, "M{:.1} {:.1}", here.0, here.1);
    for (i, point) in points.iter().enumerate().skip(1) {
        let (entrance, exit) = sizes.ports(*point);
        let bend = match sizes.way {
            Way::Along => {
                let half = (entrance.0 - here.0) / 2.0;
                ((here.0 + half, here.1), (entrance.0 - half, entrance.1))
            }
            Way::Down => {
                let half = (entrance.1 - here.1) / 2.0;
                ((here.0, here.1 + half), (entrance.0, entrance.1 - half))
            }
        };
        let ((ax, ay), (bx, by)) = bend;
        let _ = write!(
            out,
            "C{ax:.1} {ay:.1} {bx:.1} {by:.1} {:.1} {:.1}",
            entrance.0, entrance.1
        );
        if i + 1 < points.len() {
            let _ = write!(out, "L{:.1} {:.1}", exit.0, exit.1);
        }
        here = exit;
    }
    out
}

fn draw_node(out: &mut String, node: &Node, (place, sizes): (Place, &Sizes)) {
    let (x, y) = sizes.corner(place);
    let tone = node.state.as_deref().map_or("plain", tone);
    let link = Escaped(&node.name);
    let _ = write!(
        out,
        "<a href=\"#task-{link}\"><g class=\"node {tone}\" transform=\"translate({x:.1} {y:.1})\"><title>{link}: {}</title><rect class=\"box\" width=\"{}\" height=\"{}\" rx=\"9\"/>",
        Escaped(&node.note),
        sizes.width,
        sizes.height,
    );
    let name = short(&node.name, sizes.letters);
    let _ = write!(
        out,
        "<text class=\"name\" x=\"13\" y=\"23\">{}</text>",
        Escaped(&name)
    );
    let mut left = 13.0;
    if let Some(state) = &node.state {
        let _ = write!(
            out,
            "<svg class=\"sign\" x=\"12\" y=\"31\" width=\"13\" height=\"13\" viewBox=\"0 0 16 16\">{}</svg>",
            sign(state)
        );
        left = 30.0;
    }
    let note = short(&node.note, sizes.letters + 3);
    let _ = write!(
        out,
        "<text class=\"note\" x=\"{left}\" y=\"42\">{}</text>",
        Escaped(&note)
    );
    if node.gated {
        // A gate stands in the way of what comes in.
        let (gx, gy) = match sizes.way {
            Way::Along => (-7.0, sizes.height / 2.0 - 8.0),
            Way::Down => (sizes.width / 2.0 - 8.0, -8.0),
        };
        let _ = write!(
            out,
            "<g class=\"gate\" transform=\"translate({gx} {gy})\"><rect class=\"pad\" x=\"-1\" y=\"-1\" width=\"18\" height=\"18\" rx=\"4\"/><path class=\"s\" d=\"M3 2v12M13 2v12\"/><path class=\"f\" d=\"M5 4h6v6H5z\"/></g>"
        );
    }
    out.push_str("</g></a>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, needs: &[usize]) -> Node {
        Node {
            name: name.to_owned(),
            note: "running".to_owned(),
            state: Some("running".to_owned()),
            gated: false,
            needs: needs.to_vec(),
        }
    }

    #[test]
    fn names_are_text_in_a_drawing_too() {
        let drawn = draw(&[node("</text><script>alert(1)</script>", &[])]).0;
        assert!(!drawn.contains("<script>"), "{drawn}");
    }

    #[test]
    fn everything_lies_within_the_drawing() {
        let nodes = [
            node("a", &[]),
            node("b", &[0]),
            node("c", &[0]),
            node("d", &[0, 1, 2]),
        ];
        let needs: Vec<_> = nodes.iter().map(|node| node.needs.clone()).collect();
        let layout = layout(&needs);
        for sizes in [ALONG, DOWN] {
            let (width, height) = sizes.extent(&layout);
            for place in &layout.nodes {
                let (x, y) = sizes.corner(*place);
                assert!(x >= MARGIN && x + sizes.width + MARGIN <= width + 0.01);
                assert!(y >= MARGIN && y + sizes.height + MARGIN <= height + 0.01);
            }
        }
    }

    #[test]
    fn too_many_tasks_are_not_drawn() {
        let many: Vec<Node> = (0..=MOST).map(|i| node(&format!("t{i}"), &[])).collect();
        assert_eq!(draw(&many), Drawn::default());
        assert_eq!(draw(&[]), Drawn::default());
    }
}
