//! Recent runs of a flow as columns: how long each took, and how it ended.

use std::fmt::Write;

use crate::words::{Drawn, Escaped, duration, tone};

/// A run as a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Where a click leads.
    pub path: String,
    /// When it was made, exactly.
    pub when: String,
    /// Its state.
    pub state: String,
    /// How long it took, so far.
    pub seconds: f64,
}

/// Places for columns; fewer runs leave places empty at the right.
const PLACES: usize = 20;
const HEIGHT: f64 = 48.0;

/// Heights in pixels; the longest run is as high as there is room, none is too low to hit.
pub fn heights(columns: &[Column]) -> Vec<f64> {
    let most = columns.iter().map(|column| column.seconds).fold(0.0, f64::max);
    let height = |column: &Column| match most {
        0.0 => 6.0,
        most => (column.seconds / most * HEIGHT).max(6.0),
    };
    columns.iter().map(height).collect()
}

/// The SVG, newest last. `columns` come newest first.
pub fn draw(columns: &[Column]) -> Drawn {
    if columns.is_empty() {
        return Drawn::default();
    }
    let mut out = String::from(
        "<svg class=\"history\" width=\"100%\" height=\"52\" role=\"img\" aria-label=\"How long the newest runs took\">",
    );
    let width = 100.0 / PLACES as f64;
    for (i, (column, height)) in columns.iter().zip(heights(columns)).take(PLACES).enumerate() {
        let left = width * (columns.len().min(PLACES) - 1 - i) as f64;
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "<a href=\"{}\"><title>{}, {}, {}</title><rect class=\"hit\" x=\"{left:.2}%\" width=\"{width:.2}%\" height=\"52\"/><rect class=\"on {}\" x=\"{:.2}%\" width=\"{:.2}%\" y=\"{:.1}\" height=\"{height:.1}\" rx=\"2\"/></a>",
            Escaped(&column.path),
            Escaped(&column.state),
            Escaped(&column.when),
            duration(column.seconds),
            tone(&column.state),
            left + width * 0.12,
            width * 0.76,
            50.0 - height,
        );
    }
    out.push_str("</svg>");
    Drawn(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_is_highest_and_the_shortest_can_be_hit() {
        let column = |seconds: f64| Column {
            path: "/runs/x".to_owned(),
            when: String::new(),
            state: "succeeded".to_owned(),
            seconds,
        };
        assert_eq!(
            heights(&[column(100.0), column(50.0), column(0.0)]),
            [48.0, 24.0, 6.0]
        );
        assert_eq!(heights(&[column(0.0)]), [6.0]);
        assert_eq!(draw(&[]), Drawn::default());
    }
}
