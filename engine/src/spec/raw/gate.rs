//! The `gate` of a task: rules that can pass and fail, an approval that can be given.

use std::ops::Range;

use super::super::decode::{Doc, Node, Section, Text};
use super::super::diagnostic::Problem;
use crate::gate::{ApprovalSpec, AskWhen, Bound, Judged, Rule, Subject};

/// A gate as decoded.
pub(in crate::spec) struct RawGate {
    pub rules: Vec<Rule>,
    /// Where each of them stands.
    pub places: Vec<Range<usize>>,
    pub approval: Option<ApprovalSpec>,
    pub evidence: Vec<Text>,
    /// What the rules judge: each a whole `{{ … }}`.
    pub subjects: Vec<Text>,
    /// The question to the approver.
    pub message: Option<Text>,
}

const RULE_KEYS: [&str; 12] = [
    "metric",
    "change",
    "against",
    "above",
    "at_least",
    "below",
    "at_most",
    "max_drop",
    "max_rise",
    "borderline",
    "use",
    "without_baseline",
];
const BOUNDS: [&str; 6] = ["above", "at_least", "below", "at_most", "max_drop", "max_rise"];
const APPROVAL_KEYS: [&str; 8] = [
    "when",
    "by",
    "required",
    "allow_requester",
    "expires",
    "on_expire",
    "remind",
    "message",
];

pub(super) fn decode<'d>(doc: Doc<'d>, node: Node<'d>) -> Option<RawGate> {
    let section = doc.section(node, "`gate`", &["rule", "approval", "evidence"])?;
    let tables = section.tables("rule");
    let mut gate = RawGate {
        rules: Vec::new(),
        places: Vec::new(),
        approval: None,
        evidence: section.texts("evidence"),
        subjects: Vec::new(),
        message: None,
    };
    for node in &tables {
        if let Some(section) = doc.section(node, "a rule", &RULE_KEYS) {
            let rule = rule(&section, &mut gate.subjects);
            gate.places.extend(rule.is_some().then_some(section.span));
            gate.rules.extend(rule);
        }
    }
    if let Some(approval) = section
        .get("approval")
        .and_then(|node| doc.section(node, "`approval`", &APPROVAL_KEYS))
    {
        gate.message = approval.text("message");
        gate.approval = Some(approval_of(&approval, tables.is_empty()));
    } else if tables.is_empty() && section.get("approval").is_none() {
        let problem = Problem::new(
            "impossible-gate",
            section.span.clone(),
            "this gate has neither a rule nor an approval",
        );
        doc.problems
            .add(problem.help("add `[[tasks.NAME.gate.rule]]` or `[tasks.NAME.gate.approval]`"));
    }
    Some(gate)
}

fn impossible(section: &Section<'_>, span: Range<usize>, message: &str, help: &str) {
    section
        .doc
        .problems
        .add(Problem::new("impossible-rule", span, message).help(help));
}

fn rule(section: &Section<'_>, subjects: &mut Vec<Text>) -> Option<Rule> {
    let subject = subject(section, subjects);
    let bound = bound(section);
    let relative = section.get("change").is_some() || section.get("against").is_some();
    check_company(section, relative);
    let borderline = section
        .get("borderline")
        .and_then(|_| share_or_number(section, "borderline"));
    if borderline.is_some_and(|width| width < 0.0) {
        impossible(
            section,
            section.span_of("borderline"),
            "`borderline` is negative",
            "it is a distance from the bound",
        );
    }
    Some(Rule {
        subject: subject?,
        bound: bound?,
        borderline,
        judged: section
            .choice("use", &["value", "interval"])
            .unwrap_or(Judged::Interval),
        without_baseline: section
            .choice("without_baseline", &["pass", "ask", "fail"])
            .unwrap_or_default(),
    })
}

fn subject(section: &Section<'_>, subjects: &mut Vec<Text>) -> Option<Subject> {
    let mut take = |key: &str| {
        let text = section.text(key)?;
        subjects.push(text.clone());
        Some(text.value)
    };
    let (metric, change, against) = (take("metric"), take("change"), take("against"));
    match (metric, change, against) {
        (Some(metric), None, None) => Some(Subject::Metric { metric }),
        (None, Some(change), None) => Some(Subject::Change { change }),
        (Some(metric), None, Some(against)) => Some(Subject::Against { metric, against }),
        (Some(_), Some(_), _) => {
            let help = "write one rule for the `metric` and another for the `change`";
            impossible(
                section,
                section.span_of("change"),
                "a rule judges either `metric` or `change`, not both",
                help,
            );
            None
        }
        (None, Some(_), Some(_)) => {
            let help = "`against` belongs to `metric`; a `change` is relative already";
            impossible(
                section,
                section.span_of("against"),
                "`against` does not go with `change`",
                help,
            );
            None
        }
        (None, None, against) => {
            if ["metric", "change", "against"]
                .iter()
                .all(|key| section.get(key).is_none())
                || against.is_some()
            {
                let help = "say what is judged: metric = \"{{ tasks.NAME.OUTPUT }}\"";
                impossible(section, section.span.clone(), "this rule judges nothing", help);
            }
            None
        }
    }
}

fn bound(section: &Section<'_>) -> Option<Bound> {
    let given: Vec<&str> = BOUNDS
        .into_iter()
        .filter(|key| section.get(key).is_some())
        .collect();
    let key = match given.as_slice() {
        [] => {
            let help = "add one of: above, at_least, below, at_most, max_drop, max_rise";
            impossible(section, section.span.clone(), "this rule has no bound", help);
            return None;
        }
        [key] => *key,
        [first, second, ..] => {
            let message = format!("a rule has one bound, this has `{first}` and `{second}`");
            impossible(
                section,
                section.span_of(second),
                &message,
                "write a rule for each; all must pass",
            );
            return None;
        }
    };
    Some(match key {
        "above" => Bound::Above(section.number(key)?),
        "at_least" => Bound::AtLeast(section.number(key)?),
        "below" => Bound::Below(section.number(key)?),
        "at_most" => Bound::AtMost(section.number(key)?),
        "max_drop" => Bound::MaxDrop(ratio(section, key, 1.0)?),
        _ => Bound::MaxRise(ratio(section, key, 1e6)?),
    })
}

/// What may stand beside what.
fn check_company(section: &Section<'_>, relative: bool) {
    let at = |key: &str| section.get(key).map(|node| node.span());
    if let Some(span) = at("max_drop").or_else(|| at("max_rise"))
        && !relative
    {
        let message = "a drop or rise needs something it is relative to";
        impossible(
            section,
            span,
            message,
            "judge a `change`, or give the other number as `against`",
        );
    }
    if let Some(span) = at("against")
        && at("max_drop").or_else(|| at("max_rise")).is_none()
    {
        impossible(
            section,
            span,
            "`against` needs `max_drop` or `max_rise`",
            "for a plain bound leave `against` out",
        );
    }
    if let Some(span) = at("without_baseline")
        && !relative
    {
        let message = "`without_baseline` has no effect on a plain `metric`";
        impossible(section, span, message, "it goes with `change`");
    }
    if let Some(span) = at("use")
        && at("against").is_some()
    {
        impossible(
            section,
            span,
            "`use` has no effect with `against`",
            "two plain numbers have no interval",
        );
    }
}

fn percent(text: &str) -> Option<f64> {
    let digits = text.strip_suffix('%')?.trim_end();
    let plain = digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    // Shifting the decimal point in the text keeps 0.7 % exactly 0.007.
    plain.then(|| format!("{digits}e-2").parse().ok()).flatten()
}

/// A percentage as ratio, between 0 and `max`.
fn ratio(section: &Section<'_>, key: &str, max: f64) -> Option<f64> {
    let node = section.get(key)?;
    let wanted = "write a percentage: \"10%\"";
    let Some(text) = node.get_ref().as_str() else {
        let help = match section.doc.number(node, key) {
            Some(number) if (0.0..=1.0).contains(&number) => {
                format!("{wanted}; {number} may be \"{}%\"", number * 100.0)
            }
            _ => wanted.to_owned(),
        };
        let message = format!("`{key}` must be a percentage");
        section
            .doc
            .problems
            .add(Problem::new("wrong-type", node.span(), message).help(help));
        return None;
    };
    let Some(ratio) = percent(text) else {
        let message = format!("`{key}` is no percentage");
        section
            .doc
            .problems
            .add(Problem::new("wrong-value", node.span(), message).help(wanted));
        return None;
    };
    if ratio > max {
        impossible(
            section,
            node.span(),
            "this rule could never fail",
            "a number cannot drop by more than 100%",
        );
        return None;
    }
    Some(ratio)
}

fn share_or_number(section: &Section<'_>, key: &str) -> Option<f64> {
    let node = section.get(key)?;
    if node.get_ref().is_str() {
        ratio(section, key, 1e6)
    } else {
        section.doc.number(node, key)
    }
}

fn approval_of(section: &Section<'_>, no_rules: bool) -> ApprovalSpec {
    let fallback = ApprovalSpec::default();
    let when = section
        .choice("when", &["always", "borderline"])
        .unwrap_or_default();
    if when == AskWhen::Borderline && no_rules {
        let message = "without a rule nothing is ever borderline: nobody would be asked";
        impossible(
            section,
            section.span_of("when"),
            message,
            "add a rule, or write when = \"always\"",
        );
    }
    let by = by(section).unwrap_or_else(|| fallback.by.clone());
    let expires = section.duration("expires").unwrap_or(fallback.expires);
    let remind = section.duration("remind");
    if remind.is_some_and(|remind| remind >= expires) {
        let message = "`remind` is not below `expires`: the approval would be over before the first reminder";
        impossible(
            section,
            section.span_of("remind"),
            message,
            "remind earlier, or expire later",
        );
    }
    ApprovalSpec {
        when,
        required: required(section, &by),
        by,
        allow_requester: section.boolean("allow_requester").unwrap_or(false),
        expires,
        on_expire: section
            .choice("on_expire", &["reject", "fail"])
            .unwrap_or_default(),
        remind,
        message: section.text("message").map(|t| t.value),
    }
}

fn by(section: &Section<'_>) -> Option<Vec<String>> {
    section.get("by")?;
    let texts = section.texts("by");
    if texts.is_empty() {
        let help = "by = [\"role:approver\"]";
        impossible(
            section,
            section.span_of("by"),
            "nobody is named who could approve",
            help,
        );
    }
    for text in &texts {
        let name = text
            .value
            .strip_prefix("role:")
            .or_else(|| text.value.strip_prefix("user:"));
        if name.is_none_or(|name| name.is_empty() || name.contains(char::is_whitespace)) {
            let problem = Problem::new(
                "wrong-value",
                text.span.clone(),
                format!("\"{}\" names nobody", text.value),
            );
            section
                .doc
                .problems
                .add(problem.help("write \"role:NAME\" or \"user:NAME\""));
        } else if let Some(role) = text.value.strip_prefix("role:")
            && !["viewer", "operator", "approver", "admin"].contains(&role)
        {
            let problem = Problem::new(
                "wrong-value",
                text.span.clone(),
                format!("there is no role `{role}`"),
            );
            let roles = ["approver", "admin", "operator", "viewer"];
            section.doc.problems.add_unknown(problem, role, roles.into_iter());
        }
    }
    Some(texts.into_iter().map(|text| text.value).collect())
}

fn required(section: &Section<'_>, by: &[String]) -> u32 {
    let required = section.count("required", 1..101).unwrap_or(1);
    let people: std::collections::BTreeSet<&String> = by.iter().collect();
    let only_people = by.iter().all(|who| who.starts_with("user:"));
    if only_people && !by.is_empty() && required as usize > people.len() {
        let message = format!(
            "{required} people are required, but only {} may approve",
            people.len()
        );
        impossible(
            section,
            section.span_of("required"),
            &message,
            "name more people, or a role",
        );
    }
    required
}
