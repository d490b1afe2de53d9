//! Which version an alias pointed to when: a line of stretches, one per version.

use std::fmt::Write;

use jiff::Timestamp;

use super::span::Window;
use crate::words::{Drawn, Moment};

/// A version and since when it has the alias.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reign {
    /// Version.
    pub version: i64,
    /// Since when.
    pub since: Timestamp,
}

/// A stretch of the line, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    /// Version.
    pub version: i64,
    /// Left end.
    pub from: f64,
    /// Right end.
    pub to: f64,
}

/// The stretches, oldest first, each until the next one begins. `reigns` come oldest first.
pub fn stretches(reigns: &[Reign], window: Window) -> Vec<Stretch> {
    let ends = reigns.iter().skip(1).map(|next| next.since).chain([window.to]);
    let stretch = |(reign, end): (&Reign, Timestamp)| Stretch {
        version: reign.version,
        from: window.at(reign.since),
        to: window.at(end),
    };
    reigns.iter().zip(ends).map(stretch).collect()
}

/// The SVG of one alias.
pub fn draw(reigns: &[Reign], window: Window) -> Drawn {
    let mut out = String::from(
        "<svg class=\"reign\" width=\"100%\" height=\"30\" role=\"img\" aria-label=\"Versions over time\">",
    );
    let all = stretches(reigns, window);
    for (i, (stretch, reign)) in all.iter().zip(reigns).enumerate() {
        let class = if i + 1 == all.len() {
            "now"
        } else if i % 2 == 0 {
            "even"
        } else {
            "odd"
        };
        let width = (stretch.to - stretch.from).max(0.4);
        let since = Moment {
            at: reign.since,
            now: window.to,
        };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "<g><title>version {} since {}</title><rect class=\"{class}\" x=\"{:.2}%\" width=\"{width:.2}%\" height=\"26\" y=\"2\" rx=\"3\"/>",
            stretch.version,
            since.exact(),
            stretch.from
        );
        if width > 5.0 {
            let middle = stretch.from + width / 2.0;
            let _ = write!(
                out,
                "<text class=\"{class}\" x=\"{middle:.2}%\" y=\"19\" text-anchor=\"middle\">v{}</text>",
                stretch.version
            );
        }
        out.push_str("</g>");
    }
    out.push_str("</svg>");
    Drawn(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_lasts_until_the_next() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let window = Window {
            from: at(0),
            to: at(100),
        };
        let reigns = [
            Reign {
                version: 1,
                since: at(0),
            },
            Reign {
                version: 3,
                since: at(25),
            },
        ];
        let all = stretches(&reigns, window);
        assert_eq!((all[0].from, all[0].to), (0.0, 25.0));
        assert_eq!((all[1].version, all[1].from, all[1].to), (3, 25.0, 100.0));
    }
}
