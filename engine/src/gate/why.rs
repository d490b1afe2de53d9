//! Judgements in words, for the people who approve.

use super::decimal::Decimal;
use super::judge::{Closed, Judgeable, Verdict, Zone};
use super::{Bound, Rule, Subject};

/// What a rule judges, in short: the way into a task's outputs, without `metrics` and `change`, which go without saying.
/// `precision_at_10` of `{{ tasks.evaluate.metrics.precision_at_10 }}`, `lift.ndcg` of `{{ tasks.evaluate.lift.ndcg }}`.
pub(super) fn name(subject: &Subject) -> String {
    let (Subject::Metric { metric: text }
    | Subject::Change { change: text }
    | Subject::Against { metric: text, .. }) = subject;
    let inner = text.trim().trim_start_matches('{').trim_end_matches('}').trim();
    let is_path = inner.chars().all(|c| c.is_alphanumeric() || "_.-".contains(c));
    let within = inner.strip_prefix("tasks.").and_then(|rest| rest.split_once('.'));
    let Some((_, outputs)) = within.filter(|_| is_path) else {
        return inner.to_owned();
    };
    let short = ["metrics.", "change."]
        .into_iter()
        .find_map(|plain| outputs.strip_prefix(plain));
    short.unwrap_or(outputs).to_owned()
}

/// `above 0.25 (± 0.01)`.
pub(super) fn bound(rule: &Rule) -> String {
    let (words, bound) = words(rule.bound);
    let width = rule
        .borderline
        .map(|width| format!(" (± {})", number(width, is_change(rule))));
    format!(
        "{words} {}{}",
        number(bound, is_change(rule)),
        width.unwrap_or_default()
    )
}

fn words(bound: Bound) -> (&'static str, f64) {
    match bound {
        Bound::Above(bound) => ("above", bound),
        Bound::AtLeast(bound) => ("at least", bound),
        Bound::Below(bound) => ("below", bound),
        Bound::AtMost(bound) => ("at most", bound),
        Bound::MaxDrop(ratio) => ("a drop of at most", ratio),
        Bound::MaxRise(ratio) => ("a rise of at most", ratio),
    }
}

fn is_change(rule: &Rule) -> bool {
    !matches!(rule.subject, Subject::Metric { .. })
        || matches!(rule.bound, Bound::MaxDrop(_) | Bound::MaxRise(_))
}

fn number(number: f64, percent: bool) -> String {
    match Decimal::from_f64(number) {
        Some(decimal) if percent => format!("{} %", decimal.percent()),
        Some(decimal) => decimal.to_string(),
        None => number.to_string(),
    }
}

fn end(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "passes",
        Verdict::Fail => "fails",
        Verdict::Borderline => "a person decides",
    }
}

/// There was nothing to judge.
pub(super) fn closed(rule: &Rule, closed: &Closed) -> String {
    format!("{} {closed}: fails", name(&rule.subject))
}

/// There is no baseline yet.
pub(super) fn no_baseline(rule: &Rule, verdict: Verdict) -> String {
    format!(
        "{} has no baseline to compare with yet: {}",
        name(&rule.subject),
        end(verdict)
    )
}

/// `precision_at_10 0.31 [0.29, 0.33] is above 0.25: passes`.
pub(super) fn sentence(rule: &Rule, zone: &Zone, values: &Judgeable, verdict: Verdict) -> String {
    let subject = format!("{} {}", name(&rule.subject), found(rule, zone, values));
    let relation = match verdict {
        Verdict::Borderline => borderline(rule, values),
        _ => plainly(rule, verdict),
    };
    format!("{subject} {relation}: {}", end(verdict))
}

fn plainly(rule: &Rule, verdict: Verdict) -> String {
    let (words, bound) = words(rule.bound);
    let bound = number(bound, is_change(rule));
    match (rule.bound, verdict) {
        (Bound::MaxDrop(_), Verdict::Pass) => format!("is no drop of more than {bound}"),
        (Bound::MaxDrop(_), _) => format!("is a drop of more than {bound}"),
        (Bound::MaxRise(_), Verdict::Pass) => format!("is no rise of more than {bound}"),
        (Bound::MaxRise(_), _) => format!("is a rise of more than {bound}"),
        (_, Verdict::Pass) => format!("is {words} {bound}"),
        _ => format!("is not {words} {bound}"),
    }
}

fn borderline(rule: &Rule, values: &Judgeable) -> String {
    let (_, bound) = words(rule.bound);
    let what = match rule.bound {
        Bound::MaxDrop(_) => "the allowed drop of ",
        Bound::MaxRise(_) => "the allowed rise of ",
        _ => "",
    };
    let bound = format!("{what}{}", number(bound, is_change(rule)));
    match (&values.interval, rule.borderline) {
        (None, Some(width)) => format!("is within {} of {bound}", number(width, is_change(rule))),
        (Some(_), Some(width)) => format!("comes within {} of {bound}", number(width, is_change(rule))),
        (_, None) => format!("lies on both sides of {bound}"),
    }
}

/// The value with its interval, rounded as far as its place among the edges of the zone allows.
fn found(rule: &Rule, zone: &Zone, values: &Judgeable) -> String {
    if let Some(against) = &values.against {
        let change = change_of(values);
        let from = format!("{} against {}", values.value.decimal, against.decimal);
        return format!("{from} ({}) ", signed_percent(&change, zone))
            .trim_end()
            .to_owned();
    }
    let show = |decimal: &Decimal| match is_change(rule) {
        true => signed_percent(decimal, zone),
        false => rounded(decimal, 4, zone).to_string(),
    };
    match &values.interval {
        None => show(&values.value.decimal),
        Some((low, high)) => {
            format!(
                "{} [{}, {}]",
                show(&values.value.decimal),
                show(&low.decimal),
                show(&high.decimal)
            )
        }
    }
}

/// The change of two plain numbers, for the eye only: the verdict does not rest on this quotient.
fn change_of(values: &Judgeable) -> Decimal {
    let against = values
        .against
        .as_ref()
        .and_then(|against| against.number.as_f64());
    let ratio = values
        .value
        .number
        .as_f64()
        .zip(against)
        .map(|(value, against)| value / against - 1.0);
    ratio
        .and_then(Decimal::from_f64)
        .unwrap_or_else(|| values.value.decimal.clone())
}

fn signed_percent(change: &Decimal, zone: &Zone) -> String {
    let percent = rounded(change, 4, zone).percent();
    let sign = if percent.is_negative() || percent.is_zero() {
        ""
    } else {
        "+"
    };
    format!("{sign}{percent} %")
}

/// At least `places` digits after the point and two that are no zeros, and as many as it takes not to look as if the number lay
/// elsewhere.
fn rounded(decimal: &Decimal, places: i32, zone: &Zone) -> Decimal {
    let places = places.max(decimal.leading_zeros() + 2);
    let truthful = |shown: &Decimal| {
        shown.cmp(&zone.low) == decimal.cmp(&zone.low) && shown.cmp(&zone.high) == decimal.cmp(&zone.high)
    };
    let attempts = (places..places + 20).map(|places| decimal.rounded(places));
    attempts
        .into_iter()
        .find(truthful)
        .unwrap_or_else(|| decimal.clone())
}
