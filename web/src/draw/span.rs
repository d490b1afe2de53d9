//! A row of the timeline: when a task run ran, within the whole of its run.

use std::fmt::Write;

use jiff::Timestamp;

use crate::words::{Drawn, between, tone};

/// The time that all rows of a timeline share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Left edge.
    pub from: Timestamp,
    /// Right edge.
    pub to: Timestamp,
}

impl Window {
    /// Where an instant lies, in percent.
    pub fn at(&self, instant: Timestamp) -> f64 {
        let whole = between(self.from, self.to);
        if whole <= 0.0 {
            return 0.0;
        }
        (between(self.from, instant) / whole * 100.0).clamp(0.0, 100.0)
    }
}

/// Left end and width, in percent; never thinner than can be seen.
pub fn span(window: Window, from: Timestamp, to: Timestamp) -> (f64, f64) {
    let (left, right) = (window.at(from), window.at(to));
    let width = (right - left).max(0.6);
    (left.min(100.0 - width), width)
}

/// The SVG of a row: when it worked, in the colour of its state, and over it when it waited.
pub fn draw(
    window: Window,
    (from, to): (Timestamp, Timestamp),
    (state, waits): (&str, &[(Timestamp, Timestamp)]),
) -> Drawn {
    let (left, width) = span(window, from, to);
    let mut out = String::from("<svg class=\"span\" width=\"100%\" height=\"14\" aria-hidden=\"true\">");
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<rect class=\"track\" width=\"100%\" height=\"2\" y=\"6\"/><rect class=\"on {}\" x=\"{left:.2}%\" width=\"{width:.2}%\" y=\"2\" height=\"10\" rx=\"3\"/>",
        tone(state)
    );
    for (from, to) in waits {
        let (left, right) = (window.at(*from), window.at(*to));
        let width = right - left;
        let _ = write!(
            out,
            "<rect class=\"idle\" x=\"{left:.2}%\" width=\"{width:.2}%\" y=\"2\" height=\"10\"/><rect class=\"waits\" x=\"{left:.2}%\" width=\"{width:.2}%\" y=\"5\" height=\"4\"/>"
        );
    }
    out.push_str("</svg>");
    Drawn(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_no_work() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let window = Window {
            from: at(0),
            to: at(100),
        };
        let drawn = draw(window, (at(0), at(100)), ("succeeded", &[(at(20), at(90))])).0;
        for part in ["\"waits\"", "\"idle\""] {
            assert!(
                drawn.contains(&format!("class={part} x=\"20.00%\" width=\"70.00%\"")),
                "{drawn}"
            );
        }
        assert!(
            !draw(window, (at(0), at(100)), ("succeeded", &[]))
                .0
                .contains("waits")
        );
    }

    #[test]
    fn rows_share_a_scale_and_stay_inside() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let window = Window {
            from: at(100),
            to: at(200),
        };
        assert_eq!(span(window, at(100), at(150)), (0.0, 50.0));
        assert_eq!(span(window, at(150), at(200)), (50.0, 50.0));
        let (left, width) = span(window, at(200), at(200));
        assert!(left + width <= 100.0 && width > 0.0, "what took no time is seen");
        let empty = Window {
            from: at(100),
            to: at(100),
        };
        assert_eq!(span(empty, at(100), at(100)).0, 0.0);
    }
}
