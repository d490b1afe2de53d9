//! Changes against production, side by side on one scale around zero.

use std::fmt::Write;

use crate::words::{Drawn, percent};

/// A relative change with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// −0.1 is 10 % less.
    pub value: f64,
    /// Ends of its interval.
    pub interval: Option<(f64, f64)>,
}

impl Change {
    fn reach(&self) -> f64 {
        let (low, high) = self.interval.unwrap_or((self.value, self.value));
        self.value.abs().max(low.abs()).max(high.abs())
    }

    /// Better, worse, or not to be told apart.
    pub fn tone(&self) -> &'static str {
        let (low, high) = self.interval.unwrap_or((self.value, self.value));
        if low > 0.0 {
            "good"
        } else if high < 0.0 {
            "bad"
        } else {
            "calm"
        }
    }
}

/// The scale that all of them share: as far as the greatest reaches.
pub fn reach(changes: &[Change]) -> f64 {
    let most = changes.iter().map(Change::reach).fold(0.0, f64::max);
    if most > 0.0 { most * 1.1 } else { 0.01 }
}

/// Where a change lies, in percent of the width; zero is the middle.
pub fn at(value: f64, reach: f64) -> f64 {
    (50.0 + value / reach * 50.0).clamp(0.0, 100.0)
}

/// The SVG of one.
pub fn draw(change: Change, reach: f64) -> Drawn {
    let (value, tone) = (at(change.value, reach), change.tone());
    let mut out = format!(
        "<svg class=\"change {tone}\" width=\"100%\" height=\"18\" role=\"img\" aria-label=\"{}\">",
        percent(change.value)
    );
    out.push_str("<line class=\"zero\" x1=\"50%\" x2=\"50%\" y1=\"0\" y2=\"18\"/>");
    let (left, width) = (value.min(50.0), (value - 50.0).abs());
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<rect class=\"on\" x=\"{left:.2}%\" width=\"{width:.2}%\" y=\"5\" height=\"8\" rx=\"2\"/>"
    );
    if let Some((low, high)) = change.interval {
        let _ = write!(
            out,
            "<line class=\"interval\" x1=\"{:.2}%\" x2=\"{:.2}%\" y1=\"9\" y2=\"9\"/>",
            at(low, reach),
            at(high, reach)
        );
    }
    let _ = write!(
        out,
        "<circle class=\"value\" cx=\"{value:.2}%\" cy=\"9\" r=\"3.5\"/></svg>"
    );
    Drawn(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_the_middle_and_the_greatest_fits() {
        let changes = [
            Change {
                value: 0.02,
                interval: Some((-0.01, 0.05)),
            },
            Change {
                value: -0.2,
                interval: None,
            },
        ];
        let reach = reach(&changes);
        assert_eq!(at(0.0, reach), 50.0);
        assert!(at(-0.2, reach) > 0.0 && at(0.05, reach) > 50.0);
        assert_eq!([changes[0].tone(), changes[1].tone()], ["calm", "bad"]);
        assert!(at(0.0, super::reach(&[])).is_finite());
    }
}
