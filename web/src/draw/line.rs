//! Small line charts: a curve over steps, or points over versions.

use std::fmt::Write;

use crate::words::{Drawn, Escaped, number};

/// A chart's points in a square of 100, y downwards, and the ends of its axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Where the points lie.
    pub points: Vec<(f64, f64)>,
    /// Least and greatest x.
    pub x: (f64, f64),
    /// Least and greatest y.
    pub y: (f64, f64),
}

/// Points kept of a long series: more than pixels helps nobody.
const MOST: usize = 400;

/// Scales a series; `None` without points that count.
pub fn chart(series: &[(f64, f64)]) -> Option<Chart> {
    let kept: Vec<(f64, f64)> = thin(series)
        .into_iter()
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .collect();
    let (x, y) = (range(kept.iter().map(|p| p.0))?, range(kept.iter().map(|p| p.1))?);
    // A level line runs through the middle.
    let scale = |value: f64, (low, high): (f64, f64)| match high - low {
        0.0 => 50.0,
        span => (value - low) / span * 100.0,
    };
    let points = kept.iter().map(|&(px, py)| (scale(px, x), 100.0 - scale(py, y)));
    Some(Chart {
        points: points.collect(),
        x,
        y,
    })
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })
}

/// Every so many-th point, and the last one.
fn thin(series: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let step = series.len().div_ceil(MOST).max(1);
    let mut kept: Vec<(f64, f64)> = series.iter().copied().step_by(step).collect();
    if let Some(last) = series.last()
        && kept.last() != Some(last)
    {
        kept.push(*last);
    }
    kept
}

/// A curve with its ends written beside it. `name` is read out.
pub fn draw(name: &str, series: &[(f64, f64)], dots: bool) -> Drawn {
    let Some(chart) = chart(series) else {
        return Drawn::default();
    };
    let (low, high) = (number(chart.y.0), number(chart.y.1));
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<svg class=\"chart\" width=\"100%\" height=\"110\" role=\"img\" aria-label=\"{} from {low} to {high}\">",
        Escaped(name)
    );
    out.push_str("<svg x=\"6\" y=\"18\" width=\"100%\" height=\"74\" class=\"plot\"><svg viewBox=\"0 0 100 100\" preserveAspectRatio=\"none\" width=\"95%\" height=\"100%\" overflow=\"visible\">");
    out.push_str("<path class=\"axis\" d=\"M0 0H100M0 50H100M0 100H100\"/>");
    let line: Vec<String> = chart
        .points
        .iter()
        .map(|(x, y)| format!("{x:.2} {y:.2}"))
        .collect();
    let _ = write!(out, "<path class=\"curve\" d=\"M{}\"/></svg>", line.join("L"));
    let shown = if dots {
        &chart.points[..]
    } else {
        &chart.points[chart.points.len() - 1..]
    };
    for (x, y) in shown {
        let _ = write!(
            out,
            "<circle class=\"dot\" cx=\"{:.2}%\" cy=\"{y:.2}%\" r=\"3\"/>",
            x * 0.95
        );
    }
    let _ = write!(
        out,
        "</svg><text class=\"tick\" x=\"6\" y=\"12\">{high}</text><text class=\"tick\" x=\"6\" y=\"106\">{low}</text><text class=\"tick\" x=\"99%\" y=\"106\" text-anchor=\"end\">{} – {}</text></svg>",
        number(chart.x.0),
        number(chart.x.1)
    );
    Drawn(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_loss_falls_on_the_page() {
        let chart = chart(&[(0.0, 4.0), (5.0, 2.0), (10.0, 1.0)]).unwrap();
        assert_eq!(chart.points[0], (0.0, 0.0));
        assert_eq!(chart.points[2], (100.0, 100.0));
        assert_eq!(chart.y, (1.0, 4.0));
    }

    #[test]
    fn a_level_line_and_a_single_point_lie_in_the_middle() {
        let level = chart(&[(0.0, 2.0), (1.0, 2.0)]).unwrap();
        assert!(level.points.iter().all(|point| point.1 == 50.0));
        assert_eq!(chart(&[(3.0, 7.0)]).unwrap().points, [(50.0, 50.0)]);
        assert_eq!(chart(&[]), None);
        assert_eq!(chart(&[(0.0, f64::NAN)]), None);
    }

    #[test]
    fn a_long_series_is_thinned_and_keeps_its_end() {
        let long: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), f64::from(i))).collect();
        let chart = chart(&long).unwrap();
        assert!(chart.points.len() <= MOST + 1);
        assert_eq!(chart.x, (0.0, 99_999.0));
    }
}
