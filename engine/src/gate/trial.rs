//! Another rule, tried on what was measured: which bound of which rule is to be another.

use super::{Bound, Gate};

/// A bound in place of one that a gate has: `above=0.36`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    bound: Option<Bound>,
    borderline: Option<f64>,
}

/// Why a gate cannot be tried so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// No `key=value`, or no number.
    #[error("`{0}` is no change of a rule: write above=0.36, max_drop=10% or borderline=0.01")]
    Unreadable(String),
    /// The gate has no such rule.
    #[error("the gate has no rule {0}; it has {1}")]
    NoRule(usize, usize),
    /// Several rules could be meant, or none.
    #[error("say which of the {0} rules is meant: --rule 1 is the first")]
    Ambiguous(usize),
}

impl Gate {
    /// The gate with changes, as [`Change::parse`] and [`Change::of`] read them.
    pub fn with(&self, changes: &[impl AsRef<str>], nth: Option<usize>) -> Result<Self, TrialError> {
        let change = |gate: Self, text| Change::parse(text)?.of(&gate, nth);
        changes.iter().map(AsRef::as_ref).try_fold(self.clone(), change)
    }
}

impl Change {
    /// Reads `key=value`: `above`, `at_least`, `below`, `at_most` and `borderline` take a number, `max_drop` and `max_rise` a percentage.
    pub fn parse(text: &str) -> Result<Self, TrialError> {
        let unreadable = || TrialError::Unreadable(text.to_owned());
        let (key, value) = text.split_once('=').ok_or_else(unreadable)?;
        let number = |text: &str| {
            text.trim()
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
        };
        let plain = number(value);
        // Shifting the decimal point in the text keeps 0.7 % exactly 0.007.
        let percent = value
            .trim()
            .strip_suffix('%')
            .and_then(|digits| number(&format!("{}e-2", digits.trim_end())));
        let bound = match key.trim() {
            "above" => plain.map(Bound::Above),
            "at_least" => plain.map(Bound::AtLeast),
            "below" => plain.map(Bound::Below),
            "at_most" => plain.map(Bound::AtMost),
            "max_drop" => percent.map(Bound::MaxDrop),
            "max_rise" => percent.map(Bound::MaxRise),
            "borderline" => {
                let width = plain.or(percent).filter(|width| *width >= 0.0);
                return Ok(Self {
                    bound: None,
                    borderline: Some(width.ok_or_else(unreadable)?),
                });
            }
            _ => None,
        };
        Ok(Self {
            bound: Some(bound.ok_or_else(unreadable)?),
            borderline: None,
        })
    }

    /// The gate with the change. `nth`: the rule that is meant, from 1; else the only one with such a bound, or the only one.
    pub fn of(&self, gate: &Gate, nth: Option<usize>) -> Result<Gate, TrialError> {
        let mut gate = gate.clone();
        let count = gate.rules.len();
        let position = match nth {
            Some(nth) => nth
                .checked_sub(1)
                .filter(|at| *at < count)
                .ok_or(TrialError::NoRule(nth, count))?,
            None => self.meant(&gate)?,
        };
        let rule = &mut gate.rules[position];
        rule.bound = self.bound.unwrap_or(rule.bound);
        rule.borderline = self.borderline.or(rule.borderline);
        Ok(gate)
    }

    fn meant(&self, gate: &Gate) -> Result<usize, TrialError> {
        let alike = |bound: &Bound| {
            let like = |own: &Bound| std::mem::discriminant(own) == std::mem::discriminant(bound);
            self.bound.as_ref().is_none_or(like)
        };
        let mut fitting = gate
            .rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| alike(&rule.bound));
        match (fitting.next(), fitting.next(), gate.rules.len()) {
            (Some((at, _)), None, _) => Ok(at),
            (None, _, 1) => Ok(0),
            (_, _, count) => Err(TrialError::Ambiguous(count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Judged, Rule, Subject, WithoutBaseline};

    fn rule(bound: Bound) -> Rule {
        let metric = "{{ tasks.a.m }}".to_owned();
        Rule {
            subject: Subject::Metric { metric },
            bound,
            borderline: None,
            judged: Judged::Interval,
            without_baseline: WithoutBaseline::Ask,
        }
    }

    fn gate(bounds: &[Bound]) -> Gate {
        Gate {
            rules: bounds.iter().map(|bound| rule(*bound)).collect(),
            approval: None,
            evidence: Vec::new(),
        }
    }

    fn tried(text: &str, bounds: &[Bound], nth: Option<usize>) -> Result<Vec<Bound>, TrialError> {
        let gate = Change::parse(text)?.of(&gate(bounds), nth)?;
        Ok(gate.rules.iter().map(|rule| rule.bound).collect())
    }

    #[test]
    fn a_change_finds_its_rule_or_asks_which_is_meant() {
        let (above, drop) = (Bound::Above(0.3), Bound::MaxDrop(0.1));
        assert_eq!(
            tried("above=0.36", &[drop, above], None),
            Ok(vec![drop, Bound::Above(0.36)])
        );
        assert_eq!(
            tried("at_least=0.36", &[above], None),
            Ok(vec![Bound::AtLeast(0.36)])
        );
        assert_eq!(
            tried("max_drop=0.7%", &[above, drop], None),
            Ok(vec![above, Bound::MaxDrop(0.007)])
        );
        assert_eq!(
            tried("above=1", &[above, above], Some(2)),
            Ok(vec![above, Bound::Above(1.0)])
        );
        assert_eq!(
            tried("above=1", &[above, above], None),
            Err(TrialError::Ambiguous(2))
        );
        assert_eq!(tried("above=1", &[above], Some(2)), Err(TrialError::NoRule(2, 1)));
        for wrong in ["above", "above=nan", "abov=1", "max_drop=0.1", "borderline=-1"] {
            assert_eq!(
                tried(wrong, &[above], None),
                Err(TrialError::Unreadable(wrong.to_owned()))
            );
        }
    }
}
