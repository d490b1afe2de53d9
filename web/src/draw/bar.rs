//! A rule's bar: its bound, the zone in which a person decides, and the value with its interval, drawn to scale.

use std::fmt::Write;

use serde_json::Number;
use tidegate_engine::gate::{Bound, JudgedRule, Subject, Verdict};

use crate::words::{self, Drawn, percent};

/// Where things lie, in percent of the width.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Where a value passes.
    pub passes: Stretch,
    /// Where it fails.
    pub fails: Stretch,
    /// Where a person decides; empty without a borderline.
    pub between: Stretch,
    /// The bound.
    pub bound: f64,
    /// The point.
    pub value: f64,
    /// The interval around it.
    pub interval: Option<Stretch>,
    /// What the bound reads.
    pub bound_text: String,
    /// What the point reads.
    pub value_text: String,
}

/// A part of the width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    /// Left end.
    pub from: f64,
    /// Right end.
    pub to: f64,
}

/// The numbers of a rule in the scale in which its bound stands.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Facts {
    bound: f64,
    width: f64,
    upper_passes: bool,
    relative: bool,
    value: f64,
    interval: Option<(f64, f64)>,
}

fn facts(judged: &JudgedRule) -> Option<Facts> {
    let rule = &judged.rule;
    let (bound, upper_passes) = match rule.bound {
        Bound::Above(bound) | Bound::AtLeast(bound) => (bound, true),
        Bound::Below(bound) | Bound::AtMost(bound) => (bound, false),
        Bound::MaxDrop(ratio) => (-ratio, true),
        Bound::MaxRise(ratio) => (ratio, false),
    };
    let number = |number: &Option<Number>| number.as_ref().and_then(words::of);
    let judgement = &judged.judgement;
    let (value, against) = (number(&judgement.value)?, number(&judgement.against));
    let value = match against {
        Some(against) if against != 0.0 => value / against - 1.0,
        _ => value,
    };
    let relative = !matches!(rule.subject, Subject::Metric { .. })
        || matches!(rule.bound, Bound::MaxDrop(_) | Bound::MaxRise(_));
    Some(Facts {
        bound,
        width: rule.borderline.unwrap_or(0.0),
        upper_passes,
        relative,
        value,
        interval: number(&judgement.low).zip(number(&judgement.high)),
    })
}

/// The bar of a judged rule; `None` where there was no number to draw.
pub fn bar(judged: &JudgedRule) -> Option<Bar> {
    let facts = facts(judged)?;
    let scale = Scale::around(&facts);
    let at = |value: f64| scale.at(value);
    let (low, high) = (at(facts.bound - facts.width), at(facts.bound + facts.width));
    let (below, above) = (
        Stretch { from: 0.0, to: low },
        Stretch {
            from: high,
            to: 100.0,
        },
    );
    let (passes, fails) = if facts.upper_passes {
        (above, below)
    } else {
        (below, above)
    };
    let text = |value: f64| match facts.relative {
        true => percent(value),
        false => words::number(value),
    };
    Some(Bar {
        passes,
        fails,
        between: Stretch { from: low, to: high },
        bound: at(facts.bound),
        value: at(facts.value),
        interval: facts.interval.map(|(low, high)| Stretch {
            from: at(low),
            to: at(high),
        }),
        bound_text: text(facts.bound),
        value_text: text(facts.value),
    })
}

struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// All that matters, and some room around it.
    fn around(facts: &Facts) -> Self {
        let (low, high) = facts.interval.unwrap_or((facts.value, facts.value));
        let marks = [
            facts.value,
            low,
            high,
            facts.bound - facts.width,
            facts.bound + facts.width,
        ];
        let least = marks.iter().copied().fold(f64::INFINITY, f64::min);
        let most = marks.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let span = most - least;
        let room = if span > 0.0 {
            span * 0.22
        } else {
            (most.abs() * 0.1).max(0.01)
        };
        Self {
            low: least - room,
            high: most + room,
        }
    }

    fn at(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low) * 100.0).clamp(0.0, 100.0)
    }
}

/// Its SVG; the verdict colours the value.
pub fn draw(judged: &JudgedRule) -> Drawn {
    let Some(bar) = bar(judged) else {
        return Drawn::default();
    };
    let tone = match judged.judgement.verdict {
        Verdict::Pass => "good",
        Verdict::Fail => "bad",
        Verdict::Borderline => "wait",
    };
    let mut out =
        format!("<svg class=\"rule-bar {tone}\" width=\"100%\" height=\"64\" role=\"img\" aria-label=\"");
    // Writing to a String cannot fail. The texts are numbers.
    let _ = write!(out, "{} against the bound {}\">", bar.value_text, bar.bound_text);
    for (class, stretch) in [
        ("fails", bar.fails),
        ("between", bar.between),
        ("passes", bar.passes),
    ] {
        let width = stretch.to - stretch.from;
        if width > 0.0 {
            let _ = write!(
                out,
                "<rect class=\"{class}\" x=\"{:.2}%\" y=\"24\" width=\"{width:.2}%\" height=\"16\"/>",
                stretch.from
            );
        }
    }
    let _ = write!(
        out,
        "<line class=\"bound\" x1=\"{0:.2}%\" x2=\"{0:.2}%\" y1=\"18\" y2=\"46\"/>",
        bar.bound
    );
    label(
        &mut out,
        (bar.bound, 13, "of-bound"),
        &format!("bound {}", bar.bound_text),
    );
    if let Some(interval) = bar.interval {
        let _ = write!(
            out,
            "<line class=\"interval\" x1=\"{0:.2}%\" x2=\"{1:.2}%\" y1=\"32\" y2=\"32\"/><line class=\"interval\" x1=\"{0:.2}%\" x2=\"{0:.2}%\" y1=\"27\" y2=\"37\"/><line class=\"interval\" x1=\"{1:.2}%\" x2=\"{1:.2}%\" y1=\"27\" y2=\"37\"/>",
            interval.from, interval.to
        );
    }
    let _ = write!(
        out,
        "<circle class=\"value\" cx=\"{:.2}%\" cy=\"32\" r=\"5.5\"/>",
        bar.value
    );
    label(&mut out, (bar.value, 58, "of-value"), &bar.value_text);
    out.push_str("</svg>");
    Drawn(out)
}

/// Near an end a text leans away from it.
fn label(out: &mut String, (at, y, class): (f64, u32, &str), text: &str) {
    let anchor = match at {
        0.0..15.0 => "start",
        85.0.. => "end",
        _ => "middle",
    };
    let _ = write!(
        out,
        "<text class=\"{class}\" x=\"{at:.2}%\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_engine::gate::{Judged, Reading, Rule, WithoutBaseline, judge};

    use super::*;

    fn judged(subject: Subject, bound: Bound, (borderline, value): (Option<f64>, Value)) -> JudgedRule {
        let rule = Rule {
            subject,
            bound,
            borderline,
            judged: Judged::Interval,
            without_baseline: WithoutBaseline::Ask,
        };
        let judgement = judge(&rule, Reading::of(Some(&value)), None);
        JudgedRule { rule, judgement }
    }

    fn metric() -> Subject {
        Subject::Metric {
            metric: "{{ tasks.e.metrics.p }}".to_owned(),
        }
    }

    fn change() -> Subject {
        Subject::Change {
            change: "{{ tasks.e.change.p }}".to_owned(),
        }
    }

    #[test]
    fn distances_are_to_scale_and_in_order() {
        let value = json!({"value": 0.31, "low": 0.29, "high": 0.33});
        let bar = bar(&judged(metric(), Bound::Above(0.25), (Some(0.01), value))).unwrap();
        let interval = bar.interval.unwrap();
        assert!(bar.fails.to < bar.bound && bar.bound < bar.passes.from);
        assert!(bar.passes.from < interval.from && interval.from < bar.value && bar.value < interval.to);
        // 0.31 − 0.25 is three times 0.33 − 0.31, and six times 0.01.
        let unit = bar.passes.from - bar.bound;
        assert!((bar.value - bar.bound - 6.0 * unit).abs() < 1e-9);
        assert!((interval.to - bar.value - 2.0 * unit).abs() < 1e-9);
        assert_eq!(
            (bar.bound_text.as_str(), bar.value_text.as_str()),
            ("0.25", "0.31")
        );
    }

    #[test]
    fn a_drop_is_bounded_from_below() {
        let bar = bar(&judged(change(), Bound::MaxDrop(0.1), (None, json!(-0.12)))).unwrap();
        assert!(bar.value < bar.bound, "a greater drop lies to the left");
        assert_eq!(
            bar.fails,
            Stretch {
                from: 0.0,
                to: bar.bound
            }
        );
        assert_eq!(
            (bar.bound_text.as_str(), bar.value_text.as_str()),
            ("−10 %", "−12 %")
        );
    }

    #[test]
    fn at_most_passes_on_the_left() {
        let bar = bar(&judged(metric(), Bound::AtMost(3.0), (None, json!(3)))).unwrap();
        assert_eq!(bar.passes.from, 0.0);
        assert!((bar.value - 50.0).abs() < 1e-9 && (bar.bound - 50.0).abs() < 1e-9);
    }

    #[test]
    fn without_a_number_nothing_is_drawn() {
        let closed = judged(metric(), Bound::Above(0.25), (None, json!("0.3")));
        assert_eq!(draw(&closed), Drawn::default());
        let first = judged(
            change(),
            Bound::MaxDrop(0.1),
            (None, json!({"absent": "no_baseline"})),
        );
        assert_eq!(draw(&first), Drawn::default());
    }
}
