//! One rule against one value.
//!
//! Every bound is a side and a number: above, at least and a drop want values on the upper side, the others on the lower. `borderline`
//! makes a zone of it, ends included, in which a person decides. An end of an interval is judged like a point; the interval passes or
//! fails only where all of it does. A point that lies outside of its own interval is judged with it.
//!
//! The change of two plain numbers is never divided out: `metric / against − 1 ≥ t` is `metric ≥ against × (1 + t)`, which
//! decimals answer exactly.

use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::decimal::Decimal;
use super::reading::{Measured, Reading, Undefined};
use super::why;
use super::{Bound, Judged, Rule, Subject, WithoutBaseline};

/// What a rule came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not hold, or there was nothing to judge.
    Fail,
    /// A person decides.
    Borderline,
}

/// A judged rule, as it is stored and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// What was judged: `precision_at_10`.
    pub name: String,
    /// What it came to.
    pub verdict: Verdict,
    /// The value, where there was one that counts.
    pub value: Option<Number>,
    /// Lower end of its interval.
    pub low: Option<Number>,
    /// Upper end of its interval.
    pub high: Option<Number>,
    /// The number it was compared with, for `against`.
    pub against: Option<Number>,
    /// The bound in words: `above 0.25 (± 0.01)`.
    pub bound: String,
    /// The verdict in words: `precision_at_10 0.31 [0.29, 0.33] is above 0.25: passes`.
    pub why: String,
}

/// Why there is nothing to judge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Closed {
    /// The value itself.
    #[error("{0}")]
    Value(Undefined),
    /// The number compared with.
    #[error("cannot be compared: its baseline {0}")]
    Baseline(Undefined),
    /// A baseline of 0 or below: a ratio to it says nothing.
    #[error("cannot be compared: its baseline is {0}, and a relative change needs one above 0")]
    NoRatio(String),
    /// An interval where a plain number is compared.
    #[error("is an interval, and `against` compares plain numbers; `use = \"value\"` compares the points")]
    NotPlain,
    /// A rule with NaN in it.
    #[error("cannot be judged: the bound of the rule is not finite")]
    Bound,
}

/// The values a rule judges, in order: `low ≤ high`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judgeable {
    pub value: Measured,
    pub interval: Option<(Measured, Measured)>,
    pub against: Option<Measured>,
}

/// The bound as a zone: at both ends equal where there is no borderline.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Zone {
    pub low: Decimal,
    pub high: Decimal,
    pub wants_upper: bool,
    /// The verdict on the bound itself.
    pub at_bound: Verdict,
}

/// Judges a rule. `against` counts only for [`Subject::Against`].
pub fn judge(rule: &Rule, subject: Reading, against: Option<Reading>) -> Judgement {
    let shown = |verdict, values: Option<&Judgeable>, why| Judgement {
        name: why::name(&rule.subject),
        verdict,
        value: values.map(|values| values.value.number.clone()),
        low: values.and_then(|values| Some(values.interval.as_ref()?.0.number.clone())),
        high: values.and_then(|values| Some(values.interval.as_ref()?.1.number.clone())),
        against: values.and_then(|values| Some(values.against.as_ref()?.number.clone())),
        bound: why::bound(rule),
        why,
    };
    if no_baseline(rule, &subject, against.as_ref()) {
        let verdict = match rule.without_baseline {
            WithoutBaseline::Pass => Verdict::Pass,
            WithoutBaseline::Ask => Verdict::Borderline,
            WithoutBaseline::Fail => Verdict::Fail,
        };
        return shown(verdict, None, why::no_baseline(rule, verdict));
    }
    let judged = zone(rule).and_then(|zone| Ok((zone, judgeable(rule, subject, against)?)));
    match judged {
        Err(closed) => shown(Verdict::Fail, None, why::closed(rule, &closed)),
        Ok((zone, values)) => {
            let verdict = verdict(&zone, &values);
            shown(
                verdict,
                Some(&values),
                why::sentence(rule, &zone, &values, verdict),
            )
        }
    }
}

/// Only a change has a baseline, and only its own absence counts.
fn no_baseline(rule: &Rule, subject: &Reading, against: Option<&Reading>) -> bool {
    match rule.subject {
        Subject::Metric { .. } => false,
        Subject::Change { .. } => *subject == Reading::NoBaseline,
        Subject::Against { .. } => {
            against == Some(&Reading::NoBaseline) && plain(rule, subject.clone()).is_ok()
        }
    }
}

fn zone(rule: &Rule) -> Result<Zone, Closed> {
    let (bound, wants_upper, inclusive, sign) = match rule.bound {
        Bound::Above(bound) => (bound, true, false, 1.0),
        Bound::AtLeast(bound) => (bound, true, true, 1.0),
        Bound::Below(bound) => (bound, false, false, 1.0),
        Bound::AtMost(bound) => (bound, false, true, 1.0),
        Bound::MaxDrop(ratio) => (ratio, true, true, -1.0),
        Bound::MaxRise(ratio) => (ratio, false, true, 1.0),
    };
    let bound = Decimal::from_f64(sign * bound).ok_or(Closed::Bound)?;
    let Some(width) = rule.borderline else {
        let at_bound = if inclusive { Verdict::Pass } else { Verdict::Fail };
        return Ok(Zone {
            low: bound.clone(),
            high: bound,
            wants_upper,
            at_bound,
        });
    };
    let width = Decimal::from_f64(width)
        .filter(|width| !width.is_negative())
        .ok_or(Closed::Bound)?;
    Ok(Zone {
        low: bound.minus(&width),
        high: bound.plus(&width),
        wants_upper,
        at_bound: Verdict::Borderline,
    })
}

fn judgeable(rule: &Rule, subject: Reading, against: Option<Reading>) -> Result<Judgeable, Closed> {
    if matches!(rule.subject, Subject::Against { .. }) {
        let value = plain(rule, subject)?;
        let baseline = plain(rule, against.unwrap_or(Reading::Undefined(Undefined::Missing)));
        let baseline = baseline.map_err(|closed| match closed {
            Closed::Value(why) => Closed::Baseline(why),
            other => other,
        })?;
        if baseline.decimal.is_zero() || baseline.decimal.is_negative() {
            return Err(Closed::NoRatio(baseline.decimal.to_string()));
        }
        return Ok(Judgeable {
            value,
            interval: None,
            against: Some(baseline),
        });
    }
    match subject {
        Reading::Point(value) => Ok(Judgeable {
            value,
            interval: None,
            against: None,
        }),
        Reading::Interval { value, ends } => match (ends, rule.judged) {
            (Ok(ends), _) => Ok(Judgeable {
                value,
                interval: Some(ends),
                against: None,
            })
            .map(|values| {
                if rule.judged == Judged::Value {
                    values.point()
                } else {
                    values
                }
            }),
            (Err(_), Judged::Value) => Ok(Judgeable {
                value,
                interval: None,
                against: None,
            }),
            (Err(why), Judged::Interval) => Err(Closed::Value(why)),
        },
        Reading::NoBaseline => Err(Closed::Value(Undefined::Absent("no_baseline".to_owned()))),
        Reading::Undefined(why) => Err(Closed::Value(why)),
    }
}

fn plain(rule: &Rule, reading: Reading) -> Result<Measured, Closed> {
    match reading {
        Reading::Point(value) => Ok(value),
        Reading::Interval { value, .. } if rule.judged == Judged::Value => Ok(value),
        Reading::Interval { .. } => Err(Closed::NotPlain),
        Reading::NoBaseline => Err(Closed::Value(Undefined::Absent("no_baseline".to_owned()))),
        Reading::Undefined(why) => Err(Closed::Value(why)),
    }
}

impl Judgeable {
    fn point(self) -> Self {
        Self {
            interval: None,
            ..self
        }
    }

    /// Smallest and greatest of the numbers judged.
    pub(super) fn ends(&self) -> (&Decimal, &Decimal) {
        let value = &self.value.decimal;
        match &self.interval {
            None => (value, value),
            Some((low, high)) => ((&low.decimal).min(value), (&high.decimal).max(value)),
        }
    }
}

/// What the value is compared with: the edge itself, or for two plain numbers `against × (1 + edge)`.
fn threshold(edge: &Decimal, values: &Judgeable) -> Decimal {
    match (&values.against, Decimal::from_f64(1.0)) {
        (Some(against), Some(one)) => against.decimal.times(&one.plus(edge)),
        _ => edge.clone(),
    }
}

fn verdict(zone: &Zone, values: &Judgeable) -> Verdict {
    let (low, high) = values.ends();
    let (zone_low, zone_high) = (threshold(&zone.low, values), threshold(&zone.high, values));
    let of = |point: &Decimal| match (zone.wants_upper, *point > zone_high, *point < zone_low) {
        (true, true, _) | (false, _, true) => Verdict::Pass,
        (true, _, true) | (false, true, _) => Verdict::Fail,
        _ => zone.at_bound,
    };
    let (low, high) = (of(low), of(high));
    if low == high { low } else { Verdict::Borderline }
}
