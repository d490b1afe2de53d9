//! Rules of one gate over the same number that no number can pass together: the gate would never open.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::diagnostic::Problem;
use super::tasks::TaskCheck;
use crate::gate::{Bound, Judged, Rule, Subject};
use crate::schema::{self, Types};
use crate::template::parse;

/// One end of what passes.
#[derive(Clone, Copy)]
struct End {
    at: f64,
    /// The bound itself does not pass.
    open: bool,
    word: &'static str,
}

/// What passes all rules seen so far.
#[derive(Default)]
struct Passing {
    low: Option<End>,
    high: Option<End>,
}

impl Passing {
    /// Takes one more rule in. The bound that it cannot go with, if there is one.
    fn narrow(&mut self, bound: Bound) -> Option<End> {
        let end = |at, open, word| End { at, open, word };
        match bound {
            Bound::Above(at) => self.low(end(at, true, "above")),
            Bound::AtLeast(at) => self.low(end(at, false, "at_least")),
            Bound::Below(at) => self.high(end(at, true, "below")),
            Bound::AtMost(at) => self.high(end(at, false, "at_most")),
            Bound::MaxDrop(_) | Bound::MaxRise(_) => None,
        }
    }

    fn low(&mut self, low: End) -> Option<End> {
        let narrower = self
            .low
            .is_none_or(|known| (low.at, low.open) > (known.at, known.open));
        self.low = if narrower { Some(low) } else { self.low };
        self.high.filter(|high| leaves_nothing(low, *high))
    }

    fn high(&mut self, high: End) -> Option<End> {
        let narrower = self
            .high
            .is_none_or(|known| (high.at, known.open) < (known.at, high.open));
        self.high = if narrower { Some(high) } else { self.high };
        self.low.filter(|low| leaves_nothing(*low, high))
    }
}

fn leaves_nothing(low: End, high: End) -> bool {
    low.at > high.at || low.at == high.at && (low.open || high.open)
}

impl TaskCheck<'_, '_> {
    /// Notes rules that contradict those before them.
    pub(super) fn contradictions(&self) {
        let gate = self.task.gate.iter();
        let rules = gate.flat_map(|gate| gate.rules.iter().zip(&gate.places));
        let mut passing: BTreeMap<String, Passing> = BTreeMap::new();
        for (rule, place) in rules {
            let Some(metric) = self.plain_number(rule) else {
                continue;
            };
            if let Some(end) = passing.entry(metric).or_default().narrow(rule.bound) {
                let (word, at) = (end.word, end.at);
                let message = format!("no number passes this rule and `{word} = {at}`, and all must pass");
                let problem = Problem::new("impossible-rule", place.clone(), message);
                let help = "loosen one of them, or say with `borderline` how near a person decides";
                self.checker.doc.problems.add(problem.help(help));
            }
        }
    }

    /// What a rule judges, where it is surely one number and nobody is asked about it: without a borderline and without an interval.
    fn plain_number(&self, rule: &Rule) -> Option<String> {
        let Subject::Metric { metric } = &rule.subject else {
            return None;
        };
        let is_point = rule.judged == Judged::Value || self.is_number(metric);
        let plain = metric.split_whitespace().collect::<String>();
        (is_point && rule.borderline.is_none()).then_some(plain)
    }

    fn is_number(&self, metric: &str) -> bool {
        let parsed = parse(metric).unwrap_or_default();
        let whole = parsed.whole().filter(|whole| whole.bare);
        let reference = whole.and_then(|whole| whole.references.first());
        let schema: Option<&Value> =
            reference.and_then(|reference| self.names.lookup_in(self.item, reference).ok()?);
        let interval = Types::of(&json!({}));
        schema.is_some_and(|schema| !interval.within(schema::types(schema)))
    }
}
